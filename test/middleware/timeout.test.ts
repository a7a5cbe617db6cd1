import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { timeout } from '../../middleware/timeout.ts'
import type { Application, Environ, Outcome, StartResponse, Write } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { AbortError, type HttpError } from '../../protocol/contract/errors.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { FakeClock } from '../support/clock.ts'
import { run } from '../support/exchange.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text: [string, string][] = [['Content-Type', 'text/plain']]

/** Longer than any deadline here and the interval of checks. */
const LATE = 2_000

function never<T>(): Promise<T> {
  return new Promise(() => {})
}

/** Event-loop iterations in which promises pass through the layers. */
async function turns(count = 5): Promise<void> {
  for (let at = 0; at < count; at++) await turn()
}

describe('an application that does not begin its response in time', () => {
  it('is answered 504, and its signal is aborted', async () => {
    const clock = new FakeClock()
    let seen: Environ | undefined
    const { sink, log } = run(
      timeout({ firstByte: 1_000, clock })((environ) => {
        seen = environ
        return never()
      }),
    )
    const { signal } = seen!.gantry
    clock.advance(900)
    await turns()
    assert.equal(sink.status, '')
    clock.advance(LATE)
    await turns()
    assert.equal(sink.status, '504 Gateway Timeout')
    assert.ok(sink.ended)
    assert.ok(signal.aborted)
    assert.equal((signal.reason as AbortError).code, 'DEADLINE')
    assert.equal(((signal.reason as AbortError).cause as HttpError).code, 'APPLICATION_TIMEOUT')
    assert.deepEqual(log.messages(), ['the application did not begin its response within 1000 ms (timeout)'])
  })

  it('may be a Node listener, whose late calls do not throw', async () => {
    const clock = new FakeClock()
    let response: ServerResponse | undefined
    const { sink, whenSettled } = run(
      timeout({ firstByte: 1_000, clock })(
        fromNode((_req, res) => {
          response = res
        }),
      ),
    )
    clock.advance(LATE)
    await whenSettled
    assert.equal(sink.status, '504 Gateway Timeout')
    response!.writeHead(204).end()
    assert.deepEqual([response!.socket!.destroyed, response!.headersSent, response!.writableEnded], [true, true, true])
  })

  it('keeps its slot until it has settled, and its late body is closed without being read', async () => {
    const clock = new FakeClock()
    const late = Promise.withResolvers<void>()
    const events: string[] = []
    const running = run(
      timeout({ firstByte: 1_000, clock })(async (_, start) => {
        await late.promise
        try {
          start('200 OK', text)
        } catch (error) {
          events.push(`startResponse threw ${(error as AbortError).code}`)
        }
        return {
          *[Symbol.iterator]() {
            events.push('iterated')
            yield bytes('late')
          },
          close: () => void events.push('closed'),
        }
      }),
    )
    clock.advance(LATE)
    await turns()
    assert.equal(running.sink.status, '504 Gateway Timeout')
    assert.equal(running.settled(), 0)
    late.resolve()
    await running.whenSettled
    assert.deepEqual(events, ['startResponse threw DEADLINE', 'closed'])
    assert.equal(running.sink.calls.filter((name) => name.startsWith('head')).length, 1)
  })

  it('has its later failure logged, but not the abort that it passes on', async () => {
    const clock = new FakeClock()
    const log = new RecordingLog()
    const late = Promise.withResolvers<never>()
    const told = Promise.withResolvers<never>()
    const application = timeout({ firstByte: 1_000, clock, log })((environ) =>
      environ.PATH_INFO === '/late' ? late.promise : told.promise,
    )
    const [first, second] = [run(application, { target: '/late' }), run(application, { target: '/told' })]
    clock.advance(LATE)
    late.reject(new Error('a late failure'))
    told.reject(new AbortError('DEADLINE', 'told'))
    await Promise.all([first.whenSettled, second.whenSettled])
    assert.deepEqual(log.messages(), ['the application failed after its deadline'])
  })

  it('is interrupted in its first next(), which is awaited before its body is closed', async () => {
    const clock = new FakeClock()
    const step = Promise.withResolvers<void>()
    const events: string[] = []
    const running = run(
      timeout({ firstByte: 1_000, clock })((_, start) => {
        start('200 OK', text)
        const generator = (async function* () {
          try {
            await step.promise
            events.push('came')
            yield bytes('late')
          } finally {
            events.push('returned')
          }
        })()
        return Object.assign(generator, { close: () => void events.push('closed') })
      }),
    )
    clock.advance(LATE)
    await turns()
    assert.equal(running.sink.status, '504 Gateway Timeout')
    assert.deepEqual(events, [])
    assert.equal(running.settled(), 0)
    step.resolve()
    await running.whenSettled
    assert.deepEqual([...events].sort(), ['came', 'closed', 'returned'])
    assert.doesNotMatch(running.sink.body, /late/)
  })

  it('has its body closed after five seconds although its next() hangs', async () => {
    const clock = new FakeClock()
    let closed = 0
    const running = run(
      timeout({ firstByte: 1_000, clock })((_, start) => {
        start('200 OK', text)
        return { [Symbol.asyncIterator]: () => ({ next: () => never() }), close: () => void closed++ }
      }),
    )
    clock.advance(LATE)
    await turns()
    assert.equal(closed, 0)
    clock.advance(5_000)
    await turns()
    assert.equal(closed, 1)
    assert.equal(running.settled(), 0, 'the slot is still taken')
  })

  it('has its pending read rejected', async () => {
    const clock = new FakeClock()
    const input = new RequestInput({ wanted() {}, consumed() {} })
    const running = run(
      timeout({ firstByte: 1_000, clock })(async (environ) => {
        await environ['wsgi.input'].read()
        return []
      }),
      { input, method: 'POST' },
    )
    clock.advance(LATE)
    await running.whenSettled
    assert.equal(running.sink.status, '504 Gateway Timeout')
  })
})

