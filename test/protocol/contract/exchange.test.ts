import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application, Body, Environ, Headers, StartResponse } from '../../../protocol/contract/application.ts'
import type { Context } from '../../../protocol/contract/context.ts'
import { AbortError, HttpError } from '../../../protocol/contract/errors.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { run } from '../../support/exchange.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const bytes = (value: string): Uint8Array => Buffer.from(value, 'latin1')
/** A generator function as an application. */
const generator = (
  make: (environ: Environ, start: StartResponse) => Generator<Uint8Array> | AsyncGenerator<Uint8Array>,
): Application => make
const iterationEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const gone = (): AbortError => new AbortError('CLIENT_GONE', 'the client is gone')

/** A body that records how it is used. */
function watched(body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): { body: Body; closed: () => number } {
  let closed = 0
  return { body: Object.assign(body, { close: () => void closed++ }), closed: () => closed }
}

describe('an exchange', () => {
  it('sends an array as one chunk with its length, without another tick', () => {
    const { sink, settled } = run((_, start) => {
      start('200 OK', text)
      return [bytes('Hello '), bytes('world')]
    })
    assert.deepEqual(sink.calls, ['head 200 11 end'])
    assert.equal(sink.header('Content-Length'), '11')
    assert.equal(sink.body, 'Hello world')
    assert.equal(settled(), 1)
  })

  it("does not touch the application's own list of headers", () => {
    const constant: Headers = [['Content-Type', 'text/plain']]
    run((_, start) => {
      start('200 OK', constant)
      return [bytes('x')]
    })
    assert.deepEqual(constant, [['Content-Type', 'text/plain']])
  })

  it('sends Content-Length: 0 if the body is empty', async () => {
    const { sink, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        yield* []
      }),
    )
    await whenSettled
    assert.deepEqual(sink.calls, ['head 200 end'])
    assert.equal(sink.header('Content-Length'), '0')
  })

  it('accepts startResponse in the first iteration', async () => {
    const { sink, whenSettled } = run(
      generator(async function* (_, start) {
        await iterationEnd()
        start('201 Created', text)
        yield bytes('a')
      }),
    )
    await whenSettled
    assert.deepEqual(sink.calls, ['head 201 1', 'flush', 'end'])
    assert.equal(sink.length, -1)
  })

  it('sends the head with the first chunk that is not empty, and flushes each chunk before it requests the next one', async () => {
    const { sink, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        yield bytes('')
        assert.deepEqual(sink.calls, [])
        yield bytes('ab')
        assert.deepEqual(sink.calls, ['head 200 2', 'flush'])
        yield bytes('c')
        assert.deepEqual(sink.calls, ['head 200 2', 'flush', 'data 1', 'flush'])
      }),
    )
    await whenSettled
    assert.equal(sink.ended, true)
  })

  it('sends the head at an empty write, and sends written chunks before the chunks of the body', async () => {
    const { sink, whenSettled } = run((_, start) => {
      const write = start('200 OK', text)
      void write(bytes(''))
      void write(bytes('one '))
      return [bytes('two')]
    })
    await whenSettled
    assert.equal(sink.calls[0], 'head 200')
    assert.equal(sink.body, 'one two')
    assert.equal(sink.ended, true)
  })

  it('replaces a head that was not sent, if there is excInfo', () => {
    const { sink } = run((_, start) => {
      start('200 OK', text)
      start('503 Service Unavailable', [['Retry-After', '1']], new Error('later'))
      return []
    })
    assert.equal(sink.status, '503 Service Unavailable')
    assert.equal(sink.header('Content-Type'), undefined)
  })

  it('throws excInfo and aborts if the head was sent, even if the application catches the error', async () => {
    const failure = new Error('late failure')
    let thrown: unknown
    const { sink, log, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        yield bytes('half')
        try {
          start('500 Internal Server Error', text, failure)
        } catch (error) {
          thrown = error
        }
        yield bytes('rest')
      }),
    )
    await whenSettled
    assert.equal(thrown, failure)
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.equal(sink.ended, false)
    assert.equal(sink.body, 'half')
    assert.equal(log.messages('error').length, 1)
  })

  it('refuses a second startResponse without excInfo', () => {
    const { sink, log } = run((_, start) => {
      start('200 OK', text)
      start('200 OK', text)
      return [bytes('never')]
    })
    assert.equal(sink.status, '500 Internal Server Error')
    assert.match(String((log.lines[0]!.fields['err'] as Error).message), /second time/)
  })

  it('responds with 500 and a page that shows only the id, if the application throws', () => {
    const { sink, log, environ } = run(() => {
      throw new Error('secret detail')
    })
    assert.equal(sink.status, '500 Internal Server Error')
    assert.doesNotMatch(sink.body, /secret/)
    assert.ok(sink.body.includes(environ.gantry.requestId))
    assert.equal(log.lines.length, 1)
    assert.equal(log.lines[0]?.fields['requestId'], environ.gantry.requestId)
  })

  it('responds with JSON if the client prefers it', () => {
    const { sink } = run(
      () => {
        throw new HttpError(503, 'BUSY', 'no room', { headers: [['Retry-After', '2']] })
      },
      { headers: ['Host', 'a', 'Accept', 'application/json'] },
    )
    assert.equal(sink.header('content-type'), 'application/json')
    assert.equal(sink.header('retry-after'), '2')
    assert.equal(JSON.parse(sink.body).status, 503)
  })

  it('responds with 500 if startResponse was not called, and closes the body', async () => {
    const { body, closed } = watched([bytes('x')])
    const { sink, whenSettled } = run(() => body)
    await whenSettled
    assert.equal(sink.status, '500 Internal Server Error')
    assert.equal(closed(), 1)
  })

  for (const [what, bad] of [
    ['a string', 'text'],
    ['undefined', undefined],
    ['a number', 7],
    ['a plain object', {}],
  ] as const) {
    it(`refuses ${what} as a body`, () => {
      const { sink, log } = run((_, start) => {
        start('200 OK', text)
        return bad as unknown as Body
      })
      assert.equal(sink.status, '500 Internal Server Error')
      assert.match((log.lines[0]!.fields['err'] as Error).message, /expected an iterable of Uint8Array/)
    })
  }

  it('refuses a string chunk and aborts the response', async () => {
    const { sink, log, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        yield bytes('good')
        yield 'bad' as unknown as Uint8Array
      }),
    )
    await whenSettled
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.equal(sink.ended, false)
    assert.match((log.lines[0]!.fields['err'] as Error).message, /"bad".*Uint8Array/)
  })

  for (const [what, status, headers, message] of [
    ['a hop-by-hop header', '200 OK', [['Transfer-Encoding', 'chunked']], /Transfer-Encoding.*hop-by-hop/],
    ['Connection', '200 OK', [['connection', 'close']], /hop-by-hop/],
    ['a line break in a value', '200 OK', [['X-A', 'a\r\nSet-Cookie: b']], /X-A.*control characters/],
    ['a value beyond latin1', '200 OK', [['X-A', '€']], /X-A/],
    ['a space in a name', '200 OK', [['X A', 'b']], /not a token/],
    ['a status without a reason', '200', [], /"200"/],
    ['a status with an empty reason', '200 ', [], /"200 "/],
    ['a status with a space at its end', '200 OK ', [], /"200 OK "/],
    ['a status above 599 (RFC 9110 §15)', '600 What', [], /"600 What"/],
    ['a tab in a status', '200 all\tright', [], /three digits from 100 to 599/],
    ['a line break in a status', '200 OK\r\nX: y', [], /status/],
    ['an informational status', '103 Early Hints', [], /informational/],
    ['101 without an upgrade request', '101 Switching Protocols', [], /not an upgrade request/],
    ['a length that is not a number', '200 OK', [['Content-Length', '1e3']], /number of bytes/],
    [
      'two lengths',
      '200 OK',
      [
        ['Content-Length', '1'],
        ['content-length', '1'],
      ],
      /twice/,
    ],
    ['headers that are not pairs', '200 OK', [['X-A']], /\[name, value\]/],
    [
      'an object as headers',
      '200 OK',
      { 'X-A': 'b' },
      /headers: expected an array of \[name, value\], got a plain object/,
    ],
  ] as const) {
    it(`refuses ${what} with a TypeError`, () => {
      let thrown: unknown
      const { sink } = run((_, start) => {
        try {
          start(status, headers as unknown as Headers)
        } catch (error) {
          thrown = error
          throw error
        }
        return [bytes('never')]
      })
      assert.ok(thrown instanceof TypeError)
      assert.match(thrown.message, message)
      assert.equal(sink.status, '500 Internal Server Error')
    })
  }

  it('does not send bytes beyond the declared length, ends the response, and logs that once', async () => {
    const { body, closed } = watched(
      (function* () {
        yield bytes('12345')
        yield bytes('678')
        yield bytes('9')
      })(),
    )
    const { sink, log, whenSettled } = run((_, start) => {
      start('200 OK', [['Content-Length', '6']])
      return body
    })
    await whenSettled
    assert.equal(sink.body, '123456')
    assert.equal(sink.ended, true)
    assert.equal(closed(), 1)
    assert.equal(log.messages('error').length, 1)
  })

  it('aborts a response whose body is shorter than declared, and never ends it', async () => {
    const { sink, log, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', [['Content-Length', '10']])
        yield bytes('123')
      }),
    )
    await whenSettled
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.equal(sink.ended, false)
    assert.equal(log.messages('error').length, 1)
  })

  it('ends a response with its last declared byte, even if the iterable has not ended', async () => {
    const gate = Promise.withResolvers<void>()
    const { sink, exchange, settled, whenSettled } = run(
      generator(async function* (_, start) {
        start('200 OK', [['Content-Length', '3']])
        yield bytes('abc')
        await gate.promise
      }),
    )
    await iterationEnd()
    assert.equal(sink.ended, true)
    assert.equal(exchange.finished, true)
    assert.equal(settled(), 0)
    gate.resolve()
    await whenSettled
  })

  for (const [method, status, length] of [
    ['HEAD', '200 OK', '5'],
    ['GET', '304 Not Modified', '5'],
    ['GET', '204 No Content', undefined],
    ['GET', '205 Reset Content', undefined],
  ] as const) {
    it(`sends no body for ${method} ${status}, whatever the application returns`, async () => {
      const { body, closed } = watched(
        (function* () {
          yield bytes('12345')
          yield bytes('6')
        })(),
      )
      const { sink, whenSettled } = run(
        (_, start) => {
          start(status, [['Content-Length', '5']])
          return body
        },
        { method },
      )
      await whenSettled
      assert.deepEqual(sink.calls, [`head ${status.slice(0, 3)} end`])
      assert.equal(sink.length, 0)
      assert.equal(sink.header('Content-Length'), length)
      assert.equal(closed(), 1)
    })
  }

  it('adds no Content-Length for a HEAD', async () => {
    const { sink, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        yield* []
      }),
      { method: 'HEAD' },
    )
    await whenSettled
    assert.equal(sink.header('Content-Length'), undefined)
  })

  it('requests no chunk while the sink is full', async () => {
    let asked = 0
    const { sink, exchange, whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        for (; asked < 3; asked++) yield bytes('x')
      }),
      {
        prepare: (made) => {
          made.sink.room = false
        },
      },
    )
    await iterationEnd()
    assert.equal(asked, 0)
    exchange.resume()
    await iterationEnd()
    assert.equal(asked, 1)
    sink.room = true
    exchange.resume()
    await whenSettled
    assert.equal(sink.body, 'xxx')
  })

  it('lets other requests run at least every 64 KiB of a synchronous body', async () => {
    let iterations = 0
    let running = true
    const count = (): void => {
      iterations++
      if (running) setImmediate(count)
    }
    setImmediate(count)
    const { whenSettled } = run(
      generator(function* (_, start) {
        start('200 OK', text)
        for (let at = 0; at < 16; at++) yield new Uint8Array(64 * 1024)
      }),
    )
    await whenSettled
    running = false
    assert.ok(iterations >= 15, `${iterations} iterations of the loop`)
  })

  it('aborts a response whose writes are not awaited, after 1 MiB', async () => {
    let failure: unknown
    const { sink, log, whenSettled } = run(
      (_, start) => {
        const write = start('200 OK', text)
        for (let at = 0; at < 20; at++) {
          write(new Uint8Array(64 * 1024)).catch((error: unknown) => {
            failure ??= error
          })
        }
        return []
      },
      {
        prepare: (made) => {
          made.sink.room = false
        },
      },
    )
    await whenSettled
    await iterationEnd()
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.ok(failure instanceof Error)
    assert.equal(log.messages('error').length, 1)
    assert.ok(Buffer.concat(sink.chunks).length <= 1024 * 1024 + 64 * 1024)
  })

  it('lets other requests run while an application writes after the response to a HEAD', async () => {
    let stop = false
    const { whenSettled } = run(
      async (_, start) => {
        const write = start('200 OK', text)
        while (!stop) await write(bytes('x'))
        return []
      },
      { method: 'HEAD' },
    )
    await iterationEnd()
    stop = true
    await whenSettled
  })

  it('resolves a write when the sink can take more', async () => {
    let written = false
    const { exchange, whenSettled } = run(
      async (_, start) => {
        const write = start('200 OK', text)
        await write(bytes('a'))
        written = true
        return []
      },
      {
        prepare: (made) => {
          made.sink.room = false
        },
      },
    )
    await iterationEnd()
    assert.equal(written, false)
    exchange.resume()
    await whenSettled
    assert.equal(written, true)
  })
})

