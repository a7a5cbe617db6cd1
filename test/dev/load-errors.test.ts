import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { isForeign, isKnownHost } from '../../dev/hosts.ts'
import { showLoadErrors } from '../../dev/load-errors.ts'
import { LoadState } from '../../dev/load-state.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { makeEnviron } from '../support/call.ts'
import { FakeClock } from '../support/clock.ts'

const FAILURE = {
  name: 'SyntaxError',
  message: 'unexpected end',
  stack: 'SyntaxError: unexpected end\n    at /a/app.ts:3:1',
}
const HTML = { Accept: 'text/html', 'Sec-Fetch-Dest': 'document' }

/** The application's response to every request; `sent` keeps the requests. */
function pages(type: string = 'text/html', more: [string, string][] = []) {
  const sent: Record<string, unknown>[] = []
  const application: Application = (environ, start) => {
    sent.push({ ...environ })
    start('200 OK', [['Content-Type', type], ['Content-Length', '5'], ['ETag', '"1"'], ...more])
    return [Buffer.from('whole')]
  }
  return { application, sent }
}

function setUp(application: Application = pages().application) {
  const state = new LoadState('s')
  const clock = new FakeClock()
  const front = lint(showLoadErrors({ state, clock, module: 'app.ts' })(lint(application)))
  return { state, clock, front }
}

describe('before anything was loaded', () => {
  it('a request waits for the application', async () => {
    const { state, front } = setUp()
    state.loadBegan()
    const answer = call(front)
    await turn()
    state.loaded()
    assert.equal((await answer).text, 'whole')
  })

  it('a waiting request is answered with the error of the load', async () => {
    const { state, front } = setUp()
    state.loadBegan()
    const answer = call(front)
    await turn()
    state.loadFailed(FAILURE)
    const { status, text } = await answer
    assert.equal(status, 500)
    assert.match(text, /SyntaxError: unexpected end/)
  })

  it('a request is not kept for ever, and its page waits on', async () => {
    const { state, clock, front } = setUp()
    state.loadBegan()
    const answer = call(front, { headers: HTML })
    await turn()
    clock.advance(5_000)
    const { status, text } = await answer
    assert.equal(status, 503)
    assert.match(text, /is still loading: a top-level await/)
    assert.match(text, /shown=s\.0\.0/)
    assert.equal(state.watcherCount, 0)
  })

  it('a request ends its wait when its client disconnects', async () => {
    const { state, front } = setUp()
    state.loadBegan()
    const leaving = new AbortController()
    const answer = call(front, { signal: leaving.signal })
    await turn()
    leaving.abort()
    await answer
    assert.equal(state.watcherCount, 0)
  })
})

describe('while an older application is served', () => {
  it('its pages show the error of the newer version, and are not cached', async () => {
    const { application, sent } = pages()
    const { state, front } = setUp(application)
    state.loaded()
    state.loadFailed(FAILURE)
    const headers = { ...HTML, 'If-None-Match': '"1"', 'Accept-Encoding': 'gzip' }
    const answer = await call(front, { headers })
    assert.match(answer.text, /^whole\n<iframe name="gantry-dev-overlay" src="\/\.gantry\/dev\/error"/)
    assert.equal(answer.header('cache-control'), 'no-store')
    assert.equal(answer.header('etag'), undefined)
    assert.equal(answer.header('content-length') ?? String(answer.body.length), String(answer.body.length))
    assert.equal(sent[0]!['HTTP_IF_NONE_MATCH'], undefined)
    assert.equal(sent[0]!['HTTP_ACCEPT_ENCODING'], undefined)
  })

  for (const [what, request, type, more] of [
    ['what a script asks for', { headers: { Accept: 'text/html', 'Sec-Fetch-Dest': 'empty' } }, 'text/html', []],
    ['what a program asks for', {}, 'text/html', []],
    ['what is no page', { headers: HTML }, 'application/json', []],
    ['what is compressed', { headers: HTML }, 'text/html', [['Content-Encoding', 'gzip']]],
    ['the answer to a POST', { method: 'POST', headers: HTML }, 'text/html', []],
    ['what comes under a foreign name', { headers: { ...HTML, Host: 'rebound.example' } }, 'text/html', []],
  ] as const) {
    it(`left as it is: ${what}`, async () => {
      const { state, front } = setUp(
        pages(
          type,
          more.map(([name, value]) => [name, value]),
        ).application,
      )
      state.loaded()
      state.loadFailed(FAILURE)
      const answer = await call(front, request)
      assert.equal(answer.text, 'whole')
      assert.equal(answer.header('etag'), '"1"')
    })
  }

  it('nothing is changed when the newer version serves', async () => {
    const { state, front } = setUp()
    state.loaded()
    state.loadFailed(FAILURE)
    state.loaded()
    assert.equal((await call(front, { headers: HTML })).text, 'whole')
  })
})

