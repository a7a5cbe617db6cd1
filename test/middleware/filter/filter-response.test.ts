import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Decide, type Filter, filterResponse } from '../../../middleware/filter/filter-response.ts'
import { withoutHeaders } from '../../../middleware/shared/response-fields.ts'
import type { Application, Body, Headers, Middleware, Write } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const bytes = (value: string): Buffer => Buffer.from(value)

function through(decide: Decide): Middleware {
  return (application) => (environ, startResponse) => filterResponse(application, environ, startResponse, decide)
}

function withFilter(make: () => Filter): Middleware {
  return through((status, headers) => ({ status, headers: withoutHeaders(headers, 'content-length'), filter: make() }))
}

/** Doubles each byte, and adds a mark at the end; counts the calls. */
class Doubling implements Filter {
  pushed = 0
  ended = 0
  closed = 0

  push(chunk: Uint8Array): Uint8Array {
    this.pushed++
    return double(chunk)
  }

  end(): Uint8Array {
    this.ended++
    return bytes('|')
  }

  close(): void {
    this.closed++
  }
}

function double(chunk: Uint8Array): Buffer {
  const twice = Buffer.alloc(chunk.length * 2)
  for (let at = 0; at < chunk.length; at++) twice.fill(chunk[at]!, at * 2, at * 2 + 2)
  return twice
}

const identity = (): Filter => ({ push: (chunk) => chunk, end: () => undefined })
const slowly = (make: () => Filter) => (): Filter => {
  const filter = make()
  return {
    push: async (chunk) => {
      await new Promise((resolve) => setImmediate(resolve))
      return filter.push(chunk)
    },
    end: async () => filter.end(),
    close: () => filter.close?.(),
  }
}

/** A body that counts the calls of its methods. */
class Counted {
  readonly chunks: Uint8Array[]
  asked = 0
  returned = 0
  closed = 0
  failing: Error | undefined

  constructor(...chunks: string[]) {
    this.chunks = chunks.map(bytes)
  }

  get body(): Body {
    let at = 0
    const next = (): IteratorResult<Uint8Array> => {
      this.asked++
      const value = this.chunks[at++]
      if (value) return { done: false, value }
      if (this.failing) throw this.failing
      return { done: true, value: undefined }
    }
    const returning = (): IteratorResult<Uint8Array> => {
      this.returned++
      return { done: true, value: undefined }
    }
    return {
      [Symbol.iterator]: () => ({ next, return: returning }),
      close: () => {
        this.closed++
      },
    }
  }

  get application(): Application {
    return (_, start) => {
      start('200 OK', text)
      return this.body
    }
  }
}

// ---- random applications --------------------------------------------------------------------------------------------

interface Script {
  form: 'array' | 'iterable' | 'async iterable' | 'generator' | 'async generator'
  async: boolean
  writes: string[]
  awaited: boolean
  chunks: string[]
  /** Replaces the first startResponse before any byte. */
  replaced: boolean
  /** Before this chunk: throws, or calls startResponse with excInfo. */
  fails: number | undefined
  excInfo: boolean
}

const piece = fc.string({ unit: 'grapheme-ascii', maxLength: 5 })
const script: fc.Arbitrary<Script> = fc.record({
  form: fc.constantFrom('array', 'iterable', 'async iterable', 'generator', 'async generator'),
  async: fc.boolean(),
  writes: fc.array(piece, { maxLength: 3 }),
  awaited: fc.boolean(),
  chunks: fc.array(piece, { maxLength: 4 }),
  replaced: fc.boolean(),
  fails: fc.option(fc.nat(4), { nil: undefined }),
  excInfo: fc.boolean(),
})

function played(script: Script): Application {
  return (_, start) => {
    const begin = (): Write => {
      const write = start('200 OK', text)
      return script.replaced ? start('203 Changed', [...text, ['X-Again', 'yes']], new Error('begun again')) : write
    }
    const fail = (): void => {
      const error = new Error('scripted')
      if (script.excInfo) start('500 Failed', text, error)
      throw error
    }
    function* chunks(): Generator<Uint8Array> {
      for (let at = 0; at < script.chunks.length; at++) {
        if (script.fails === at) fail()
        yield bytes(script.chunks[at]!)
      }
    }
    async function* slowChunks(): AsyncGenerator<Uint8Array> {
      for (const chunk of chunks()) {
        await null
        yield chunk
      }
    }
    const body = (): Body => {
      if (script.form === 'array') return [...chunks()]
      if (script.form === 'iterable') return chunks()
      if (script.form === 'async iterable') return slowChunks()
      const late = script.form === 'generator' ? chunks : slowChunks
      if (script.form === 'generator') {
        return (function* () {
          begin()
          yield* late() as Generator<Uint8Array>
        })()
      }
      return (async function* () {
        begin()
        yield* late()
      })()
    }
    if (script.form.endsWith('generator')) return script.async ? Promise.resolve().then(body) : body()
    if (!script.async) {
      const write = begin()
      for (const chunk of script.writes) write(bytes(chunk))
      return body()
    }
    return (async () => {
      const write = begin()
      for (const chunk of script.writes) {
        const written = write(bytes(chunk))
        if (script.awaited) await written
      }
      return body()
    })()
  }
}