describe('close()', () => {
  const bodies: [string, () => Iterable<Uint8Array> | AsyncIterable<Uint8Array>][] = [
    ['an array', () => [bytes('a')]],
    [
      'a generator',
      () =>
        (function* () {
          yield bytes('a')
          yield bytes('b')
        })(),
    ],
    [
      'an async generator',
      () =>
        (async function* () {
          yield bytes('a')
          await iterationEnd()
          yield bytes('b')
        })(),
    ],
  ]
  for (const [what, make] of bodies) {
    it(`is called once after ${what} was sent`, async () => {
      const { body, closed } = watched(make())
      const { whenSettled, settled } = run((_, start) => {
        start('200 OK', text)
        return body
      })
      await whenSettled
      await iterationEnd()
      assert.equal(closed(), 1)
      assert.equal(settled(), 1)
    })

    it(`is called once for ${what} if the client disconnects while the application is called`, async () => {
      const { body, closed } = watched(make())
      const gate = Promise.withResolvers<void>()
      const { exchange, whenSettled, settled, sink } = run(async (_, start) => {
        await gate.promise
        try {
          start('200 OK', text)
        } catch {}
        return body
      })
      exchange.abort(gone())
      gate.resolve()
      await whenSettled
      assert.equal(closed(), 1)
      assert.equal(settled(), 1)
      assert.deepEqual(sink.calls, [])
    })
  }

  it('is called after return() of a generator that was not read to its end', async () => {
    let returned = false
    let next = 0
    const { exchange, whenSettled, sink } = run(
      generator(async function* (_, start) {
        start('200 OK', text)
        try {
          for (;;) {
            next++
            yield bytes('tick')
            await iterationEnd()
          }
        } finally {
          returned = true
        }
      }),
    )
    while (next < 3) await iterationEnd()
    exchange.abort(gone())
    await whenSettled
    assert.equal(returned, true)
    assert.equal(sink.ended, false)
  })

  it('is called at most 5 s after an abort if a next() is pending; the exchange settles only when the application has', async () => {
    const gate = Promise.withResolvers<IteratorResult<Uint8Array>>()
    let closed = 0
    const { exchange, clock, settled, whenSettled } = run((_, start) => {
      start('200 OK', text)
      return {
        [Symbol.asyncIterator]: () => ({ next: () => gate.promise }),
        close: () => void closed++,
      }
    })
    await iterationEnd()
    exchange.abort(gone())
    clock.advance(4_999)
    assert.equal(closed, 0)
    clock.advance(1)
    assert.equal(closed, 1)
    assert.equal(settled(), 0)
    gate.resolve({ done: true, value: undefined })
    await whenSettled
    assert.equal(closed, 1)
    assert.equal(settled(), 1)
  })

  it('is logged if it fails, and the response stays complete', async () => {
    const { sink, log, whenSettled } = run((_, start) => {
      start('200 OK', text)
      return Object.assign([bytes('whole')], {
        close() {
          throw new Error('close failed')
        },
      })
    })
    await whenSettled
    assert.equal(sink.ended, true)
    assert.equal(log.messages('error').length, 1)
  })
})

