import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { APP, BROKEN, FILES, RELOADED, SERVED, withDev, word } from '../support/dev.ts'

const HTML = { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' }

/** The reload that a page waits for. */
function shownBy(page: string): string {
  const match = /"path":"\/\.gantry\/dev\/events\?shown=([^"]+)"/.exec(page)
  assert.ok(match, 'the page waits for nothing')
  return match[1]!
}

describe('a module that cannot be loaded', () => {
  it('is shown above the pages of the older version, which still serves, until it is fixed', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      dev.write({ 'word.ts': 'export const word: string = \n' })
      await dev.said(BROKEN)
      assert.match(dev.child.stderr, /the previous version is still served/)
      assert.match(dev.child.stderr, /❯ 1 ┃ {2}export const word: string =/)
      assert.equal((await dev.get('/')).text, '<h1>one</h1>')

      const page = await dev.get('/', { ...HTML, 'If-None-Match': '"1"' })
      assert.match(page.text, /^<h1>one<\/h1>\n<iframe name="gantry-dev-overlay" src="\/\.gantry\/dev\/error"/)
      assert.equal(page.header('etag'), undefined)
      const overlay = await dev.get('/.gantry/dev/error', HTML)
      assert.match(overlay.text, /word\.ts/)
      await using events = await dev.events(shownBy(overlay.text))
      dev.write({ 'word.ts': word('two') })
      assert.equal(await events.changed, 'changed')
      assert.equal((await dev.get('/', HTML)).text, '<h1>two</h1>')
    }))

  it('is shown when it is the first, to browsers as a page and to others as text, and the page hears that it is mended', () =>
    withDev({ ...FILES, 'word.ts': `export const word = 1\nthrow new Error('not today')\n` }, async (dev) => {
      await dev.listening()
      const page = await dev.get('/', HTML)
      assert.equal(page.status, 500)
      assert.match(page.text, /not today/)
      assert.match(page.header('content-security-policy')!, /^default-src 'none'; script-src 'nonce-/)
      const text = await dev.get('/')
      assert.equal(text.header('content-type'), 'text/plain; charset=utf-8')
      assert.match(text.text, /word\.ts:2:7/)
      await using events = await dev.events(shownBy(page.text))
      dev.write({ 'word.ts': word('two') })
      assert.equal(await events.changed, 'changed')
      assert.equal((await dev.get('/')).text, '<h1>two</h1>')
    }))

  for (const [what, source, sentence] of [
    ['JavaScript that does not parse', 'export const word = ;', /❯ 1 ┃ {2}export const word = ;/],
    ['an import that leads nowhere', `\nexport * from './nothing.ts'`, /❯ 2 ┃ {2}export \* from '\.\/nothing\.ts'/],
    ['a wait without end', 'await new Promise(() => {})', /never finishes loading: a top-level await .* never settles/],
    ['an end of the process', 'process.exit(3)', /its process ended before it was loaded, with exit code 3/],
  ] as const) {
    it(`is shown with its place: ${what}`, () =>
      withDev({ 'app.ts': `export * from './word.js'`, 'word.js': source }, async (dev) => {
        await dev.said(BROKEN)
        assert.match((await dev.get('/')).text, sentence)
      }))
  }

  it('is loaded when what it lacks appears', () =>
    withDev({ 'app.ts': APP }, async (dev) => {
      await dev.said(BROKEN)
      dev.write({ 'word.ts': word('found') })
      await dev.said(SERVED)
      assert.equal((await dev.get('/')).text, '<h1>found</h1>')
    }))

  it('is loaded when it appears itself', () =>
    withDev({}, async (dev) => {
      await dev.said(BROKEN)
      dev.write(FILES)
      await dev.said(SERVED)
      assert.equal((await dev.get('/')).text, '<h1>one</h1>')
    }))
})

describe('an error of the application', () => {
  it('is a page with its source and the environ, which hears of a reload', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      const page = await dev.get('/throw', { ...HTML, Cookie: 'session=tell-nobody' })
      assert.equal(page.status, 500)
      assert.match(page.text, /thrown by the application/)
      assert.match(page.text, /PATH_INFO/)
      assert.equal(page.text.includes('tell-nobody'), false)
      await using events = await dev.events(shownBy(page.text))
      dev.write({ 'app.ts': APP.replace('throw new TypeError', 'new TypeError') })
      assert.equal(await events.changed, 'changed')
      assert.equal((await dev.get('/throw', HTML)).text, '<h1>one</h1>')
    }))

  it('is not shown under a host name that DNS rebinding could use', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      for (const path of ['/throw', '/.gantry/dev/error', '/.gantry/dev/events']) {
        const { text } = await dev.get(path, { Host: 'rebound.example', Accept: 'text/html' })
        assert.doesNotMatch(text, /app\.ts|TypeError/)
        assert.match(text, /500 Internal Server Error|403 Forbidden/)
      }
    }))

  it('that ends its process is shown, and the application is started again', () =>
    withDev(FILES, async (dev) => {
      await dev.said(SERVED)
      const { status, text } = await dev.get('/crash', {}, 'POST')
      assert.equal(status, 500)
      assert.match(text, /RangeError: thrown by nobody/)
      await dev.said(/restarted in \d+ ms/)
      assert.equal((await dev.get('/')).text, '<h1>one</h1>')
    }))

  it('against the contract is shown with the rule that was broken', () =>
    withDev(
      { 'app.ts': `export default (_: any, start: any) => (start('200 OK', [['Connection', 'close']]), [])` },
      async (dev) => {
        await dev.said(SERVED)
        assert.match((await dev.get('/')).text, /the application broke the contract, HEADER_HOP_BY_HOP/)
      },
    ))
})

it('middleware by option is around the application: its errors are shown, and it is reloaded', () =>
  withDev(
    { ...FILES, 'outer.ts': `export default (inner: any) => () => { throw new Error('thrown by middleware') }` },
    async (dev) => {
      await dev.said(SERVED)
      assert.match((await dev.get('/')).text, /outer\.ts:1:\d+/)
      dev.write({ 'outer.ts': 'export default (inner: any) => inner' })
      await dev.said(RELOADED)
      assert.equal((await dev.get('/')).text, '<h1>one</h1>')
    },
    ['--middleware', './outer.ts'],
  ))

it('what is served may have another interface', () =>
  withDev(
    {
      'app.ts': `import type { IncomingMessage, ServerResponse } from 'node:http'
export default (request: IncomingMessage, response: ServerResponse) => {
  if (request.url === '/throw') throw new TypeError('thrown by a listener')
  response.end('one')
}`,
    },
    async (dev) => {
      await dev.said(SERVED)
      assert.equal((await dev.get('/')).text, 'one')
      assert.match((await dev.get('/throw')).text, /thrown by a listener/)
    },
    ['--interface', 'node'],
  ))
