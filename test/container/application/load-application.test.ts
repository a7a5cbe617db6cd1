import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { LoadError, loadApplication, parseSpecifier } from '../../../container/application/load-application.ts'

const files: Record<string, string> = {
  'package.json': '{"type":"module"}',
  'named.ts': `export const application: (a: object) => string = () => 'application'
    export const admin = () => 'admin'
    export default () => 'default'`,
  'default.mjs': `export default () => 'default'`,
  'common.cjs': `module.exports = () => 'common'`,
  'dir.name/v1.2.js': `export const application = () => 'dotted'`,
  'with-main/package.json': '{"main":"./lib/start","exports":"./other.js"}',
  'with-main/lib/start.js': `module.exports = () => 'main'`,
  'with-main/index.js': `module.exports = () => 'index'`,
  'with-index/index.js': `export const application = () => 'index'`,
  'with-index.js': `export const application = () => 'file'`,
  'lost-main/package.json': '{"main":"nowhere.js"}',
  'lost-main/index.js': `module.exports = () => 'index'`,
  'with-typed-index/index.mts': `export const application = (): string => 'typed index'`,
  'commonjs/package.json': '{"type":"commonjs"}',
  'commonjs/exports.ts': 'export const application = (): string[] => []',
  'commonjs/imports.js': `import 'node:fs'\nexports.application = () => []`,
  'data.js': 'export const application = { listen() {} }; export const nothing = null',
  'empty.js': '',
  'others.js': 'export const one = 1; export function two() {}',
  'syntax.js': 'const a = 1\nexport const application = (\n',
  'syntax.ts': 'const a: number = 1\nexport const application = (: string) => []\n',
  'enum.ts': 'enum Colour { Red }\nexport const application = () => []\n',
  'imports-missing.js': `import './missing.js'`,
  'imports-package.js': `import 'no-such-package'`,
  'imports-syntax.js': `import './syntax.js'`,
  'imports-deep.ts': `import './imports-typed.ts'`,
  'imports-typed.ts': `const a: number = 1\nimport './common.cjs'\nimport './imports-syntax.js'`,
  'imports-later.js': `await import('./syntax.js')`,
  'requires-missing.cjs': `require('./requires.cjs')`,
  'requires.cjs': `require('nowhere')`,
  'imports-name.js': `import { nothingHere } from './default.mjs'`,
  'throws.js': `\nthrow new Error('no database')`,
  'throws-text.js': `throw 'no database'`,
  'text.txt': 'hello',
  'node_modules/compiled/package.json': '{"main":"main.js"}',
  'node_modules/compiled/main.js': `module.exports.application = () => 'package'`,
  'node_modules/typed/package.json': '{"type":"module","main":"main.ts"}',
  'node_modules/typed/main.ts': 'export const application = (): number => 1',
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-load-'))
  for (const [name, text] of Object.entries(files)) {
    const path = join(directory, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
})
after(() => rmSync(directory, { recursive: true }))

describe('loadApplication', () => {
  for (const [specifier, result] of [
    ['named.ts', 'application'],
    ['./named.ts', 'application'],
    ['named', 'application'],
    ['named.ts:admin', 'admin'],
    ['named:default', 'default'],
    ['default.mjs', 'default'],
    ['common.cjs', 'common'],
    ['dir.name/v1.2', 'dotted'],
    ['dir.name/../named.ts', 'application'],
    ['with-main', 'main'],
    ['./with-main/', 'main'],
    ['with-index', 'file'],
    ['with-index/', 'index'],
    ['lost-main', 'index'],
    ['with-typed-index', 'typed index'],
    ['compiled', 'package'],
    ['compiled:application', 'package'],
  ] as const) {
    it(`resolves ${specifier} from the working directory`, async () => {
      const application = (await loadApplication(specifier, directory)) as unknown as () => string
      assert.equal(application(), result)
    })
  }

  it('accepts absolute paths and file: URLs', async () => {
    const path = join(directory, 'named.ts')
    const application = await loadApplication(path, '/')
    assert.equal(await loadApplication(pathToFileURL(path).href, '/'), application)
    assert.equal(await loadApplication(`${pathToFileURL(path).href}:application`, '/'), application)
  })

  for (const [specifier, code, says] of [
    ['missing.js', 'NO_MODULE', /^there is no file .*missing\.js$/],
    ['./missing', 'NO_MODULE', /^there is no file .*missing/],
    ['missing', 'NO_MODULE', /no file .*missing .*no package missing$/],
    ['dir.name', 'NO_MODULE', /no file .*dir\.name/],
    ['imports-missing.js', 'NO_IMPORT', /^imports-missing\.js .*missing\.js' imported from/],
    ['imports-package.js', 'NO_IMPORT', /'no-such-package' imported from/],
    ['imports-name.js', 'SYNTAX', /imports-name\.js:1: SyntaxError: .*nothingHere/],
    ['imports-syntax.js', 'SYNTAX', /^\/.*\/syntax\.js:\d: SyntaxError: Unexpected end of input$/],
    ['imports-deep.ts', 'SYNTAX', /^\/.*\/syntax\.js:\d: SyntaxError: Unexpected end of input$/],
    ['imports-later.js', 'SYNTAX', /^imports-later\.js, or a module that it imports: SyntaxError: Unexpected end/],
    ['requires-missing.cjs', 'NO_IMPORT', /^requires-missing\.cjs .*'nowhere', required by \/.*\/requires\.cjs$/],
    ['syntax.js', 'SYNTAX', /syntax\.js:\d: SyntaxError: Unexpected end of input$/],
    ['syntax.ts', 'SYNTAX', /syntax\.ts:2: Expression expected$/],
    [
      'commonjs/exports.ts',
      'SYNTAX',
      /exports\.ts:1: .*'export'; for import and export set "type": "module" in .*\.mts$/,
    ],
    [
      'commonjs/imports.js',
      'SYNTAX',
      /imports\.js:1: .* outside a module; for import and export set "type": "module" /,
    ],
    ['enum.ts', 'TYPES', /enum\.ts:1: .*must be compiled.*enum/],
    ['typed', 'TYPES', /node_modules\/typed\/main\.ts .*under node_modules; use a compiled \.js file/],
    ['text.txt', 'TYPES', /^text\.txt .*expected \.ts, \.js/],
    ['package.json', 'TYPES', /^package\.json .*expected \.ts, \.js/],
    ['throws.js', 'THREW', /^throws\.js threw while it was loaded: no database$/],
    ['throws-text.js', 'THREW', /^throws-text\.js threw while it was loaded: no database$/],
    ['named.ts:amdin', 'NO_EXPORT', /^named\.ts has no export amdin; it exports admin, application, default$/],
    ['named.ts:toString', 'NO_EXPORT', /no export toString/],
    [
      'others.js',
      'NO_EXPORT',
      /^others\.js exports neither application nor a default; it exports one, two; if .* use --interface node$/,
    ],
    ['empty.js', 'NO_EXPORT', /it exports nothing; if the module starts its server itself, use --interface node$/],
    [
      'data.js',
      'NOT_A_FUNCTION',
      /^the export application of data\.js is not a valid application: .*got object; .*--interface node$/,
    ],
    ['data.js:nothing', 'NOT_A_FUNCTION', /got null$/],
  ] as const) {
    it(`explains what is wrong with ${specifier}: ${code}`, async () => {
      await assert.rejects(
        () => loadApplication(specifier, directory),
        (error) => {
          assert.ok(error instanceof LoadError, String(error))
          assert.equal(error.code, code)
          assert.match(error.message, says)
          assert.equal(error.cause !== undefined, code === 'THREW')
          return true
        },
      )
    })
  }
})

describe('parseSpecifier', () => {
  for (const [text, module, name] of [
    ['app.ts', 'app.ts', undefined],
    ['app.ts:admin', 'app.ts', 'admin'],
    ['file:///srv/app.ts', 'file:///srv/app.ts', undefined],
    ['file:///srv/app.ts:admin', 'file:///srv/app.ts', 'admin'],
    ['C:\\srv\\app.ts', 'C:\\srv\\app.ts', undefined],
    ['app:8.ts', 'app:8.ts', undefined],
    ['app.ts:été', 'app.ts', 'été'],
  ] as const) {
    it(`parses ${text}`, () => assert.deepEqual(parseSpecifier(text), { module, name }))
  }
})
