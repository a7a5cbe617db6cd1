/** The walls between the folders: the linter refuses each import that crosses one. The rules are in biome.json. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFileSync, globSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { before, describe, it } from 'node:test'
import { repositoryFile } from './support/child.ts'
import { temporary } from './support/sockets.ts'

/** Which other folders each folder may import. A folder that is not listed here fails a test below. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  interfaces: ['protocol'],
  middleware: ['protocol'],
  pool: ['protocol'],
  process: ['protocol', 'middleware'],
  container: ['protocol', 'interfaces', 'middleware', 'pool', 'process'],
  proxy: ['protocol', 'interfaces', 'middleware', 'pool', 'process'],
  dev: ['protocol', 'interfaces', 'middleware', 'pool', 'process', 'container', 'proxy'],
  cli: ['protocol', 'interfaces', 'middleware', 'pool', 'process', 'container', 'proxy', 'dev'],
}
const FOLDERS = Object.keys(MAY_IMPORT)

/** What a codec does without, each in a line that uses it. */
const IMPURE: readonly string[] = [
  ...['net', 'tls', 'http', 'http2', 'https', 'dgram', 'dns', 'dns/promises', 'timers', 'timers/promises'].map(imports),
  ...['stream', 'stream/promises', 'fs', 'fs/promises', 'child_process', 'worker_threads'].map(imports),
  'export const planted: unknown = setTimeout',
  'export const planted: unknown = setInterval',
  'export const planted: unknown = setImmediate',
  'export const planted: unknown = queueMicrotask',
  'export const planted: unknown = Promise.resolve()',
  'export const planted: unknown = performance.now()',
  'export const planted: unknown = Date.now()',
]

function imports(module: string): string {
  return `import 'node:${module}'`
}

interface Diagnostic {
  readonly category: string
  readonly location: { readonly path: string | { readonly file: string } }
}

/** A copy of the sources in which files are planted and then linted all at once. */
class Copy {
  readonly #directory: string
  readonly #sources: readonly string[]
  #planted = 0
  #refused: ReadonlyMap<string, ReadonlySet<string>> = new Map()

