/** A process that was not started with --dev loads no module of `dev/`, and shows nothing of an error. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { FILES, SERVED, withDev } from '../support/dev.ts'

/** An application that fails in every possible way. */
const FAILING = `import { word } from './word.ts'
export const application = async (environ: any, startResponse: any) => {
  const path = environ.PATH_INFO
  const failure = new TypeError('secret of the application', { cause: new Error('deeper secret') })
  if (path === '/call') throw failure
  if (path === '/string') return 'secret of the application'
  if (path === '/crash') setTimeout(() => { throw failure })
  if (path === '/crash') await new Promise(() => {})
  startResponse(path === '/status' ? 'secret of the application' : '200 OK', [['Content-Type', 'text/html']])
  if (path === '/excinfo') startResponse('500 Oh', [['X-Secret', failure as any]], failure)
  return (async function* () {
    if (path === '/first') throw failure
    yield Buffer.from('<h1>begun</h1>')
    if (path === '/middle') throw failure
    if (path === '/chunk') yield 'secret of the application'
  })()
}
`
/** Texts that reveal the source of the application, the source of Gantry, or parts of development mode. */
const LEAKS =
  /secret|\.ts\b|\.js\b|\bat \w+ \(|node_modules|node:internal|TypeError|Error:|youch|pino|chokidar|EventSource|\.gantry|<iframe|<script/i

/** The whole response, with its head. */
function raw(port: number, request: string): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
}

const PATHS = ['/call', '/string', '/crash', '/status', '/excinfo', '/first', '/middle', '/chunk', '/']
const DEV_PATHS = ['/.gantry/dev/error', '/.gantry/dev/events']

describe('without --dev', () => {
  for (const accept of ['text/html', 'application/json', '*/*']) {
    it(`no failure shows source, stack or modules to a client that accepts ${accept}`, () =>
      withDev(
        { ...FILES, 'app.ts': FAILING },
        async (dev) => {
          await dev.said(SERVED)
          for (const path of [...PATHS, ...DEV_PATHS]) {
            const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: ${accept}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`
            const text = await raw(dev.port, head)
            assert.match(text, /^HTTP\/1\.1 \d\d\d /, path)
            assert.doesNotMatch(text, LEAKS, path)
            assert.equal(text.includes(dev.directory), false, path)
          }
        },
        [],
        '',
      ))
  }

  it('a page of the application is as it gave it, and its files may change', () =>
    withDev(
      FILES,
      async (dev) => {
        await dev.said(SERVED)
        dev.write({ 'word.ts': 'no longer TypeScript' })
        const { text } = await dev.get('/', { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' })
        assert.equal(text, '<h1>one</h1>')
      },
      [],
      '',
    ))

  it('an application that cannot be loaded is not served', () =>
    withDev(
      { 'app.ts': `throw new Error('secret')` },
      async (dev) => {
        assert.deepEqual(await dev.child.exited, { code: 1, signal: null })
      },
      [],
      '',
    ))

  for (const flag of ['', '--dev']) {
    it(`${flag === '' ? 'no process loads' : 'and only with it, processes load'} what development needs`, () =>
      withDev(
        FILES,
        async (dev) => {
          await dev.said(SERVED)
          // Each loaded module is resolved first, so the hook sees it.
          await dev.get('/throw', { Accept: 'text/html' })
          dev.child.process.kill('SIGTERM')
          await dev.child.exited
          const loaded = readFileSync(join(dev.directory, 'loaded'), 'utf8')
          assert.match(loaded, /app\.ts/)
          for (const name of ['youch', 'chokidar', 'pino-pretty', 'main/dev/', 'protocol/contract/lint.ts']) {
            const pattern = name === 'main/dev/' ? repositoryFile('dev/') : name
            assert.equal(loaded.includes(pattern), flag !== '', name)
          }
        },
        [],
        flag,
        // Each process records the modules that it loads.
        (directory) => {
          writeFileSync(join(directory, 'trace.mjs'), TRACE)
          return { NODE_OPTIONS: `--import=${join(directory, 'trace.mjs')}`, TRACE_FILE: join(directory, 'loaded') }
        },
      ))
  }

  it('the same failures are reported with --dev, so that this test would see them', () =>
    withDev({ ...FILES, 'app.ts': FAILING }, async (dev) => {
      await dev.said(SERVED)
      assert.match((await dev.get('/call', { Accept: 'text/html' })).text, LEAKS)
    }))
})

const TRACE = `import { appendFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
registerHooks({ load(url, context, next) { appendFileSync(process.env.TRACE_FILE, url + '\\n'); return next(url, context) } })
`