describe('an application that does not end its response in time', () => {
  it('has the response aborted when its next chunk is late', async () => {
    const clock = new FakeClock()
    const running = run(
      timeout({ total: 1_000, clock })(async function* (_: Environ, start: StartResponse) {
        start('200 OK', text)
        yield bytes('some')
        await never()
      } as unknown as Application),
    )
    await turns()
    assert.equal(running.sink.body, 'some')
    clock.advance(LATE)
    await turns()
    assert.equal(running.sink.aborted?.code, 'APPLICATION')
    assert.equal(running.sink.ended, false)
    assert.deepEqual(running.log.messages(), ['the application did not finish its response within 1000 ms (timeout)'])
  })

  it('has the response aborted when it wrote and did not return', async () => {
    const clock = new FakeClock()
    const running = run(
      timeout({ total: 1_000, clock })(async (_, start) => {
        const write = start('200 OK', text)
        await write(bytes('some'))
        return never()
      }),
    )
    await turns()
    clock.advance(LATE)
    await turns()
    assert.equal(running.sink.body, 'some')
    assert.equal(running.sink.aborted?.code, 'APPLICATION')
    assert.equal(running.settled(), 0)
  })

  it('has the response aborted while the client does not read a synchronous body', async () => {
    const clock = new FakeClock()
    let returned = false
    const running = run(
      timeout({ total: 1_000, clock })((_, start) => {
        start('200 OK', text)
        return (function* () {
          try {
            for (;;) yield bytes('more')
          } finally {
            returned = true
          }
        })()
      }),
      {
        prepare: ({ sink }) => {
          sink.room = false
        },
      },
    )
    await turns()
    assert.deepEqual(running.log.messages(), [])
    clock.advance(LATE)
    await running.whenSettled
    assert.equal(running.sink.aborted?.code, 'APPLICATION')
    assert.ok(returned)
  })

  it('has its later writes refused', async () => {
    const clock = new FakeClock()
    let write: Write | undefined
    run(
      timeout({ total: 1_000, clock })(async (_, start) => {
        write = start('200 OK', text)
        await write(bytes('some'))
        return never()
      }),
    )
    await turns()
    clock.advance(LATE)
    await assert.rejects(write!(bytes('late')), { code: 'DEADLINE' })
  })

  it('may take any time by default, after it has begun', async () => {
    const clock = new FakeClock()
    const step = Promise.withResolvers<void>()
    const running = run(
      timeout({ firstByte: 1_000, clock })(async function* (_: Environ, start: StartResponse) {
        start('200 OK', text)
        yield bytes('some')
        await step.promise
        yield bytes(' more')
      } as unknown as Application),
    )
    await turns()
    clock.advance(1_000_000)
    step.resolve()
    await running.whenSettled
    assert.equal(running.sink.body, 'some more')
    assert.equal(running.sink.aborted, undefined)
  })
})

