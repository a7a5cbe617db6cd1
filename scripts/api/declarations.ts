/**
 * Reads the declaration files that tsc writes: which names an entry point exports, and each name's declaration with its
 * docblock. tsc 7 has no stable API in JavaScript, but its declarations hold only whole statements, so a scanner for
 * brackets and literals suffices.
 */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export type Kind = 'class' | 'const' | 'function' | 'interface' | 'type'

/** One statement of a declaration file, or one member of a class or an interface. */
export interface Statement {
  /** The text between `/**` and its end, without the stars; empty if there is no docblock. */
  readonly doc: string
  readonly text: string
}

export interface Declaration {
  readonly name: string
  readonly kind: Kind
  /** The source file, relative to the repository. */
  readonly file: string
  /** Several for a function with overloads, in the file's order. */
  readonly statements: readonly Statement[]
}

/** Reads declaration files, each of them once. Files are named by their sources, relative to the repository. */
export class Declarations {
  readonly #sources: string
  readonly #declarations: string
  readonly #files: Map<string, readonly Statement[]> = new Map()

  /**
   * @param sources the repository
   * @param declarations the directory that tsc wrote the declarations of `sources` to
   */
  constructor(sources: string, declarations: string) {
    this.#sources = sources
    this.#declarations = declarations
  }

