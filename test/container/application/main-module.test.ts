/**
 * Modules that start their server only as the main module, their process.argv, and folders, through the command line.
 */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { startGantry } from '../../support/gantry.ts'

/** Serves what an entry module sees: a dependency is never the main module. */
const server = (facts: string): string => `createServer((req, res) => res.end(JSON.stringify(${facts}))).listen(3000)\n`

const files: Record<string, string> = {
  'required.cjs': `
    const { createServer } = require('node:http')
    exports.database = undefined
    if (require.main === module) {
      const facts = [require.main.filename, process.mainModule === module, require('./dependency.cjs')]
      setTimeout(() => { ${server('[facts, process.argv.slice(1)]')} }, 20)
    }
    module.exports = (req, res) => res.end('without a database')`,
  'dependency.cjs': `module.exports = [require.main === module, require.main.filename]`,
  'imported.mjs': `
    import { createServer } from 'node:http'
    import { isMain } from './dependency.mjs'
    export default (req, res) => res.end('without a database')
    if (import.meta.main) { const facts = [import.meta.main, isMain]; ${server('[facts, process.argv.slice(1)]')} }`,
  'dependency.mjs': `export const isMain = import.meta.main`,
  'typed.ts': `
    import { createServer, type Server } from 'node:http'
    const server: Server | undefined = undefined
    if (process.argv[1] === import.meta.filename && import.meta.main) {
      ${server('[import.meta.main, process.argv.slice(1)]')}
    }`,
  'common/package.json': '{"type":"commonjs"}',
  'common/typed.ts': `
    const { createServer } = require('node:http')
    const facts: boolean[] = [require.main === module]
    if (require.main === module) ${server('[facts, process.argv.slice(1)]')}`,
  // Longer than the wait for a module that does not seem to listen.
  'connects.cjs': `
    const { createServer } = require('node:http')
    let database = 'without a database'
    const app = module.exports = (req, res) => res.end(JSON.stringify(database))
    setTimeout(() => { database = 'with a database'; createServer(app).listen(3000) }, 1300)`,
  'for-tests.cjs': `
    const { createServer } = require('node:http')
    module.exports = { database: {} }
    setTimeout(() => { ${server("'listens'")} }, 100)`,
  'unservable.cjs': `module.exports = { database: {} }`,
  'bin/tool': `#!/usr/bin/env node
    if (require.main !== module) throw new Error('not the main module')
    const { createServer } = require('node:http')
    ${server('[process.argv.slice(1)]')}`,
  'named/package.json': '{"main":"lib/entry"}',
  'named/lib/entry.js': `const { createServer } = require('node:http'); ${server("'named'")}`,
  'indexed/package.json': '{"type":"module"}',
  'indexed/index.js': `import { createServer } from 'node:http'; ${server("'indexed'")}`,
  'indexed.ts/index.ts': `import { createServer } from 'node:http'; ${server("'typed index'")}`,
  'typescript/index.ts': `import { createServer } from 'node:http'; ${server("'typed index'")}`,
  'empty/readme.md': '',
  'throws.mjs': `\n\nif (import.meta.main) throw new Error('no database')`,
  'late.mjs': `
    import { once } from 'node:events'
    import { createServer } from 'node:http'
    process.on('uncaughtException', (error) => { console.error(String(error)); process.exit(9) })
    await once(createServer(() => {}).listen(3000), 'listening')
    throw new RangeError('no database')`,
  'syntax.cjs': 'const a = 1\nconst b = ;',
  'syntax.mjs': 'const a = 1\nconst b = ;',
  'lost.mjs': `import './nowhere.mjs'`,
  'exported.cjs': `
    const express = (req, res) => res.end('without a database')
    module.exports = Object.assign(express, { handle() {}, set() {}, use() {}, listen() {}, settings: {} })
    if (require.main === module) throw new Error('main')`,
  'echo.ts': `export const application = (environ: object, start: Function) => {
    start('200 OK', [['Content-Type', 'text/plain']])
    return [Buffer.from(JSON.stringify(process.argv.slice(2)))]
  }`,
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-main-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), text)
  }
})
after(() => rmSync(directory, { recursive: true, force: true }))

const QUIET = ['--listen', '127.0.0.1:0', '--access-log', 'off']

/** The response of a container that was started this way. */
async function answerOf(module: string, ...argv: string[]): Promise<unknown> {
  const { child, port } = await startGantry(['container', join(directory, module), ...QUIET, ...argv])
  try {
    return await (await fetch(`http://127.0.0.1:${port}/`)).json()
  } finally {
    await child.end()
  }
}

/** The same for `gantry up`, and its output. */
async function answerOfUp(...argv: string[]): Promise<unknown> {
  const child = new TestChild(
    [repositoryFile('cli/gantry.ts'), 'up', ...argv.slice(0, 1), ...QUIET, ...argv.slice(1)],
    {
      cwd: directory,
    },
  )
  try {
    const url = /is served at (\S+)/
    await child.until(() => url.test(child.stderr))
    return await (await fetch(url.exec(child.stderr)![1]!)).json()
  } finally {
    await child.insist('SIGTERM')
  }
}