async function answers(application: Application, method: string) {
  const faults: string[] = []
  const linted = lint(application, { report: (error) => faults.push(error.message) })
  const { status, header, body, aborted, closed } = await call(linted, { method })
  linted.assertClosed()
  return { status, again: header('x-again'), body: body.toString(), aborted: aborted?.code, closed, faults }
}

describe('filterResponse, whatever the application does', () => {
  const doubled = (body: string, whole: boolean): string => `${double(bytes(body))}${whole ? '|' : ''}`
  const filters: [string, () => Filter, (body: string, whole: boolean) => string, slow: boolean][] = [
    ['an identity', identity, (body) => body, false],
    ['an asynchronous identity', slowly(identity), (body) => body, true],
    ['a doubling filter', () => new Doubling(), doubled, false],
    ['an asynchronous doubling filter', slowly(() => new Doubling()), doubled, true],
  ]
  for (const [name, make, expected, slow] of filters) {
    it(`sends through ${name} what the application sends, byte for byte, with the same status and the same end`, async () => {
      await fc.assert(
        fc.asyncProperty(script, fc.constantFrom('GET', 'GET', 'HEAD'), async (script, method) => {
          // Whether bytes of an unawaited write were sent before excInfo depends on timing.
          if (slow && !(script.async && script.awaited) && script.writes.length > 0) script.excInfo = false
          const bare = await answers(played(script), method)
          const filtered = await answers(withFilter(make)(lint(played(script))), method)
          // An error page does not pass the filter: the server generates it.
          const untouched = bare.status === 500 || method === 'HEAD'
          const body = untouched ? bare.body : expected(bare.body, bare.aborted === undefined)
          const masked = (page: string): string => page.replace(/Request [\w.-]+/, '')
          assert.equal(masked(filtered.body), masked(body))
          assert.deepEqual({ ...filtered, body: '' }, { ...bare, body: '' })
        }),
        { numRuns: 300 },
      )
    })
  }

  it("passes an unchanged body on as the application's own object", async () => {
    const body = [bytes('a')]
    const plain = through((status, headers) => ({ status, headers }))
    const given = plain((_, start) => {
      start('200 OK', text)
      return body
    })
    const { sink } = run((environ, start) => {
      const passed = given(environ, start)
      assert.equal(passed, body)
      return passed
    })
    assert.deepEqual(sink.calls, ['head 200 1 end'])
  })

  it('keeps a generator that starts late synchronous if it is not changed', async () => {
    const plain = through((status, headers) => ({ status, headers: [...headers, ['X-Seen', 'yes']] }))
    const { sink } = run(
      plain(function* (_, start) {
        start('200 OK', text)
        yield bytes('a')
        yield bytes('b')
      } as Application),
    )
    assert.deepEqual(sink.calls, ['head 200 1', 'flush', 'data 1', 'flush', 'end'])
    assert.equal(sink.header('x-seen'), 'yes')
  })

  it('sends each chunk before it requests the next one', async () => {
    const seen: string[] = []
    const application: Application = (_, start) => {
      start('200 OK', text)
      return (function* () {
        for (const chunk of ['a', 'b', 'c']) {
          seen.push(`asked ${sink.body.length}`)
          yield bytes(chunk)
        }
      })()
    }
    const made = run(withFilter(() => new Doubling())(application), { hold: true })
    const { sink } = made
    made.exchange.run()
    await made.whenSettled
    assert.deepEqual(seen, ['asked 0', 'asked 2', 'asked 4'])
    assert.equal(sink.body, 'aabbcc|')
  })

  it('sends the head with the first write although the filter returns nothing yet', () => {
    let release = (): void => {}
    const swallowing: Filter = { push: () => undefined, end: () => bytes('all') }
    const { sink } = run(
      withFilter(() => swallowing)((_, start) => {
        start('200 OK', text)(bytes('a'))
        return new Promise<Body>((resolve) => {
          release = () => resolve([])
        })
      }),
    )
    assert.deepEqual(sink.calls, ['head 200', 'flush'])
    release()
  })

  it('lets other requests run while a filter consumes a long synchronous body', async () => {
    let iterations = 0
    let over = false
    const tick = (): void => {
      iterations++
      if (!over) setImmediate(tick)
    }
    setImmediate(tick)
    const chunk = Buffer.alloc(64 * 1024)
    const result = await call(
      withFilter(() => ({ push: () => undefined, end: () => bytes('!') }))((_, start) => {
        start('200 OK', text)
        return (function* () {
          for (let at = 0; at < 50; at++) yield chunk
        })()
      }),
    )
    over = true
    assert.equal(result.text, '!')
    assert.ok(iterations >= 50, `others ran ${iterations} times`)
  })

  it('aborts a response whose writes are not awaited while the filter is behind', async () => {
    const never: Filter = { push: () => new Promise(() => {}), end: () => undefined }
    const log = new RecordingLog()
    let failed: unknown
    const { aborted, status } = await call(
      withFilter(() => never)(async (_, start) => {
        const write = start('200 OK', text)
        for (let at = 0; at < 20; at++) write(Buffer.alloc(128 * 1024)).catch((error) => (failed = error))
        await new Promise((resolve) => setImmediate(resolve))
        throw failed
      }),
      { log },
    )
    assert.equal((failed as { code: string }).code, 'WRITE_OVERRUN')
    assert.equal(status, 500)
    assert.equal(aborted, undefined)
  })
})

