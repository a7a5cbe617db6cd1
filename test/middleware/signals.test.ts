import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type Signals, signals } from '../../middleware/signals.ts'
import type { Application, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { run } from '../support/exchange.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const hello: Application = (_, start) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

/** Signals, and their events in order. */
function heard(): { signals: Signals; events: string[] } {
  const events: string[] = []
  const given = signals()
  given.requestStarted.subscribe(({ environ }) => events.push(`started ${environ.PATH_INFO}`))
  given.requestFailed.subscribe(({ error }) => events.push(`failed ${(error as Error).message}`))
  given.requestFinished.subscribe(({ outcome }) => events.push(`finished ${outcome.status}`))
  return { signals: given, events }
}

describe('request signals', () => {
  it('report the start and the end, once each', async () => {
    const { signals: given, events } = heard()
    await call(given(hello), { path: '/a' })
    assert.deepEqual(events, ['started /a', 'finished 200'])
  })

  const failing: Record<string, Application> = {
    'at once': () => {
      throw new Error('broken')
    },
    'in a promise': async () => {
      throw new Error('broken')
    },
    'in its first chunk': (_, start) => ({
      [Symbol.iterator]: () => ({
        next() {
          start('200 OK', [['Content-Type', 'text/plain']])
          throw new Error('broken')
        },
      }),
    }),
    'in a late first chunk': (_, start) => ({
      [Symbol.asyncIterator]: () => ({
        async next() {
          start('200 OK', [['Content-Type', 'text/plain']])
          await turn()
          throw new Error('broken')
        },
      }),
    }),
  }
  for (const [when, application] of Object.entries(failing)) {
    it(`report an application that fails ${when}`, async () => {
      const { signals: given, events } = heard()
      const { status } = await call(given(application))
      assert.equal(status, 500)
      assert.deepEqual(events, ['started /', 'failed broken', 'finished 500'])
    })
  }

  it('report a failure in mid-body once', async () => {
    const { signals: given, events } = heard()
    const { aborted } = await call(
      given(function* (_: Environ, start: StartResponse): Generator<Uint8Array> {
        start('200 OK', [['Content-Type', 'text/plain']])
        yield Buffer.from('some')
        throw new Error('broken')
      } as unknown as Application),
    )
    assert.ok(aborted)
    assert.deepEqual(events, ['started /', 'failed broken', 'finished 200'])
  })

  it('report a body shorter than its Content-Length, which the application did not notice', async () => {
    const { signals: given, events } = heard()
    await call(
      given((_, start) => {
        start('200 OK', [
          ['Content-Type', 'text/plain'],
          ['Content-Length', '9'],
        ])
        return [Buffer.from('short')].values()
      }),
    )
    assert.equal(events.length, 3)
    assert.match(events[1]!, /^failed .*after 5 bytes; its Content-Length is 9/)
  })

  it('do not report an answer below 500 as a failure', async () => {
    for (const [status, failed] of [
      [413, false],
      [503, true],
    ] as const) {
      const { signals: given, events } = heard()
      await call(
        given(() => {
          throw new HttpError(status, 'X', 'meant')
        }),
      )
      assert.equal(events.includes('failed meant'), failed)
    }
  })

  it('report the end of a request whose client has disconnected, and no failure', async () => {
    const { signals: given, events } = heard()
    const running = run(
      given(async (environ) => {
        await new Promise((resolve) => environ.gantry.signal.addEventListener('abort', resolve))
        throw environ.gantry.signal.reason
      }),
    )
    running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    await running.whenSettled
    assert.deepEqual(events, ['started /', 'finished 0'])
  })

  it('are not sent after unsubscribing, and once after subscribing twice', async () => {
    const given = signals()
    let told = 0
    const listener = (): void => void told++
    given.requestStarted.subscribe(listener)
    const unsubscribe = given.requestStarted.subscribe(listener)
    await call(given(hello))
    assert.equal(told, 1)
    unsubscribe()
    await call(given(hello))
    given.requestStarted.subscribe(listener)
    given.requestStarted.unsubscribe(listener)
    await call(given(hello))
    assert.equal(told, 1)
  })

  it('continue after listeners that throw, reject, or subscribe others', async () => {
    const log = new RecordingLog()
    const given = signals({ log })
    const told: string[] = []
    given.requestStarted.subscribe(() => {
      throw new Error('thrown')
    })
    given.requestStarted.subscribe(async () => {
      throw new Error('rejected')
    })
    given.requestStarted.subscribe(() => {
      told.push('last')
      given.requestStarted.subscribe(() => told.push('later'))
    })
    const { text } = await call(given(hello))
    await turn()
    assert.equal(text, 'hello')
    assert.deepEqual(told, ['last'])
    assert.deepEqual(
      log.lines.map(({ fields }) => (fields['err'] as Error).message),
      ['thrown', 'rejected'],
    )
  })

  it('pass the body object on while requestFailed has no listeners', () => {
    const given = signals()
    given.requestFinished.subscribe(() => {})
    const body = [Buffer.from('a')].values()
    const application: Application = (_, start) => {
      start('200 OK', [])
      return body
    }
    run((environ, start) => {
      const passed = given(application)(environ, start)
      assert.equal(passed, body)
      return passed
    })
  })

  it('refuse invalid listeners', () => {
    assert.throws(() => signals().requestStarted.subscribe('x' as never), /expected a function as listener, got string/)
  })
})

for (const place of places) {
  it(`report requests ${place.name}`, async () => {
    const { signals: given, events } = heard()
    await using placed = await place.put(given, async function* (environ: Environ, start: StartResponse) {
      if (environ.PATH_INFO === '/bad') throw new HttpError(503, 'BUSY', 'busy')
      start('200 OK', [['Content-Type', 'text/plain']])
      yield Buffer.from('one ')
      yield Buffer.from('two')
    } as unknown as Application)
    assert.equal((await call(placed.application)).text, 'one two')
    assert.deepEqual(events.splice(0), ['started /', 'finished 200'])
    assert.equal((await call(placed.application, { path: '/bad' })).status, 503)
    assert.equal(events.at(-1), 'finished 503')
  })
}