describe('a container that was lost', () => {
  const lost: Application = () => {
    throw new HttpError(502, 'UPSTREAM_LOST', 'lost')
  }

  it('is answered for with the crash that it was', async () => {
    const { state, clock, front } = setUp(lost)
    state.loaded()
    const answer = call(front)
    await turn()
    state.crashed(FAILURE, clock.now())
    assert.match((await answer).text, /^app\.ts has crashed\n/)
  })

  it('is shown until another version serves: a page that reloads immediately might crash it again', async () => {
    const { state, clock, front } = setUp(lost)
    state.loaded()
    const crashed = async (method: string): Promise<string> => {
      const answer = call(front, { method, headers: HTML })
      await turn()
      state.crashed(FAILURE, clock.now())
      return (await answer).text
    }
    const text = await crashed('GET')
    state.loadBegan(false)
    state.loaded()
    assert.match(text, /"path":"[^"]*shown=s\.1","again":true/)
    // The page does not repeat a request with a body by itself.
    assert.match(await crashed('POST'), /"again":false/)
    const leaving = new AbortController()
    const answer = call(front, { path: '/.gantry/dev/events?shown=s.1', signal: leaving.signal })
    await turn()
    state.loadBegan(false)
    state.loaded()
    assert.equal(state.next, 's.1')
    assert.equal(state.watcherCount, 1)
    state.loadBegan()
    assert.equal(state.next, 's.2')
    state.loaded()
    assert.match((await answer).text, /^event: changed$/m)
  })

  it('that serves the version that had failed to load is a change', () => {
    const { state, clock } = setUp()
    state.loaded()
    state.loadFailed(FAILURE)
    const { now } = state
    state.crashed(FAILURE, clock.now())
    state.loadBegan(false)
    state.loaded()
    assert.ok(state.outdated(now))
    assert.ok(state.outdated('s.1'))
  })

  it('is a change when it serves, for a page that waits', () => {
    const { state, clock } = setUp()
    state.loaded()
    state.crashed(FAILURE, clock.now())
    const { now } = state
    state.loadBegan(false)
    assert.equal(state.outdated(now), false)
    state.loaded()
    assert.ok(state.outdated(now))
  })

  it('is an ordinary 502 when there was none', async () => {
    const { state, clock, front } = setUp(lost)
    state.loaded()
    state.crashed(FAILURE, clock.now() - 1)
    state.loaded()
    const answer = call(front)
    await turn()
    clock.advance(1_000)
    const { status, text } = await answer
    assert.equal(status, 502)
    assert.doesNotMatch(text, /unexpected end/)
  })
})

describe('a page that waits', () => {
  /** The text of a stream at its end, or when `end` is called. */
  function listen(front: Application, shown?: string) {
    const leaving = new AbortController()
    const path = `/.gantry/dev/events${shown === undefined ? '' : `?shown=${shown}`}`
    return { answer: call(front, { path, signal: leaving.signal }), leave: () => leaving.abort() }
  }

  it('hears of the next change', async () => {
    const { state, front } = setUp()
    state.loaded()
    const { answer } = listen(front, 's.1')
    await turn()
    assert.equal(state.watcherCount, 1)
    state.loadFailed(FAILURE)
    const { text, header } = await answer
    assert.match(text, /^event: changed$/m)
    assert.equal(header('content-type'), 'text/event-stream')
    assert.equal(state.watcherCount, 0)
  })

  it('hears nothing while another loads', async () => {
    const { state, front } = setUp()
    state.loaded()
    const { answer, leave } = listen(front, 's.1')
    await turn()
    state.loadBegan()
    leave()
    assert.doesNotMatch((await answer).text, /event/)
    assert.equal(state.watcherCount, 0)
  })

  for (const [what, shown] of [
    ['of an earlier run', 'earlier.1'],
    ['of an application that is served no more', 's.0'],
    ['of a failure that is mended', 's.0.1'],
  ] as const) {
    it(`hears at once that it is ${what}`, async () => {
      const { state, front } = setUp()
      state.loadFailed(FAILURE)
      state.loaded()
      assert.match((await listen(front, shown).answer).text, /^event: changed$/m)
    })
  }

  it('of an application that is still served is not notified again of a failure that it shows', async () => {
    const { state, front } = setUp()
    state.loaded()
    state.loadFailed(FAILURE)
    const { answer, leave } = listen(front, 's.1')
    await turn()
    assert.equal(state.watcherCount, 1)
    leave()
    await answer
  })

  it('is let go without an event at the end', async () => {
    const { state, front } = setUp()
    const { answer } = listen(front)
    await turn()
    state.close()
    const { text, aborted } = await answer
    assert.equal(aborted, undefined)
    assert.doesNotMatch(text, /event/)
  })

  for (const headers of [
    { 'Sec-Fetch-Site': 'cross-site' },
    { Origin: 'https://elsewhere.example' },
    { Host: 'rebound.example' },
  ]) {
    it(`is not one of another site: ${JSON.stringify(headers)}`, async () => {
      const { state, front } = setUp()
      assert.equal((await call(front, { path: '/.gantry/dev/events', headers: headers as never })).status, 403)
      assert.equal(state.watcherCount, 0)
    })
  }

  it('is one of a bounded number', async () => {
    const { state, front } = setUp()
    const open = Array.from({ length: 256 }, () => listen(front))
    await turn()
    const { status, text } = await listen(front).answer
    // A browser reconnects an event source whose stream has ended, but not one that was refused.
    assert.deepEqual([status, text], [200, 'retry: 10000\n\n'])
    state.close()
    await Promise.all(open.map(({ answer }) => answer))
  })
})

describe('hosts', () => {
  const host = (text: string) => makeEnviron({ headers: ['Host', text] })

  for (const text of [
    'localhost',
    'localhost:8080',
    'app.localhost',
    '127.0.0.1:1',
    '[::1]:80',
    '192.168.1.2',
    'LOCALHOST',
  ]) {
    it(`${text} is known`, () => assert.equal(isKnownHost(host(text)), true))
  }
  for (const text of [
    'example.org',
    'localhost.example.org',
    'notlocalhost',
    '127.0.0.1.example.org',
    '',
    'a:b:c',
    'user@localhost',
  ]) {
    it(`${text || 'none'} is not`, () => assert.equal(isKnownHost(host(text)), false))
  }
  it('a page of ours is not foreign', () => {
    assert.equal(isForeign(makeEnviron({ headers: ['Host', 'localhost:1', 'Origin', 'http://localhost:1'] })), false)
    assert.equal(isForeign(makeEnviron({ headers: ['Host', 'localhost:1', 'Origin', 'null'] })), true)
  })
})
