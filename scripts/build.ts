/**
 * Builds `dist/` from the sources: JavaScript and declarations by tsc, and an entry file that can be run.
 * With `--out DIRECTORY` it makes the whole package there; with `--docs` it only writes the pages of `docs/` that are made from the
 * sources: `options.md` from the option tables, `contract.md` from the rules of lint, `errors.md` from the error codes.
 */

import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commands } from '../cli/commands.ts'
import { errorsPage } from '../protocol/contract/error-codes/page.ts'
import { contractPage } from '../protocol/contract/lint/page.ts'
import { renderMarkdown } from '../protocol/options/options-help.ts'

const root = join(import.meta.dirname, '..')

/** `docs/options.md`, whole. */
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

/** Builds into `directory`/dist; elsewhere than here, with all else that the package holds beside it. */
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

if (import.meta.main) {
  const { values } = parseArgs({ options: { docs: { type: 'boolean' }, out: { type: 'string', default: root } } })
  if (values.docs) {
    writeFileSync(join(root, 'docs', 'options.md'), optionsPage())
    writeFileSync(join(root, 'docs', 'contract.md'), contractPage())
    writeFileSync(join(root, 'docs', 'errors.md'), errorsPage())
  } else {
    build(values.out)
  }
}