  constructor(directory: string) {
    this.#directory = directory
    this.#sources = globSync([...FOLDERS.map((folder) => `${folder}/**/*.ts`), 'index.ts'], {
      cwd: repositoryFile('.'),
    })
    for (const file of [...this.#sources, 'biome.json', '.gitignore', 'package.json']) {
      mkdirSync(dirname(join(directory, file)), { recursive: true })
      copyFileSync(repositoryFile(file), join(directory, file))
    }
    symlinkSync(repositoryFile('node_modules'), join(directory, 'node_modules'))
  }

  /** Folders with sources, `codec` folders among them. */
  get folders(): readonly string[] {
    return [...new Set(this.#sources.map((file) => dirname(file)))].sort()
  }

  file(folder: string): string {
    return this.#sources.find((file) => file.startsWith(`${folder}/`) && !file.endsWith('/index.ts'))!
  }

  /** Writes a file of `text` into `folder`. Returns its path. */
  plant(folder: string, text: string, name: string = `planted-${++this.#planted}.ts`): string {
    const path = join(folder, name)
    writeFileSync(join(this.#directory, path), `${text}\n`)
    return path
  }

  /** Plants a file that imports `target`. */
  plantImport(folder: string, target: string): string {
    const path = relative(folder, target)
    return this.plant(folder, `import '${path.startsWith('.') ? path : `./${path}`}'`)
  }

  async lint(): Promise<void> {
    const biome = repositoryFile('node_modules/@biomejs/biome/bin/biome')
    const argv = [biome, 'lint', '--reporter=json', '--max-diagnostics=none', '.']
    const output = await new Promise<string>((resolve) => {
      execFile(process.execPath, argv, { cwd: this.#directory, maxBuffer: 64 * 1024 * 1024 }, (_, stdout) =>
        resolve(stdout),
      )
    })
    const refused: Map<string, Set<string>> = new Map()
    for (const { category, location } of (JSON.parse(output) as { diagnostics: Diagnostic[] }).diagnostics) {
      const path = typeof location.path === 'string' ? location.path : location.path.file
      refused.set(path, (refused.get(path) ?? new Set()).add(category))
    }
    this.#refused = refused
  }

  /** Whether the linter refuses a planted file by one of the rules that are walls. */
  refuses(path: string): boolean {
    const walls = ['lint/style/noRestrictedImports', 'lint/style/noRestrictedGlobals', 'lint/suspicious/noImportCycles']
    return walls.some((rule) => this.#refused.get(path)?.has(rule))
  }
}

describe('the linter', () => {
  let copy: Copy
  /** Planted files that must be refused, and some that must not be, each with its reason. */
  const refused: Map<string, string> = new Map()
  const allowed: Map<string, string> = new Map()

  before(async () => {
    copy = new Copy(await temporary())
    for (const folder of FOLDERS) {
      // In its deepest folder too: a wall must not depend on how many dots an import has.
      const deepest = copy.folders
        .filter((path) => `${path}/`.startsWith(`${folder}/`) && !path.endsWith('/codec'))
        .sort((a, b) => b.split('/').length - a.split('/').length)[0]!
      for (const from of new Set([folder, deepest])) {
        for (const to of FOLDERS.filter((other) => other !== folder)) {
          const list = MAY_IMPORT[folder]!.includes(to) ? allowed : refused
          list.set(copy.plantImport(from, copy.file(to)), `${from} imports ${to}`)
        }
        refused.set(copy.plantImport(from, 'index.ts'), `${from} imports the package's entry`)
        refused.set(copy.plantImport(from, 'protocol/index.ts'), `${from} imports an entry of the package`)
      }
    }
    for (const codec of copy.folders.filter((path) => path.endsWith('/codec'))) {
      for (const text of IMPURE) refused.set(copy.plant(codec, text), `${codec}: ${text}`)
      for (const file of ['protocol/net/clock.ts', 'protocol/contract/exchange.ts', 'pool/pool.ts']) {
        refused.set(copy.plantImport(codec, file), `${codec} imports ${file}`)
      }
      const beside = copy.file(dirname(codec)).includes('/codec/') ? undefined : copy.file(dirname(codec))
      if (beside) refused.set(copy.plantImport(codec, beside), `${codec} imports ${beside}`)
      allowed.set(copy.plantImport(codec, 'protocol/contract/errors.ts'), `${codec} imports an error`)
    }
    const cycle = (name: string, text: string): void => {
      refused.set(copy.plant('pool', text, name), `a cycle of imports through ${name}`)
    }
    cycle('values-a.ts', "import { b } from './values-b.ts'\nexport const a: number = b")
    cycle('values-b.ts', "import { a } from './values-a.ts'\nexport const b: number = a")
    cycle('types-a.ts', "import type { B } from './types-b.ts'\nexport type A = B[]")
    cycle('types-b.ts', "import type { A } from './types-a.ts'\nexport type B = A[]")
    await copy.lint()
  })

  it('refuses each import that crosses a wall, and I/O in a codec', () => {
    assert.deepEqual(
      [...refused].filter(([path]) => !copy.refuses(path)).map(([, reason]) => reason),
      [],
    )
  })

  it('accepts the imports that cross no wall', () => {
    assert.deepEqual(
      [...allowed].filter(([path]) => copy.refuses(path)).map(([, reason]) => reason),
      [],
    )
  })

  it('knows every folder with sources, and no other TypeScript file at the root than index.ts', () => {
    const files = globSync('**/*.ts', {
      cwd: repositoryFile('.'),
      exclude: (name) => /(?:^|\/)(?:node_modules|dist)$|^\./.test(name),
    })
    const beside = ['bench', 'deploy', 'examples', 'scripts', 'test']
    const folders = new Set(files.map((file) => file.split('/')[0]!))
    assert.deepEqual([...folders].sort(), [...FOLDERS, ...beside, 'index.ts'].sort())
  })
})
