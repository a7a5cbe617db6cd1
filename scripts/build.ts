/**
 * Builds `dist/` from the sources: JavaScript and declarations by tsc, and an entry file that can be run.
 * With `--out DIRECTORY` it makes the whole package there; with `--docs` it only writes the generated pages of `docs/`.
 */

import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commands } from '../cli/commands.ts'
import { errorsPage } from '../protocol/contract/error-codes/page.ts'
import { contractPage } from '../protocol/contract/lint/page.ts'
import { renderMarkdown } from '../protocol/options/options-help.ts'
import { apiReference } from './api-reference.ts'

const root = join(import.meta.dirname, '..')

/** The text of `docs/options.md`. */
export function optionsPage(): string {
  const sections = Object.values(commands).map(
    ({ name, summary, table }) => `## \`${name}\`\n\n${summary}\n\n${renderMarkdown(table)}\n`,
  )
  const contents = Object.values(commands).map(({ name }) => `[\`${name}\`](#${name.replaceAll(' ', '-')})`)
  return `# Options

${contents.join(' · ')}

\`npm run docs\` writes this page from the option tables; \`gantry COMMAND --help\` prints the same.

An option on the command line overrides the environment, which overrides the default. An empty environment variable counts as unset.
Separate the values of a list with commas, or repeat the option. Durations are written \`250ms\`, \`10s\`, \`5m\`, \`1h\`; sizes \`1024\`, \`64KiB\`, \`1MiB\`.
Addresses are \`unix:/path\`, \`tcp:HOST:PORT\`, \`HOST:PORT\` and \`:PORT\` (every interface); for upstreams also \`unix:/directory/\` (every socket in it),
\`http://…\` and \`https://…\`.

${sections.join('\n')}`
}

/** Builds into `directory`/dist. If `directory` is not this repository, the package's other files are copied too. */
function build(directory: string): void {
  const dist = join(directory, 'dist')
  rmSync(dist, { recursive: true, force: true })
  const typescript = join(createRequire(import.meta.url).resolve('typescript/package.json'), '..', 'bin', 'tsc')
  const argv = [typescript, '-p', join(root, 'tsconfig.build.json'), '--outDir', dist]
  const compiled = spawnSync(process.execPath, argv, { stdio: 'inherit' })
  if (compiled.status !== 0) process.exit(compiled.status ?? 1)
  chmodSync(join(dist, 'cli', 'gantry.js'), 0o755)
  const specification = join('protocol', 'frames', 'SPEC.md')
  cpSync(join(root, specification), join(dist, specification))
  if (directory !== root) {
    for (const file of ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE'])
      cpSync(join(root, file), join(directory, file))
  }
}

/**
 * Writes the pages that are generated: `options.md` from the option tables, `contract.md` from the rules of lint,
 * `errors.md` from the error codes, `api/` from the docblocks.
 */
function writeDocs(): void {
  const docs = join(root, 'docs')
  writeFileSync(join(docs, 'options.md'), optionsPage())
  writeFileSync(join(docs, 'contract.md'), contractPage())
  writeFileSync(join(docs, 'errors.md'), errorsPage())
  const { pages, undocumented } = apiReference()
  rmSync(join(docs, 'api'), { recursive: true, force: true })
  mkdirSync(join(docs, 'api'))
  for (const [name, page] of pages) writeFileSync(join(docs, 'api', name), page)
  if (undocumented.length === 0) return
  console.error(
    `These exported names have no docblock; write one directly before each:\n  ${undocumented.join('\n  ')}`,
  )
  process.exitCode = 1
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { docs: { type: 'boolean' }, out: { type: 'string', default: root } } })
  if (values.docs) writeDocs()
  else build(values.out)
}
