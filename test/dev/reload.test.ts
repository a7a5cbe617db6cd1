import assert from 'node:assert/strict'
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { APP, BROKEN, type DevServer, FILES, RELOADED, SERVED, withDev, word } from '../support/dev.ts'

describe('a change', () => {
  it('is served by a new process, and the old one ends', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      assert.equal((await dev.get('/')).text, '<h1>one</h1>')
      const [first] = dev.containers()
      dev.write({ 'word.ts': word('two') })
      await dev.said(RELOADED)
      assert.equal((await dev.get('/')).text, '<h1>two</h1>')
      assert.match(dev.child.stderr, /^app\.ts: word\.ts changed, reloaded in \d+ ms$/m)
      // Its socket is removed with it.
      await gone(first!)
      assert.equal(dev.containers().length, 1)
    }))

  it('is seen in a file that was replaced by a rename, and in one that was removed and made again', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      const file = join(dev.directory, 'word.ts')
      for (const [index, text] of ['two', 'three'].entries()) {
        writeFileSync(`${file}.tmp`, word(text))
        renameSync(`${file}.tmp`, file)
        await dev.said(RELOADED, index + 1)
        assert.equal((await dev.get('/')).text, `<h1>${text}</h1>`)
      }
      rmSync(file)
      await dev.said(BROKEN)
      dev.write({ 'word.ts': word('four') })
      await dev.said(RELOADED, 3)
      assert.equal((await dev.get('/')).text, '<h1>four</h1>')
    }))

  it('of several files at once is one reload', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      dev.write({ 'app.ts': APP.replace('<h1>', '<h2>'), 'word.ts': word('two') })
      await dev.said(RELOADED)
      assert.equal((await dev.get('/')).text, '<h2>two</h1>')
      assert.match(dev.child.stderr, /^app\.ts: (app|word)\.ts and 1 more changed/m)
    }))

  it('is followed into what is imported only since then', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      dev.write({ 'new.ts': word('new'), 'word.ts': `export { word } from './new.ts'` })
      await dev.said(RELOADED)
      dev.write({ 'new.ts': word('newer') })
      await dev.said(RELOADED, 2)
      assert.equal((await dev.get('/')).text, '<h1>newer</h1>')
    }))

  it('is followed into what is required', () =>
    withDev(
      {
        'app.ts': `import { createRequire } from 'node:module'
const { word } = createRequire(import.meta.url)('./word.cjs')
export default (_: any, start: any) => (start('200 OK', [['Content-Type', 'text/plain']]), [Buffer.from(word)])`,
        'word.cjs': `module.exports = require('./deeper.cjs')`,
        'deeper.cjs': `exports.word = 'one'`,
      },
      async (dev) => {
        await dev.said(SERVED)
        dev.write({ 'deeper.cjs': `exports.word = 'two'` })
        await dev.said(RELOADED)
        assert.equal((await dev.get('/')).text, 'two')
      },
    ))

  it('while another loads wins over it, although that one hangs', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      dev.write({ 'word.ts': `process.stderr.write('hangs\\n')\nexport const word = 'x'\nwhile (true) {}\n` })
      await dev.said(/^hangs$/)
      dev.write({ 'word.ts': word('two') })
      await dev.said(RELOADED)
      assert.equal((await dev.get('/')).text, '<h1>two</h1>')
    }))

  it('does not fail a request, twenty times in a row', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      let running = true
      const statuses: number[] = []
      const clients = [1, 2, 3].map(async () => {
        while (running) {
          statuses.push((await dev.get('/')).status)
          // Limited: unlimited requests would leave too little CPU time for the reloads under test.
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      })
      for (let edit = 1; edit <= 20; edit++) {
        dev.write({ 'word.ts': word(String(edit)) })
        await dev.said(RELOADED, edit)
        assert.equal((await dev.get('/')).text, `<h1>${edit}</h1>`)
      }
      running = false
      await Promise.all(clients)
      assert.deepEqual(
        statuses.filter((status) => status !== 200),
        [],
      )
      assert.ok(statuses.length > 20)
    }))
})

describe('the end', () => {
  it('ends every process and leaves nothing behind, also with a page that waits', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      await using _events = await dev.events()
      dev.child.process.kill('SIGINT')
      assert.deepEqual(await dev.child.exited, { code: 0, signal: null })
      // It does not look for processes that it has ended itself.
      assert.equal(dev.child.stdout, '')
      assert.deepEqual(dev.containers(), [])
      assert.deepEqual(leftovers(dev), [])
    }))

  it('ends a module that hangs', () =>
    withDev({ 'app.ts': `process.stderr.write('hangs\\n')\nwhile (true) {}` }, async (dev) => {
      await dev.said(/^hangs$/)
      dev.child.process.kill('SIGINT')
      assert.deepEqual(await dev.child.exited, { code: 0, signal: null })
      assert.deepEqual(dev.containers(), [])
      assert.deepEqual(leftovers(dev), [])
    }))

  it('of the server alone, by force, ends the application too', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      dev.child.process.kill('SIGKILL')
      // Its output ends when no process has it open.
      assert.deepEqual(await dev.child.exited, { code: null, signal: 'SIGKILL' })
      assert.deepEqual(dev.containers(), [])
    }))

  it('does not wait long for a response without end', () =>
    withDev(
      {
        'app.ts': `export default async (_: any, start: any) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return (async function* () {
    yield Buffer.from('begun')
    await new Promise(() => {})
  })()
}`,
      },
      async (dev) => {
        await dev.said(SERVED)
        const response = await fetch(`http://localhost:${dev.port}/`)
        const reader = response.body!.getReader()
        await reader.read()
        const cut = assert.rejects(reader.read())
        dev.child.process.kill('SIGINT')
        assert.equal((await dev.child.exited).code, 0)
        await cut
        assert.deepEqual(dev.containers(), [])
      },
    ))

  for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM'] as const) {
    it(`passes ${signal} on to the application, and exits with its code`, () =>
      withDev(
        {
          'app.ts': `import { createServer } from 'node:http'
const server = createServer((_, response) => response.end('one')).listen(0)
process.on('${signal}', () => {
  console.error('the application got ${signal}')
  server.close(() => process.exit(7))
})`,
        },
        async (dev) => {
          await dev.said(SERVED)
          dev.child.process.kill(signal)
          assert.deepEqual(await dev.child.exited, { code: 7, signal: null })
          assert.equal(dev.child.stderr.match(/the application got/g)?.length, 1)
        },
        ['--interface', 'node'],
      ))
  }

  it('ends what the application has started', () =>
    withDev(
      {
        'app.ts': `import { spawn } from 'node:child_process'
spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', 'unix:' + process.cwd() + '/'], { stdio: 'inherit' })
export default (_: any, start: any) => (start('200 OK', [['Content-Type', 'text/plain']]), [Buffer.from('one')])`,
      },
      async (dev) => {
        await dev.said(SERVED)
        assert.equal(dev.containers().length, 2)
        dev.child.process.kill('SIGTERM')
        // Its output ends when no process has it open.
        assert.deepEqual(await dev.child.exited, { code: 0, signal: null })
        assert.deepEqual(dev.containers(), [])
      },
    ))
})

function leftovers(dev: DevServer): string[] {
  return readdirSync(dev.directory).filter((name) => name.startsWith('gantry-'))
}

/** Resolves when a process has ended. */
async function gone(id: number): Promise<void> {
  for (;;) {
    try {
      process.kill(id, 0)
    } catch {
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