  /**
   * Every name that `file` exports, in the file's order, grouped by export statement.
   *
   * @throws Error if a name cannot be resolved, or a statement exports in a form that this reader does not know
   */
  exportsOf(file: string): Declaration[][] {
    const groups: Declaration[][] = []
    const overloads = new Set<string>()
    for (const { text } of this.#statements(file)) {
      if (!text.startsWith('export ')) continue
      const every = EXPORT_ALL.exec(text)
      const some = /^export (?:type )?\{([^}]*)\}/.exec(text)
      const own = declared(text)?.name
      if (every) groups.push(this.exportsOf(resolve(file, every[2]!)).flat())
      else if (some) groups.push(namesIn(some[1]!).map(([name, as]) => ({ ...this.#find(file, name, as), name: as })))
      else if (own === undefined) throw new Error(`${file}: unknown form of export: ${text}`)
      else if (!overloads.has(own)) groups.push([this.#find(file, own, own)])
      if (own !== undefined) overloads.add(own)
    }
    return groups
  }

  /** The description in the first comment of `file`. */
  headerOf(file: string): string {
    return headerOf(readFileSync(join(this.#sources, file), 'utf8'))
  }

  /**
   * The declaration of `name` in `file`, or in the file that it is imported or exported from.
   *
   * @param as the name under which `file` exports it, which may be another one than the file that declares it uses
   */
  #find(file: string, name: string, as: string): Declaration {
    const statements = this.#statements(file)
    const own = statements.filter(({ text }) => declared(text)?.name === name)
    if (own.length > 0) return { name, kind: declared(own[0]!.text)!.kind, file, statements: own }
    for (const { text } of statements) {
      const from = /^(?:import|export) (?:type )?\{([^}]*)\} from (['"])(\..+)\2/.exec(text)
      const wanted = text.startsWith('export') ? as : name
      const alias = from && namesIn(from[1]!).find(([, local]) => local === wanted)
      if (alias) return this.#find(resolve(file, from[3]!), alias[0], alias[0])
      const every = EXPORT_ALL.exec(text)
      const there = every && this.exportsOf(resolve(file, every[2]!)).flat()
      const one = there?.find((declaration) => declaration.name === name)
      if (one) return one
    }
    throw new Error(`${file} does not declare ${name}`)
  }

  #statements(file: string): readonly Statement[] {
    let statements = this.#files.get(file)
    if (!statements) {
      const declarations = readFileSync(join(this.#declarations, file.replace(/\.ts$/, '.d.ts')), 'utf8')
      const header = this.headerOf(file)
      // The header stands before the first statement if tsc has dropped the imports between them.
      statements = splitStatements(declarations).map((one, at) =>
        at === 0 && one.doc === header ? { ...one, doc: '' } : one,
      )
      this.#files.set(file, statements)
    }
    return statements
  }
}

const EXPORT_ALL = /^export (?:type )?\* from (['"])(.+)\1/

/** A source file's first comment; empty if the comment is the docblock of an export. */
function headerOf(source: string): string {
  const [, comment, rest] = /^\/\*\*([\s\S]*?)\*\/\n([\s\S]*)/.exec(source) ?? []
  return comment === undefined || rest!.startsWith('export ') ? '' : withoutStars(comment)
}

/**
 * The members of a class or an interface, in the file's order, without `#private` and what is marked private or
 * internal.
 */
export function membersOf({ text }: Statement): Statement[] {
  const open = bodyStart(text)
  if (open === -1) return []
  return splitStatements(text.slice(open + 1, text.lastIndexOf('}'))).filter(
    (member) => !/^#private\b|^(?:private|protected) /.test(member.text) && !/^@internal\b/m.test(member.doc),
  )
}

/**
 * Where the `{` of a class or an interface stands: the first at depth 0, after type parameters and base types; -1 if
 * there is none.
 */
export function bodyStart(text: string): number {
  if (!/^(?:export )?(?:declare )?(?:abstract )?(?:class|interface) /.test(text)) return -1
  let angles = 0
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '<') angles++
    else if (text[at] === '>' && text[at - 1] !== '=') angles--
    else if (text[at] === '{' && angles === 0) return at
  }
  return -1
}

/** Splits declarations into their statements, each with the docblock before it: of several comments, the last one. */
export function splitStatements(source: string): Statement[] {
  const statements: Statement[] = []
  let doc = ''
  let start = -1
  let depth = 0
  for (let at = 0; at < source.length; at++) {
    const character = source[at]!
    if (source.startsWith('/*', at)) {
      const end = source.indexOf('*/', at) + 2
      if (start === -1) doc = source.startsWith('/**', at) ? withoutStars(source.slice(at + 3, end - 2)) : doc
      at = end - 1
    } else if (source.startsWith('//', at)) at = `${source}\n`.indexOf('\n', at)
    else if (start === -1 && /[\s;]/.test(character)) continue
    else {
      if (start === -1) start = at
      if ('\'"`'.includes(character)) at = literalEnd(source, at)
      else if ('([{'.includes(character)) depth++
      else if (')]}'.includes(character)) depth--
      const head = source.slice(start, start + 60)
      const closesBody = character === '}' && /^(?:export )?(?:declare )?(?:abstract )?(?:class|interface) /.test(head)
      if (depth > 0 || (character !== ';' && !closesBody)) continue
      if (closesBody && bodyStart(source.slice(start, at + 1)) === -1) continue
      statements.push({ doc, text: source.slice(start, character === ';' ? at : at + 1) })
      doc = ''
      start = -1
    }
  }
  if (start !== -1) throw new Error(`unfinished declaration: ${source.slice(start, start + 80)}`)
  return statements
}

function declared(text: string): { kind: Kind; name: string } | undefined {
  const found = /^(?:export )?(?:declare )?(?:abstract )?(class|const|function|interface|type) ([\w$]+)/.exec(text)
  return found ? { kind: found[1] as Kind, name: found[2]! } : undefined
}

/** The names in the braces of an import or export: each as it is declared, and as it is named here. */
function namesIn(list: string): [name: string, as: string][] {
  return list
    .split(',')
    .map((item) => item.trim().replace(/^type /, ''))
    .filter((item) => item !== '')
    .map((item) => {
      const [name = '', as = name] = item.split(' as ')
      return [name, as]
    })
}

/** The source file of a relative specifier. */
function resolve(file: string, specifier: string): string {
  return join(dirname(file), specifier.replace(/\.js$/, '.ts'))
}

function literalEnd(source: string, at: number): number {
  for (let end = at + 1; end < source.length; end++) {
    if (source[end] === '\\') end++
    else if (source[end] === source[at]) return end
  }
  throw new Error(`unfinished literal: ${source.slice(at, at + 80)}`)
}

function withoutStars(comment: string): string {
  return comment
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim()
}