describe('a request that ends in time', () => {
  it('leaves no deadline and no timer behind', async () => {
    const clock = new FakeClock()
    const application = timeout({ firstByte: 1_000, total: 2_000, clock })(async function* (
      _: Environ,
      start: StartResponse,
    ) {
      start('200 OK', text)
      yield bytes('all')
    } as unknown as Application)
    const running = run(application)
    await running.whenSettled
    clock.advance(300)
    assert.equal(clock.pending, 0)
    assert.equal(running.sink.body, 'all')
  })

  it('has no deadline after its client has disconnected', async () => {
    const clock = new FakeClock()
    const running = run(timeout({ firstByte: 1_000, clock })(() => never()))
    running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    clock.advance(300)
    assert.equal(clock.pending, 0)
    clock.advance(LATE)
    await turns()
    assert.deepEqual(running.log.messages(), [])
  })

  it('has no deadline after an upgrade', async () => {
    const clock = new FakeClock()
    let signal: AbortSignal | undefined
    const running = run(
      timeout({ firstByte: 1_000, total: 1_000, clock })(async (environ, start) => {
        signal = environ.gantry.signal
        start('101 Switching Protocols', [['Upgrade', 'echo']])
        environ.gantry.upgrade()
        return never()
      }),
      { upgrade: true, headers: ['Host', 'h', 'Connection', 'Upgrade', 'Upgrade', 'echo'] },
    )
    clock.advance(LATE)
    await turns()
    assert.equal(running.sink.aborted, undefined)
    assert.equal(running.exchange.upgraded, true)
    assert.equal(signal?.aborted, false)
    running.sink.peer?.destroy()
  })

  it('has a deadline after a refused upgrade', async () => {
    const clock = new FakeClock()
    const running = run(
      timeout({ firstByte: 1_000, clock })(async (environ) => {
        assert.throws(() => environ.gantry.upgrade(), { code: 'NO_UPGRADE' })
        const { signal } = environ.gantry
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      }),
    )
    clock.advance(LATE)
    await running.whenSettled
    assert.match(running.sink.status, /^504/)
  })

  it('reads its upload as it arrives', async () => {
    const application: Application = async (environ, start) => {
      const lines = await environ['wsgi.input'].readlines()
      start('200 OK', text)
      return lines
    }
    const body = (async function* () {
      yield bytes('one\ntw')
      await turn()
      yield bytes('o\n')
    })()
    assert.equal((await call(timeout()(application), { method: 'POST', body })).text, 'one\ntwo\n')
  })

  it('keeps an array an array', () => {
    const { sink } = run(
      timeout({ clock: new FakeClock() })((_, start) => {
        start('200 OK', text)
        return [bytes('a'), bytes('b')]
      }),
    )
    assert.deepEqual(sink.calls, ['head 200 2 end'])
  })

  it('passes failures on', async () => {
    const failure = new Error('as it was')
    const outer = timeout()(() => Promise.reject(failure))
    const running = run((environ, start) =>
      (outer(environ, start) as Promise<never>).catch((error: unknown) => {
        assert.equal(error, failure)
        start('200 OK', text)
        return []
      }),
    )
    await running.whenSettled
    assert.equal(running.sink.status, '200 OK')
  })

  it('reports its outcome to inner middleware too', async () => {
    const outcomes: Outcome[] = []
    await call(
      timeout()((environ, start) => {
        environ.gantry.onFinished((outcome) => outcomes.push(outcome))
        start('200 OK', text)
        return [bytes('abc')]
      }),
    )
    assert.deepEqual(
      outcomes.map(({ status, bytes: sent }) => [status, sent]),
      [[200, 3]],
    )
  })
})

it('shows the application the disconnect of its client', async () => {
  let signal: AbortSignal | undefined
  const running = run(
    timeout()((environ) => {
      signal = environ.gantry.signal
      return never()
    }),
  )
  running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
  assert.equal((signal!.reason as AbortError).code, 'CLIENT_GONE')
})

it('refuses invalid deadlines', () => {
  assert.throws(() => timeout({ firstByte: 0 }), /firstByte is 0, expected a number of milliseconds above 0/)
  assert.throws(() => timeout({ total: '5s' as never }), /total is "5s"/)
})

for (const place of places) {
  describe(`a deadline ${place.name}`, () => {
    it('passes a response in time', async () => {
      await using placed = await place.put(timeout(), async function* (_: Environ, start: StartResponse) {
        start('200 OK', text)
        yield bytes('one ')
        yield bytes('two')
      } as unknown as Application)
      assert.equal((await call(placed.application)).text, 'one two')
    })

    it('answers 504 for an application that waits for its signal', async () => {
      const clock = new FakeClock()
      const begun = Promise.withResolvers<void>()
      const middleware = timeout({ firstByte: 1_000, clock })
      await using placed = await place.put(middleware, async (environ, start) => {
        begun.resolve()
        await new Promise((resolve) => environ.gantry.signal.addEventListener('abort', resolve))
        start('200 OK', text)
        return [bytes('late')]
      })
      const called = call(placed.application)
      await begun.promise
      await turns()
      clock.advance(LATE)
      const { status, text: page } = await called
      assert.equal(status, 504)
      assert.doesNotMatch(page, /late/)
    })

    it('aborts a response that stalls', async () => {
      const clock = new FakeClock()
      const stalled = Promise.withResolvers<void>()
      await using placed = await place.put(timeout({ total: 1_000, clock }), async function* (
        environ: Environ,
        start: StartResponse,
      ) {
        start('200 OK', text)
        yield bytes('some')
        stalled.resolve()
        await new Promise((resolve) => environ.gantry.signal.addEventListener('abort', resolve))
      } as unknown as Application)
      const called = call(placed.application)
      await stalled.promise
      await turns()
      clock.advance(LATE)
      const { aborted, text: body } = await called
      assert.equal(body, 'some')
      assert.ok(aborted)
    })
  })
}