describe('an abort', () => {
  it('aborts the signal, fails the input and rejects pending writes with the same reason', async () => {
    const input = new RequestInput({ wanted() {}, consumed() {} })
    const seen: unknown[] = []
    const { exchange, whenSettled } = run(
      async (environ, start) => {
        const write = start('200 OK', text)
        const reading = environ['wsgi.input'].read(1).catch((error: unknown) => seen.push(error))
        const writing = write(bytes('a')).catch((error: unknown) => seen.push(error))
        await Promise.all([reading, writing])
        seen.push(environ.gantry.signal.reason)
        return []
      },
      {
        input,
        prepare: (made) => {
          made.sink.room = false
        },
      },
    )
    const error = gone()
    exchange.abort(error)
    await whenSettled
    assert.deepEqual(seen, [error, error, error])
  })

  it('is not logged as a failure if the application rethrows it', async () => {
    const { exchange, log, whenSettled } = run(async (environ) => {
      await new Promise((_, reject) =>
        environ.gantry.signal.addEventListener('abort', () => reject(environ.gantry.signal.reason)),
      )
      return []
    })
    exchange.abort(gone())
    await whenSettled
    assert.deepEqual(log.lines, [])
  })

  it('has no effect on a response that is complete', () => {
    const { exchange, environ } = run((_, start) => {
      start('200 OK', text)
      return [bytes('x')]
    })
    exchange.abort(gone())
    assert.equal(environ.gantry.signal.aborted, false)
  })
})