describe('filterResponse, closing', () => {
  /** The filter and the body are closed once each. */
  async function ends(
    filter: Filter,
    body: Counted,
    { method = 'GET', returned = 0, aborted = undefined as string | undefined, status = 200 } = {},
  ): Promise<void> {
    let closed = 0
    const close = filter.close?.bind(filter)
    filter.close = () => {
      closed++
      close?.()
    }
    const result = await call(withFilter(() => filter)(body.application), { method })
    assert.deepEqual([result.status, result.aborted?.code], [status, aborted])
    assert.deepEqual(
      { filter: closed, closed: body.closed, returned: body.returned },
      { filter: 1, closed: 1, returned },
    )
  }

  it('closes filter and body once at the end', () => ends(new Doubling(), new Counted('a', 'b')))
  it('closes both once after a HEAD, whose filter is never pushed to', async () => {
    const filter = new Doubling()
    await ends(filter, new Counted('a', 'b'), { method: 'HEAD', returned: 1 })
    assert.deepEqual([filter.pushed, filter.ended], [0, 0])
  })
  it('does not give a HEAD the length of a body that a GET would have changed', async () => {
    const head = await call(
      withFilter(() => new Doubling())((_, start) => {
        start('200 OK', text)
        return [bytes('ab')]
      }),
      { method: 'HEAD' },
    )
    assert.equal(head.header('content-length'), undefined)
  })
  it('closes both once when a push throws, and aborts the response', async () => {
    let pushes = 0
    const filter: Filter = {
      push(chunk) {
        if (pushes++ === 1) throw new Error('push')
        return chunk
      },
      end: () => undefined,
    }
    await ends(filter, new Counted('a', 'b', 'c'), { returned: 1, aborted: 'APPLICATION' })
  })
  it('closes both once when the first push rejects, and answers 500', () =>
    ends({ push: async () => Promise.reject(new Error('push')), end: () => undefined }, new Counted('a', 'b'), {
      returned: 1,
      status: 500,
    }))
  it('closes both once when the end throws', () =>
    ends(
      {
        push: (chunk) => chunk,
        end: () => {
          throw new Error('end')
        },
      },
      new Counted('a'),
      { aborted: 'APPLICATION' },
    ))
  it('closes both once when the body throws, and does not call end() of the filter', async () => {
    const body = new Counted('a')
    body.failing = new Error('body')
    const filter = new Doubling()
    await ends(filter, body, { aborted: 'APPLICATION' })
    assert.equal(filter.ended, 0)
  })

  it('closes the filter when the application throws after startResponse', async () => {
    for (const asynchronous of [false, true]) {
      const filter = new Doubling()
      const { status } = await call(
        withFilter(() => filter)((_, start) => {
          start('200 OK', text)
          const error = new Error('thrown')
          if (asynchronous) return Promise.reject(error)
          throw error
        }),
      )
      assert.equal(status, 500)
      assert.equal(filter.closed, 1)
    }
  })

  it('closes both when the body is never iterated', async () => {
    const filter = new Doubling()
    const body = new Counted('a')
    run((environ, start) => {
      const given = withFilter(() => filter)(body.application)(environ, start) as Body
      given.close?.()
      given.close?.()
      return []
    })
    assert.deepEqual([filter.closed, body.closed, body.asked, body.returned], [1, 1, 0, 0])
  })

  it('closes both once, and settles, when the client disconnects during a push', async () => {
    const pushed = Promise.withResolvers<void>()
    let closed = 0
    const body = new Counted('a', 'b')
    const filter: Filter = {
      push() {
        pushed.resolve()
        return new Promise(() => {})
      },
      end: () => undefined,
      close: () => {
        closed++
      },
    }
    const { exchange, clock, whenSettled, sink } = run(withFilter(() => filter)(body.application))
    await pushed.promise
    exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    clock.advance(5_000)
    await whenSettled
    assert.deepEqual([closed, body.closed, body.returned, sink.body], [1, 1, 1, ''])
  })

  it('rejects a write that waits in the filter when the client disconnects, and runs no further one', async () => {
    const slow = Promise.withResolvers<Uint8Array>()
    const filter: Filter & { pushes: number } = {
      pushes: 0,
      push() {
        this.pushes++
        return slow.promise
      },
      end: () => undefined,
    }
    const failures: unknown[] = []
    const { exchange, whenSettled } = run(
      withFilter(() => filter)(async (_, start) => {
        const write = start('200 OK', text)
        const writes = [write(bytes('a')), write(bytes('b'))]
        for (const written of writes) await written.catch((error) => failures.push(error))
        return []
      }),
    )
    exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    slow.resolve(bytes('A'))
    await whenSettled
    assert.deepEqual(
      failures.map((error) => (error as AbortError).code),
      ['CLIENT_GONE', 'CLIENT_GONE'],
    )
    assert.equal(filter.pushes, 1)
  })

  it("passes an error of the application's close() to the server", async () => {
    const log = new RecordingLog()
    const body = new Counted('a')
    const application: Application = (_, start) => {
      start('200 OK', text)
      return Object.assign(body.body, {
        close() {
          throw new Error('unclosable')
        },
      })
    }
    await call(withFilter(identity)(application), { log })
    assert.deepEqual(log.messages('error'), ["closing the application's body failed"])
  })
})

