/**
 * Writes `docs/api/`: one page for each entry point of the package, from its declarations and docblocks, and a page
 * that lists them. `npm run docs` calls it; a name without a docblock is an error.
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bodyStart, type Declaration, Declarations, type Kind, membersOf, type Statement } from './api/declarations.ts'
import { parseDoc, type Tag } from './api/docblocks.ts'

const root = join(import.meta.dirname, '..')

/** A constant whose type is longer is shown without it: it is a table, which has a page or a comment of its own. */
const CONST_LINES = 20

/** Values before the types of their parameters. */
const RANK: Readonly<Record<Kind, number>> = { function: 0, class: 1, const: 2, interface: 3, type: 3 }

const TAG_TITLES: Readonly<Record<string, string>> = { returns: 'Returns', deprecated: 'Deprecated', see: 'See' }

interface Entry {
  /** As users import it: `gantry/proxy`. */
  readonly name: string
  readonly page: string
  readonly summary: string
  readonly declarations: readonly Declaration[]
}

export interface ApiReference {
  /** File names in `docs/api/`, and their contents. */
  readonly pages: ReadonlyMap<string, string>
  /** Exported names without a docblock, as `file: name`. */
  readonly undocumented: readonly string[]
}

/** The pages for the sources of this repository. Runs tsc, which takes a second or two. */
export function apiReference(): ApiReference {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-api-'))
  try {
    emitDeclarations(directory)
    return renderReference(root, directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function emitDeclarations(directory: string): void {
  const typescript = join(createRequire(import.meta.url).resolve('typescript/package.json'), '..', 'bin', 'tsc')
  const argv = [
    typescript,
    '-p',
    join(root, 'tsconfig.build.json'),
    '--emitDeclarationOnly',
    '--noCheck',
    '--outDir',
    directory,
  ]
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`tsc failed:\n${stdout}${stderr}`)
}

/** The entry points, in the order of `exports` in package.json. */
function readEntries(sources: string, directory: string): Entry[] {
  const declarations = new Declarations(sources, directory)
  const { exports } = JSON.parse(readFileSync(join(sources, 'package.json'), 'utf8')) as {
    exports: Readonly<Record<string, { readonly types: string } | string>>
  }
  return Object.entries(exports).flatMap(([path, target]) => {
    if (typeof target === 'string') return []
    const file = target.types.replace('./dist/', '').replace(/\.d\.ts$/, '.ts')
    const name = path.replace('.', 'gantry')
    const groups = declarations.exportsOf(file)
    return {
      name,
      page: `${name.replace('gantry/', '')}.md`,
      summary: declarations.headerOf(file),
      declarations: groups.flatMap((group) => group.toSorted((a, b) => RANK[a.kind] - RANK[b.kind])),
    }
  })
}

/**
 * @param sources a directory with a package.json and its sources
 * @param declarations the directory that tsc wrote the declarations of `sources` to
 */
export function renderReference(sources: string, declarations: string): ApiReference {
  const entries = readEntries(sources, declarations)
  const homes = homesOf(entries)
  const pages = new Map(entries.map((entry) => [entry.page, renderEntry(entry, entries, homes)]))
  pages.set('README.md', renderList(entries, homes))
  const undocumented = entries.flatMap(({ declarations }) =>
    declarations
      .filter(({ statements }) => statements.every(({ doc }) => doc === ''))
      .map(({ file, name }) => `${file}: ${name}`),
  )
  return { pages, undocumented: [...new Set(undocumented)].sort() }
}

/** Where a declaration is described: on the page of the first entry that exports it. */
interface Home {
  readonly entry: Entry
  readonly anchor: string
}

const idOf = ({ file, name }: Declaration): string => `${file}#${name}`

function homesOf(entries: readonly Entry[]): Map<string, Home> {
  const homes = new Map<string, Home>()
  for (const entry of entries) {
    // GitHub numbers the second heading of the same letters: `Cache` and `cache`.
    const anchors = new Map<string, number>()
    for (const declaration of entry.declarations) {
      if (homes.has(idOf(declaration))) continue
      const letters = declaration.name.toLowerCase()
      const count = anchors.get(letters) ?? 0
      anchors.set(letters, count + 1)
      homes.set(idOf(declaration), { entry, anchor: count === 0 ? letters : `${letters}-${count}` })
    }
  }
  return homes
}

function linkTo(declaration: Declaration, homes: ReadonlyMap<string, Home>, from?: Entry): string {
  const { entry, anchor } = homes.get(idOf(declaration))!
  return `[\`${declaration.name}\`](${entry === from ? '' : entry.page}#${anchor})`
}

/** By name, as people look for it: `cache` beside `Cache`. Independent of the machine's language. */
function sorted(declarations: readonly Declaration[]): Declaration[] {
  const key = ({ name }: Declaration): string => `${name.toLowerCase()} ${name}`
  return declarations.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}

function renderList(entries: readonly Entry[], homes: ReadonlyMap<string, Home>): string {
  const rows = entries.map((entry) => {
    const own = entry.declarations.filter((one) => homes.get(idOf(one))!.entry === entry)
    const values = sorted(own.filter(({ kind }) => RANK[kind] < RANK.interface)).map((one) => linkTo(one, homes))
    return `## [\`${entry.name}\`](${entry.page})\n\n${entry.summary}\n\n${values.join(' · ')}\n`
  })
  return `# API reference

\`npm run docs\` writes these pages from the declarations and the docblocks of the sources.
Types are listed on the page of their entry point.

${rows.join('\n')}`
}

function renderEntry(entry: Entry, entries: readonly Entry[], homes: ReadonlyMap<string, Home>): string {
  const own = entry.declarations.filter((one) => homes.get(idOf(one))!.entry === entry)
  const others = entry.declarations.filter((one) => !own.includes(one))
  const lists = [
    ['Functions', own.filter(({ kind }) => kind === 'function')],
    ['Classes', own.filter(({ kind }) => kind === 'class')],
    ['Constants', own.filter(({ kind }) => kind === 'const')],
    ['Types', own.filter(({ kind }) => RANK[kind] === RANK.interface)],
    ['Described on other pages', others],
  ] as const
  const contents = lists
    .filter(([, declarations]) => declarations.length > 0)
    .map(
      ([title, some]) =>
        `**${title}:** ${sorted(some)
          .map((one) => linkTo(one, homes, entry))
          .join(' · ')}`,
    )
  // The entry's own last: one name may mean another thing elsewhere.
  const known = [...entries, entry].flatMap(({ declarations }) => declarations)
  const types = new Map(known.map((one) => [one.name, linkTo(one, homes, entry)]))
  const sections = own.map((declaration) => renderDeclaration(declaration, types))
  return `# ${entry.name}

${entry.summary}

${contents.join('\n\n')}

${sections.join('\n')}`
}

/** @param types links to everything that is exported, by name */
function renderDeclaration(declaration: Declaration, types: ReadonlyMap<string, string>): string {
  const { name, kind, file, statements } = declaration
  const title = kind === 'const' ? 'constant' : kind
  const parts = [`## \`${name}\``, `${title} in [\`${file}\`](../../${file})`]
  for (const statement of statements) {
    const text = signature(statement, kind)
    if (text !== `${kind} ${name}`) parts.push(fenced(text))
    parts.push(...renderDoc(statement.doc))
    const mentioned = [...new Set(text.match(/\b[A-Z]\w+\b/g))].filter((type) => type !== name && types.has(type))
    if (mentioned.length > 0) parts.push(`Types: ${mentioned.map((type) => types.get(type)).join(' · ')}`)
    const members = membersOf(statement).map((member) => renderMember(member, name))
    if (members.length > 0) parts.push(`Members:\n\n${members.join('\n')}`)
  }
  return `${parts.join('\n\n')}\n`
}

/** What stands in the code block: of a class or an interface the first line, as its members are a list. */
function signature(statement: Statement, kind: Kind): string {
  const text = statement.text.replace(/^export /, '').replace(/^declare /, '')
  if (kind === 'class' || kind === 'interface') return text.slice(0, bodyStart(text)).trim()
  if (kind === 'const' && text.split('\n').length > CONST_LINES) return `${text.slice(0, text.indexOf('{'))}{ … }`
  return text.replace(/^ +/gm, (spaces) => ' '.repeat(spaces.length / 2))
}

function renderMember(member: Statement, className: string): string {
  const text = oneLine(member.text).replace(/^constructor\(/, `new ${className}(`)
  const { text: description, tags } = parseDoc(member.doc)
  const [first = '', ...others] = description
  const lines = [first === '' ? `- ${code(text)}` : `- ${code(text)}: ${first}`, ...others]
  const details = [...tagLines(tags), ...examples(tags).map(fenced)]
  if (details.length > 0 && !details[0]!.startsWith('- ')) lines.push('')
  return [...lines, ...details]
    .join('\n')
    .split('\n')
    .map((line, at) => (at === 0 || line === '' ? line : `  ${line}`))
    .join('\n')
}

function renderDoc(doc: string): string[] {
  const { text, tags } = parseDoc(doc)
  const lines = tagLines(tags)
  const parts = [...text]
  if (lines.length > 0) parts.push(lines.join('\n'))
  return [...parts, ...examples(tags).map((example) => `Example:\n\n${fenced(example)}`)]
}

function tagLines(tags: readonly Tag[]): string[] {
  return tags
    .filter(({ name }) => name !== 'example')
    .map(({ name, text }) => {
      const [, word = '', rest = ''] = /^([\w.$]+)([\s\S]*)$/.exec(text) ?? []
      if (name === 'param') return `- \`${word}\`: ${rest.replace(/^ (?:- )?/, '')}`
      if (name === 'throws') return `- Throws \`${word}\`${rest}`
      return `- ${TAG_TITLES[name] ?? name}: ${text}`
    })
}

function examples(tags: readonly Tag[]): string[] {
  return tags.filter(({ name }) => name === 'example').map(({ text }) => text)
}

/** A block of TypeScript; what is already fenced stays as it is. */
function fenced(text: string): string {
  return text.includes('```') ? text : `\`\`\`ts\n${text}\n\`\`\``
}

/** A code span of text that may hold backticks. */
function code(text: string): string {
  return text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``
}

function oneLine(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replaceAll('; }', ' }')
    .trim()
}