describe('environ.gantry', () => {
  it('reports once how the request ended', async () => {
    const outcomes: unknown[] = []
    const { whenSettled } = run(
      generator(function* (environ, start) {
        environ.gantry.onFinished(({ status, bytes: sent, aborted }) => outcomes.push([status, sent, aborted]))
        start('200 OK', text)
        yield bytes('abc')
      }),
    )
    await whenSettled
    assert.deepEqual(outcomes, [[200, 3, undefined]])
  })

  it('runs every onFinished and onAbort callback even if one throws, and settles', async () => {
    const told: string[] = []
    const broken = (): never => {
      throw new Error('a callback')
    }
    const { exchange, log, whenSettled } = run(async (environ) => {
      const gantry = environ.gantry as Context
      gantry.onFinished(broken)
      gantry.onFinished(({ aborted }) => told.push(`finished ${(aborted as AbortError).code}`))
      gantry.onAbort(broken)
      gantry.onAbort((reason) => told.push(`aborted ${(reason as AbortError).code}`))
      await new Promise((_resolve, reject) => gantry.onAbort(reject))
      return []
    })
    exchange.abort(new AbortError('CLIENT_GONE', 'the client has gone'))
    await whenSettled
    assert.deepEqual(told, ['finished CLIENT_GONE', 'aborted CLIENT_GONE'])
    assert.deepEqual(
      log.lines.map(({ level, message }) => `${level} ${message}`),
      ['error an onFinished callback failed', 'error an onAbort callback failed'],
    )
  })

  it('sends early hints before the head, and none after it', async () => {
    const { sink, whenSettled } = run(
      generator(function* (environ, start) {
        environ.gantry.earlyHints([['Link', '</a.css>; rel=preload']])
        start('200 OK', text)
        yield bytes('x')
        environ.gantry.earlyHints([['Link', '</b.css>; rel=preload']])
      }),
    )
    await whenSettled
    assert.deepEqual(sink.informed, [['103 Early Hints', [['Link', '</a.css>; rel=preload']]]])
  })

  it('sends trailers after a body of unknown length', async () => {
    const { sink, whenSettled } = run((environ, start) => {
      environ.gantry.trailers(async () => [['X-Sum', '42']])
      start('200 OK', text)
      return [bytes('x')]
    })
    await whenSettled
    assert.deepEqual(sink.trailers, [['X-Sum', '42']])
    assert.equal(sink.length, -1)
  })

  it('drops the trailers of a response that is replaced', async () => {
    const { sink, whenSettled } = run((environ, startResponse) => {
      environ.gantry.trailers(() => new Promise(() => {}))
      startResponse('500 Internal Server Error', [], new Error('failed'))
      return [Buffer.from('sorry')].values()
    })
    await whenSettled
    assert.equal(sink.body, 'sorry')
    assert.equal(sink.trailers, undefined)
  })

  it('aborts the response if its trailers fail', async () => {
    const { sink, whenSettled } = run((environ, start) => {
      environ.gantry.trailers(() => Promise.reject(new Error('no sum')))
      start('200 OK', text)
      return [bytes('x')]
    })
    await whenSettled
    assert.equal(sink.ended, false)
    assert.equal(sink.aborted?.code, 'APPLICATION')
  })

  it('passes the connection to the application after a 101, and settles when it closes', async () => {
    const { sink, settled, whenSettled, exchange } = run(
      (environ, start) => {
        start('101 Switching Protocols', [['Upgrade', 'echo']])
        const socket = environ.gantry.upgrade()
        socket.pipe(socket)
        return []
      },
      { upgrade: true, headers: ['Host', 'a', 'Upgrade', 'echo', 'Connection', 'Upgrade'] },
    )
    assert.deepEqual(sink.calls, ['head 101', 'upgrade'])
    assert.equal(sink.header('Connection'), 'Upgrade')
    assert.equal(exchange.finished, false)
    sink.peer!.write('ping')
    const [echoed] = await Promise.all([new Promise<Buffer>((resolve) => sink.peer!.once('data', resolve))])
    assert.equal(echoed.toString(), 'ping')
    assert.equal(settled(), 0)
    sink.peer!.end()
    await whenSettled
  })
})

describe('wsgi.errors', () => {
  it('is logged line by line with the id of the request', () => {
    const { log, environ } = run((environ, start) => {
      environ['wsgi.errors'].write('one\ntwo')
      environ['wsgi.errors'].writelines([' and\n', 'rest'])
      start('200 OK', text)
      return []
    })
    assert.deepEqual(log.messages('error'), ['one', 'two and', 'rest'])
    assert.equal(log.lines[0]?.fields['requestId'], environ.gantry.requestId)
  })
})