describe('filterResponse, excInfo', () => {
  it('closes the filter of a replaced response, and decides again', async () => {
    const made: Doubling[] = []
    const { status, text: body } = await call(
      through((status, headers) => {
        const filter = new Doubling()
        made.push(filter)
        return { status, headers, filter }
      })((_, start) => {
        start('200 OK', text)
        start('503 Later', text, new Error('x'))
        return [bytes('a')]
      }),
    )
    assert.deepEqual([status, body], [503, 'aa|'])
    assert.deepEqual(
      made.map(({ pushed, closed }) => [pushed, closed]),
      [
        [0, 1],
        [1, 1],
      ],
    )
  })

  it('throws excInfo after bytes were sent, even if the filter has kept all of them, and answers 500', async () => {
    const swallowing = (): Filter => ({ push: () => undefined, end: () => bytes('all') })
    for (const swallows of [true, false]) {
      const log = new RecordingLog()
      const {
        status,
        aborted,
        text: body,
      } = await call(
        withFilter(swallows ? swallowing : identity)(async function* (_, start) {
          start('200 OK', text)
          yield bytes('a')
          try {
            start('500 Failed', text, new Error('exc'))
          } catch {
            // An application that catches the error must not look like one that ended well.
          }
          yield bytes('b')
        }),
        { log },
      )
      assert.deepEqual([status, aborted?.code], swallows ? [500, undefined] : [200, 'APPLICATION'])
      assert.match(body, swallows ? /^<!doctype html>/ : /^a$/)
    }
  })

  it('fails the response if the decision throws, even if the application catches the error', async () => {
    const { status } = await call(
      through(() => {
        throw new Error('undecided')
      })((_, start) => {
        try {
          start('200 OK', text)
        } catch {}
        return [bytes('plain')]
      }),
    )
    assert.equal(status, 500)
  })

  it('does not send the head of a replaced application with the replacement', async () => {
    const begun = Promise.withResolvers<void>()
    const late: Application = (_, start) => {
      start('200 OK', text)
      return {
        *[Symbol.iterator]() {},
        async close() {
          await begun.promise
          start('500 Own', [...text, ['X-Own', '1']], new Error('late'))
        },
      }
    }
    const instead: Application = (_, start) => {
      start('200 OK', [...text, ['X-Other', '1']])
      return (async function* () {
        begun.resolve()
        await new Promise((resolve) => setImmediate(resolve))
        yield bytes('other')
      })()
    }
    const replacing = through((status, headers) => (status === '200 OK' ? { replace: instead } : { status, headers }))
    const result = await call(replacing(late))
    assert.deepEqual([result.status, result.header('x-own'), result.text], [200, undefined, 'other'])
  })

  it('refuses a second startResponse without excInfo, and an invalid header, at the call, also while a head is kept back', async () => {
    const waiting = through((status, headers) => ({ status, headers, whole: () => () => [] }))
    const errors: unknown[] = []
    await call(
      waiting((_, start) => {
        try {
          start('200 OK', [['Bad Name', 'x']])
        } catch (error) {
          errors.push((error as Error).name)
        }
        start('200 OK', text)
        try {
          start('200 OK', text)
        } catch (error) {
          errors.push((error as { code: string }).code)
        }
        return [bytes('a')]
      }),
    )
    assert.deepEqual(errors, ['TypeError', 'START_TWICE'])
  })
})