async function failureOf(...argv: string[]): Promise<string> {
  const child = new TestChild([repositoryFile('cli/gantry.ts'), 'container', ...argv], { cwd: directory })
  assert.equal((await child.exited).code, 1)
  return child.stderr
}

const NODE = '--interface=node'

describe('a module that starts its server itself', () => {
  it('is the main module as CommonJS, and its dependencies are not', async () => {
    const file = join(directory, 'required.cjs')
    assert.deepEqual(await answerOf('required.cjs', NODE), [[file, true, [false, file]], [file]])
  })

  it('is the main module as an ES module, and its dependencies are not', async () => {
    assert.deepEqual(await answerOf('imported.mjs', NODE), [[true, false], [join(directory, 'imported.mjs')]])
  })

  it('is the main module as TypeScript of both kinds', async () => {
    assert.deepEqual(await answerOf('typed.ts', NODE), [true, [join(directory, 'typed.ts')]])
    assert.deepEqual(await answerOf('common/typed.ts', NODE), [[true], [join(directory, 'common/typed.ts')]])
  })

  it('is waited for if it exports its application too, and listens after its database is connected', async () => {
    assert.equal(await answerOf('connects.cjs', NODE), 'with a database')
  })

  it('is served whatever else it exports', async () => {
    assert.equal(await answerOf('for-tests.cjs', NODE), 'listens')
    assert.match(await failureOf('unservable.cjs', NODE), /did not call listen\(\).* \(the export default of .* is no/)
  })

  it('is the main module without an extension, and gets the arguments after --', async () => {
    const file = join(directory, 'bin/tool')
    assert.deepEqual(await answerOf('bin/tool', NODE, '--', 'start', '--port=1', '-x', '--', 'a,b'), [
      [file, 'start', '--port=1', '-x', '--', 'a,b'],
    ])
  })

  it("gives what it throws at its top once it is served to the application's own handlers", async () => {
    const child = new TestChild([repositoryFile('cli/gantry.ts'), 'container', 'late.mjs', NODE, ...QUIET], {
      cwd: directory,
    })
    assert.equal((await child.exited).code, 9)
    assert.equal(child.stderr, 'RangeError: no database\n')
  })

  for (const [module, says] of [
    ['throws.mjs', /throws\.mjs threw while it was loaded: no database\nError: no database\n\s+at .*throws\.mjs:3:/],
    ['syntax.cjs', /syntax\.cjs:2: SyntaxError: /],
    ['syntax.mjs', /syntax\.mjs:2: SyntaxError: /],
    ['lost.mjs', /lost\.mjs cannot be loaded: Cannot find module .*nowhere\.mjs/],
  ] as const) {
    it(`says with file and line why ${module} cannot be loaded`, async () => {
      const said = await failureOf(module, NODE)
      assert.match(said, says)
      assert.ok(!said.includes('ExperimentalWarning'), said)
    })
  }
})

describe('arguments after --', () => {
  for (const more of [[], ['--dev']]) {
    it(`reach an application of up ${more}`, async () => {
      assert.deepEqual(await answerOfUp('echo.ts', ...more, '--', 'start', '--slots', '3'), ['start', '--slots', '3'])
    })
  }

  it('reach an application written to the contract', async () => {
    assert.deepEqual(await answerOf('echo.ts', '--', 'a b'), ['a b'])
  })

  it('come from GANTRY_ARGUMENTS, separated by spaces', async () => {
    const { child, port } = await startGantry(['container', ...QUIET], {
      env: { GANTRY_ARGUMENTS: ' start  --fast ', GANTRY_MODULE: join(directory, 'echo.ts') },
    })
    try {
      assert.deepEqual(await (await fetch(`http://127.0.0.1:${port}/`)).json(), ['start', '--fast'])
    } finally {
      await child.end()
    }
  })

  it('are suggested when an argument is given without --', async () => {
    const says = /unexpected argument "start"; arguments for the application come after --, as in: -- start/
    assert.match(await failureOf('echo.ts', 'start'), says)
    assert.match(await failureOf('echo.ts', '--turbo'), /unknown option --turbo; .* come after --, as in: -- --turbo/)
  })
})

describe('a folder', () => {
  for (const [folder, expected] of [
    ['named', 'named'],
    ['./named/', 'named'],
    ['indexed', 'indexed'],
    ['typescript', 'typed index'],
  ] as const) {
    it(`is resolved as node does: ${folder}`, async () => {
      assert.equal(await answerOfUp(folder, NODE), expected)
    })
  }

  it('without an entry is refused with the names that were tried', async () => {
    assert.match(
      await failureOf('empty', NODE),
      /no file .*empty\/index\.js .*no package\.json there whose main is a file/,
    )
  })
})

describe('an exported application that does more as the main module', () => {
  it('is served as it is, with a warning that names the option', async () => {
    const { child, port } = await startGantry(['container', join(directory, 'exported.cjs'), ...QUIET])
    const warning = /checks whether it is the main module.*--interface node/
    try {
      assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'without a database')
      await child.until(() => child.log.some((line) => warning.test(String(line['msg']))))
    } finally {
      await child.end()
    }
  })
})
