import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { errorPage } from '../../../middleware/error-page/error-page.ts'
import { mount } from '../../../middleware/routing/mount.ts'
import { timeout } from '../../../middleware/timeout.ts'
import type { Application, Environ, Headers, StartResponse } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { AbortError, HttpError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { FakeClock } from '../../support/clock.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'
import { temporary } from '../../support/sockets.ts'

const html: [string, string] = ['Content-Type', 'text/html']
const plainText: [string, string] = ['Content-Type', 'text/plain']

/** Answers with a head and chunks, as an array or one by one. */
function answers(status: string, headers: Headers, chunks: string[] = [], iterated = false): Application {
  const given = chunks.map((chunk) => Buffer.from(chunk))
  return (_, start) => {
    start(status, headers)
    return iterated ? given.values() : given
  }
}

const own: Application = (environ, start) => {
  start('200 OK', [html])
  return [Buffer.from(`own ${String(environ['REDIRECT_STATUS'])} ${environ.REQUEST_METHOD}`)]
}

describe('an error without a body', () => {
  for (const iterated of [false, true]) {
    it(`gets a page, and keeps its status and fields (${iterated ? 'iterated' : 'an array'})`, async () => {
      const result = await call(errorPage()(answers('404 Nothing Here', [html, ['X-A', '1']], [''], iterated)))
      assert.equal(result.status, 404)
      assert.equal(result.reason, 'Nothing Here')
      assert.equal(result.header('x-a'), '1')
      assert.match(result.text, /404 Not Found/)
      assert.equal(result.header('content-length'), String(result.body.length))
    })
  }

  it('gets JSON for a client that prefers JSON', async () => {
    const request = { headers: { Accept: 'application/json' } }
    const result = await call(errorPage()(answers('404 Not Found', [['Content-Length', '0'], html])), request)
    assert.equal(result.header('content-type'), 'application/json')
    assert.equal(JSON.parse(result.text).status, 404)
  })

  it('loses the fields of the missing body, and keeps those of the error', async () => {
    const { headers } = await call(
      errorPage()(
        answers('401 Unauthorized', [
          html,
          ['Content-Language', 'de'],
          ['ETag', '"a"'],
          ['WWW-Authenticate', 'Basic'],
          ['Content-Security-Policy', "default-src 'none'"],
        ]),
      ),
    )
    const names = headers.map(([name]) => name)
    for (const name of ['Content-Language', 'ETag']) assert.ok(!names.includes(name), name)
    for (const name of ['WWW-Authenticate', 'Content-Security-Policy']) assert.ok(names.includes(name), name)
    assert.equal(names.filter((name) => name === 'Content-Type').length, 1)
  })

  it('has its body closed once when it is replaced', async () => {
    let closed = 0
    const { status, closed: outer } = await call(
      errorPage()((_, start) => {
        start('503 Service Unavailable', [html])
        return Object.assign([], { close: () => void closed++ })
      }),
    )
    assert.equal(status, 503)
    assert.ok(outer)
    assert.equal(closed, 1)
  })

  it("answers a HEAD with the page's head, unless a GET would have had a body", async () => {
    const head = { method: 'HEAD' }
    const empty = await call(errorPage()(answers('404 Not Found', [['Content-Length', '0']])), head)
    assert.equal(empty.header('content-type'), 'text/html; charset=utf-8')
    const full = await call(errorPage()(answers('404 Not Found', [plainText, ['Content-Length', '9']])), head)
    assert.equal(full.header('content-length'), '9')
  })
})

describe("the application's answer", () => {
  it('stays if it has a body', async () => {
    for (const iterated of [false, true]) {
      const { text, header } = await call(errorPage()(answers('404 Not Found', [plainText], ['', 'gone'], iterated)))
      assert.equal(text, 'gone')
      assert.equal(header('content-type'), 'text/plain')
    }
  })

  it('stays, with the same body object, if it is not an error', () => {
    const body = [Buffer.from('ok')]
    const { sink } = run(
      errorPage()((_, start) => {
        start('200 OK', [plainText])
        return body
      }),
    )
    assert.deepEqual(sink.calls, ['head 200 2 end'])
  })

  it('stays if it was written', async () => {
    const { text } = await call(
      errorPage()(async (_, start) => {
        await start('404 Not Found', [plainText])(Buffer.from('written'))
        return []
      }),
    )
    assert.equal(text, 'written')
  })

  it('is replaced if the option says so, and not read', async () => {
    let read = 0
    let closed = 0
    const { status, text } = await call(
      errorPage({ replace: true })((_, start) => {
        start('500 Internal Server Error', [plainText])
        return {
          *[Symbol.iterator]() {
            read++
            yield Buffer.from('Traceback (most recent call last)')
          },
          close: () => void closed++,
        }
      }),
    )
    assert.equal(status, 500)
    assert.doesNotMatch(text, /Traceback/)
    assert.deepEqual([read, closed], [0, 1])
  })

  it('is replaced although it was written or its head was late', async () => {
    const written: Application = async (_, start) => {
      await start('500 Internal Server Error', [plainText])(Buffer.from('Traceback'))
      return []
    }
    const late = function* (_: Environ, start: StartResponse): Generator<Uint8Array> {
      start('500 Internal Server Error', [plainText])
      yield Buffer.from('Traceback')
    } as unknown as Application
    for (const application of [written, late]) {
      const { text } = await call(errorPage({ replace: true })(application))
      assert.match(text, /500 Internal Server Error/)
      assert.doesNotMatch(text, /Traceback/)
    }
  })
})

describe('an application that throws', () => {
  const failing: Record<string, Application> = {
    'at once': () => {
      throw new Error('secret')
    },
    'in a promise': async () => {
      throw new Error('secret')
    },
    'after startResponse': (_, start) => {
      start('200 OK', [plainText])
      throw new Error('secret')
    },
    'in its first chunk': (_, start) => ({
      [Symbol.iterator]: () => ({
        next() {
          start('200 OK', [plainText])
          throw new Error('secret')
        },
      }),
    }),
  }
  for (const [when, application] of Object.entries(failing)) {
    it(`${when} is answered with a page, and logged`, async () => {
      const log = new RecordingLog()
      const { status, text } = await call(errorPage({ pages: { 500: own }, log })(application))
      assert.equal(status, 500)
      assert.equal(text, 'own 500 GET')
      assert.deepEqual(log.messages('error'), ['the application failed'])
      assert.equal((log.lines[0]!.fields['err'] as Error).message, 'secret')
    })
  }

  it('with an HttpError is answered with its status and fields', async () => {
    const log = new RecordingLog()
    const result = await call(
      errorPage({ pages: { '4xx': own }, log })(() => {
        throw new HttpError(405, 'METHOD', 'not that', { headers: [['Allow', 'GET']] })
      }),
      { method: 'POST' },
    )
    assert.equal(result.status, 405)
    assert.equal(result.header('allow'), 'GET')
    assert.equal(result.text, 'own 405 GET')
    assert.deepEqual(log.messages('debug'), ['not that'])
  })

  it('after its head has its response aborted', async () => {
    const { aborted, text } = await call(
      errorPage({ pages: { 500: own } })(function* (_: Environ, start: StartResponse): Generator<Uint8Array> {
        start('200 OK', [plainText])
        yield Buffer.from('some')
        throw new Error('secret')
      } as unknown as Application),
    )
    assert.equal(text, 'some')
    assert.equal(aborted?.code, 'APPLICATION')
  })

  it('because its client has disconnected is not answered', async () => {
    const log = new RecordingLog()
    const gone = Promise.withResolvers<void>()
    const running = run(
      errorPage({ log })(async (environ) => {
        await gone.promise
        throw environ.gantry.signal.reason
      }),
    )
    running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    gone.resolve()
    await running.whenSettled
    assert.deepEqual([log.messages(), running.log.messages()], [[], []])
  })

  it('is logged to wsgi.errors if there is no other log', async () => {
    const log = new RecordingLog()
    await call(errorPage()(failing['at once']!), { log })
    assert.match(log.messages('error').join('\n'), /the application failed: Error: secret/)
  })

  it('does not replace an answer that was written and dropped', async () => {
    const application: Application = (_, start) => {
      void start('500 Internal Server Error', [html])(Buffer.from('the beginning, '))
      start('200 OK', [html], new Error('too late'))
      return [Buffer.from('the rest')]
    }
    const { status, text } = await call(errorPage({ replace: true, log: new RecordingLog() })(application))
    assert.equal(status, 500)
    assert.doesNotMatch(text, /the rest/)
  })
})

describe('an application after its deadline', () => {
  it('is answered for at once, and keeps its slot until it has settled', async () => {
    const clock = new FakeClock()
    const late = Promise.withResolvers<void>()
    let closed = 0
    const running = run(
      errorPage({ pages: { 504: own }, log: new RecordingLog() })(
        timeout({ firstByte: 1_000, clock })(async () => {
          await late.promise
          return Object.assign([], { close: () => void closed++ })
        }),
      ),
    )
    clock.advance(2_000)
    for (let at = 0; at < 5; at++) await iterationEnd()
    assert.equal(running.sink.body, 'own 504 GET')
    assert.ok(running.sink.ended)
    assert.deepEqual([running.settled(), closed], [0, 0])
    late.resolve()
    await running.whenSettled
    assert.equal(closed, 1)
  })

  it('is answered for with a page that is not aborted with it', async () => {
    const clock = new FakeClock()
    const page: Application = async ({ gantry: { signal } }, start) => {
      start('200 OK', [html])
      return [Buffer.from(`aborted: ${signal.aborted}`)]
    }
    const told: Application = ({ gantry: { signal } }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    const running = run(errorPage({ pages: { 504: page } })(timeout({ firstByte: 1_000, clock })(told)))
    clock.advance(2_000)
    await running.whenSettled
    assert.equal(running.sink.body, 'aborted: false')
  })
})

describe("the site's own pages", () => {
  it('are applications for a status, before those for its class', async () => {
    const pages = { 404: own, '4xx': answers('200 OK', [html], ['class']) }
    assert.equal((await call(errorPage({ pages })(answers('404 Not Found', [html])))).text, 'own 404 GET')
    const other = await call(errorPage({ pages })(answers('410 Gone', [html])))
    assert.deepEqual([other.status, other.text], [410, 'class'])
  })

  it('are files, whose type their name tells, and JSON for clients that prefer JSON', async () => {
    const directory = await temporary()
    const path = join(directory, '404.html')
    await writeFile(path, '<p>lost</p>')
    const application = errorPage({ pages: { 404: path } })(answers('404 Not Found', [plainText]))
    const result = await call(application)
    assert.equal(result.text, '<p>lost</p>')
    assert.equal(result.header('content-type'), 'text/html; charset=utf-8')
    const json = await call(application, { headers: { Accept: 'application/json' } })
    assert.equal(JSON.parse(json.text).status, 404)
    await rm(directory, { recursive: true })
  })

  it('that fail are replaced by the plain page, and logged', async () => {
    const broken: Application[] = [
      () => {
        throw new Error('broken')
      },
      async (_, start) => {
        start('200 OK', [plainText])
        throw new Error('broken')
      },
      (_, start) => ({
        [Symbol.iterator]: () => ({
          next() {
            start('200 OK', [plainText])
            throw new Error('broken')
          },
        }),
      }),
    ]
    for (const page of broken) {
      const log = new RecordingLog()
      const { status, text } = await call(errorPage({ pages: { 404: page }, log })(answers('404 Not Found', [html])))
      assert.equal(status, 404)
      assert.match(text, /404 Not Found/)
      assert.deepEqual(log.messages('error'), ['an error page failed'])
    }
  })

  it('are called without the conditions and the body of the request', async () => {
    let seen: Environ | undefined
    const application = errorPage({
      pages: {
        404: (environ, start) => {
          seen = environ
          return lint(own)(environ, start)
        },
      },
    })(answers('404 Not Found', [html]))
    let outer: Environ | undefined
    await call(
      (environ, start) => {
        outer = environ
        return application(environ, start)
      },
      { method: 'POST', body: 'abc', headers: { 'If-None-Match': '*', Range: 'bytes=0-1' } },
    )
    for (const name of ['CONTENT_LENGTH', 'HTTP_IF_NONE_MATCH', 'HTTP_RANGE']) assert.equal(seen?.[name], undefined)
    assert.equal(outer?.['HTTP_RANGE'], 'bytes=0-1')
    assert.equal(outer?.REQUEST_METHOD, 'POST')
  })

  it('are closed if they arrive after the response was closed', async () => {
    const ready = Promise.withResolvers<void>()
    let closed = 0
    const slow: Application = async (environ, start) => {
      const body = own(environ, start) as Uint8Array[]
      await ready.promise
      return Object.assign(body, { close: () => void closed++ })
    }
    const running = run(errorPage({ pages: { 404: slow } })(answers('404 Not Found', [html], [], true)))
    await iterationEnd()
    running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    running.clock.advance(5_000)
    await iterationEnd()
    ready.resolve()
    await running.whenSettled
    assert.equal(closed, 1)
  })

  it('may write', async () => {
    const page: Application = async (_, start) => {
      const write = start('200 OK', [html])
      await write(Buffer.from('written '))
      return [Buffer.from('and given')]
    }
    for (const iterated of [false, true]) {
      const { text } = await call(errorPage({ pages: { 404: page } })(answers('404 Not Found', [html], [], iterated)))
      assert.equal(text, 'written and given')
    }
  })

  it('may be generators that write', async () => {
    const page: Application = (_, start) =>
      (function* () {
        const write = start('200 OK', [html])
        void write(Buffer.from('written '))
        yield Buffer.from('and given')
      })()
    const { text, status } = await call(errorPage({ pages: { 404: page } })(answers('404 Not Found', [html])))
    assert.deepEqual([status, text], [404, 'written and given'])
  })

  it('that fail in mid-body are aborted, and closed', async () => {
    let closed = 0
    const page: Application = (_, start) => {
      start('200 OK', [html])
      const chunks = (function* () {
        yield Buffer.from('half')
        throw new Error('broken')
      })()
      return { [Symbol.iterator]: () => chunks, close: () => void closed++ }
    }
    const { aborted } = await call(errorPage({ pages: { 404: page } })(answers('404 Not Found', [html])))
    assert.equal(aborted?.code, 'APPLICATION')
    assert.equal(closed, 1)
  })

  it('are called with the original path of the request', async () => {
    const page: Application = (environ, start) => {
      start('200 OK', [html])
      return [Buffer.from(`${environ.SCRIPT_NAME}|${environ.PATH_INFO}`)]
    }
    const mounted = mount({ '/shop': answers('404 Not Found', [html]) })
    const { text } = await call(errorPage({ pages: { 404: page } })(mounted), { path: '/shop/cart' })
    assert.equal(text, '|/shop/cart')
  })

  it('end without the trailers of the application that failed', async () => {
    const page: Application = (_, start) => {
      start('200 OK', [html])
      return [Buffer.from('a page')].values()
    }
    const failing: Application = (environ) => {
      environ.gantry.trailers(() => [['X-Sum', 'of a body that did not come']])
      throw new Error('before its head')
    }
    const result = await call(errorPage({ pages: { 500: page }, log: new RecordingLog() })(failing))
    assert.equal(result.text, 'a page')
    assert.deepEqual(result.trailers, [])
  })

  it('are refused if they are invalid', () => {
    assert.throws(() => errorPage({ pages: { 200: own } }), /from 400 to 599.*got 200/)
    assert.throws(() => errorPage({ pages: { 404: 42 as never } }), /got number for 404/)
    assert.throws(
      () => errorPage({ pages: { 404: '/no/such/file.html' } }),
      /^TypeError: errorPage: the page for 404, \/no\/such\/file.html, cannot be read: ENOENT.*; correct its path/,
    )
  })
})

for (const place of places) {
  describe(`error pages ${place.name}`, () => {
    it('answer empty errors and failures, and change nothing else', async () => {
      const application: Application = (environ, start) => {
        if (environ.PATH_INFO === '/throws') throw new HttpError(503, 'BUSY', 'busy')
        if (environ.PATH_INFO === '/missing') return answers('404 Not Found', [plainText])(environ, start)
        return answers('200 OK', [plainText], ['all ', 'well'], true)(environ, start)
      }
      const middleware = errorPage({ pages: { 404: lint(own) }, log: new RecordingLog() })
      await using placed = await place.put(middleware, application)
      assert.equal((await call(placed.application)).text, 'all well')
      assert.equal((await call(placed.application, { path: '/missing' })).text, 'own 404 GET')
      assert.equal((await call(placed.application, { path: '/missing', method: 'HEAD' })).status, 404)
      assert.equal((await call(placed.application, { path: '/throws' })).status, 503)
    })
  })
}