describe('filterResponse, whole bodies', () => {
  const whole = through((status, headers) => ({
    status,
    headers,
    filter: new Doubling(),
    whole: (body) => (_, start) => {
      start('201 Whole', headers)
      return [body]
    },
  }))

  it('are answered at once, with their length', async () => {
    const {
      status,
      text: body,
      header,
    } = await call(
      whole((_, start) => {
        start('200 OK', text)
        return [bytes('a'), bytes('b')]
      }),
    )
    assert.deepEqual([status, body, header('content-length')], [201, 'ab', '2'])
  })

  it('do not exist after a write, nor for long arrays of several chunks, nor for iterators', async () => {
    const long = Buffer.alloc(40 * 1024, 'x')
    const applications: Application[] = [
      (_, start) => {
        start('200 OK', text)(bytes('a'))
        return [bytes('b')]
      },
      (_, start) => {
        start('200 OK', text)
        return [long, long]
      },
      function* (_, start) {
        start('200 OK', text)
        yield bytes('a')
      } as Application,
    ]
    for (const application of applications) {
      const { status, text: body } = await call(whole(application))
      assert.equal(status, 200)
      assert.ok(body.endsWith('|'))
    }
  })

  it("close the application's body once, after the answer", async () => {
    const order: string[] = []
    const closing = (name: string, chunks: Uint8Array[]): Body =>
      Object.assign(chunks, { close: () => void order.push(name) })
    await call(
      through((status, headers) => ({
        status,
        headers,
        whole: async (body) => (_, start) => {
          start(status, headers)
          return closing('answer', [body])
        },
      }))((_, start) => {
        start('200 OK', text)
        return closing('application', [bytes('a')])
      }),
    )
    assert.deepEqual(order.sort(), ['answer', 'application'])
  })
})

describe('filterResponse, hold and replace', () => {
  const gathering = (limit: number, state = { closed: 0 }): Middleware =>
    through((status, headers) => {
      const chunks: Uint8Array[] = []
      let size = 0
      return {
        status,
        headers,
        hold: {
          push(chunk) {
            chunks.push(chunk)
            size += chunk.length
            if (size <= limit) return undefined
            return (_, start) => {
              start('502 Too Large', text)
              return [bytes('too large')]
            }
          },
          end: async () => (_, start) => {
            start('202 Held', [...headers, ['Content-Length', String(size)]])
            return chunks
          },
          close: () => {
            state.closed++
          },
        },
      }
    })

  it('sends nothing before the end, and then the answer of the hold', async () => {
    const state = { closed: 0 }
    const made = run(gathering(100, state)(new Counted('a', 'b').application))
    assert.deepEqual(made.sink.calls, [])
    await made.whenSettled
    assert.deepEqual([made.sink.status, made.sink.body, state.closed], ['202 Held', 'ab', 1])
  })

  it('also holds written bytes', async () => {
    const { text: body } = await call(
      gathering(100)(async (_, start) => {
        await start('200 OK', text)(bytes('a'))
        return [bytes('b')]
      }),
    )
    assert.equal(body, 'ab')
  })

  it("closes the application's body at once when the hold returns an answer early", async () => {
    const body = new Counted('aaa', 'bbb', 'ccc', 'ddd')
    const { status, text: answer } = await call(gathering(5)(body.application))
    assert.deepEqual([status, answer], [502, 'too large'])
    assert.deepEqual([body.asked, body.returned, body.closed], [2, 1, 1])
  })

  it("closes the application's body when the client disconnects during the hold", async () => {
    let given = 0
    const { exchange, whenSettled } = run(
      gathering(1e9)(async function* (_, start) {
        start('200 OK', text)
        for (;;) {
          given++
          yield bytes('x')
          await new Promise((resolve) => setImmediate(resolve))
        }
      }),
    )
    exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    await whenSettled
    assert.ok(given < 5)
  })

  it('closes a replaced body unread, and answers as the replacement does', async () => {
    const body = new Counted('secret')
    const {
      status,
      text: answer,
      header,
    } = await call(
      through(() => ({
        replace: (_, start) => {
          start('404 Not Found', text)
          return [bytes('gone')]
        },
      }))((_, start) => {
        start('200 OK', text)(bytes('written secret'))
        return body.body
      }),
    )
    assert.deepEqual([status, answer, header('content-length')], [404, 'gone', '4'])
    assert.deepEqual([body.asked, body.closed], [0, 1])
  })

  it('passes a 101 unchanged', () => {
    const { sink } = run(
      through(() => {
        throw new Error('must not be asked')
      })((environ, start) => {
        start('101 Switching Protocols', [['Upgrade', 'echo']])
        environ.gantry.upgrade().destroy()
        return []
      }),
      { headers: ['Host', 'h', 'Connection', 'Upgrade', 'Upgrade', 'echo'], upgrade: true },
    )
    assert.equal(sink.status, '101 Switching Protocols')
  })

  it('sends a 204 and a 304 with the decided head, and without a filter', async () => {
    for (const status of ['204 No Content', '304 Not Modified']) {
      const filter = new Doubling()
      const result = await call(
        through((line, headers) => ({ status: line, headers: [...headers, ['X-Seen', 'yes']], filter }))((_, start) => {
          start(status, [])
          return []
        }),
      )
      assert.deepEqual([result.body.length, result.header('x-seen')], [0, 'yes'])
      assert.deepEqual([filter.pushed, filter.ended, filter.closed], [0, 0, 1])
    }
  })
})

for (const place of places) {
  describe(`filterResponse ${place.name}`, () => {
    const applications: Record<string, Application> = {
      array: (_, start) => {
        start('200 OK', text)
        return [bytes('ab')]
      },
      generator: function* (_, start) {
        start('200 OK', text)
        yield bytes('a')
        yield Buffer.alloc(0)
        yield bytes('b')
      } as Application,
      'async generator': async function* (_, start) {
        start('200 OK', text)
        yield bytes('a')
        yield bytes('b')
      },
      writer: async (_, start) => {
        const write = start('200 OK', text)
        await write(bytes('a'))
        return [bytes('b')]
      },
    }
    for (const [form, application] of Object.entries(applications)) {
      for (const method of ['GET', 'HEAD']) {
        it(`keeps the contract for a ${method} with ${form === 'array' ? 'an' : 'a'} ${form}`, async () => {
          for (const make of [() => new Doubling(), slowly(() => new Doubling())]) {
            await using placed = await place.put(withFilter(make), application)
            const { status, text: body } = await call(placed.application, { method })
            assert.deepEqual([status, body], [200, method === 'HEAD' ? '' : 'aabb|'])
          }
        })
      }
    }

    it('keeps the contract when the client disconnects', async () => {
      const begun = Promise.withResolvers<void>()
      const ended = Promise.withResolvers<void>()
      await using placed = await place.put(withFilter(slowly(identity)), async function* (_, start) {
        try {
          start('200 OK', text)
          for (;;) {
            yield bytes('x')
            begun.resolve()
            await new Promise((resolve) => setImmediate(resolve))
          }
        } finally {
          ended.resolve()
        }
      })
      const controller = new AbortController()
      const calling = call(placed.application, { signal: controller.signal })
      await begun.promise
      controller.abort()
      assert.equal((await calling).aborted?.code, 'CLIENT_GONE')
      await ended.promise
    })
  })
}
