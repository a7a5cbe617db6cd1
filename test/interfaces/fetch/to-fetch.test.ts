import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type FetchHandler, fromFetch } from '../../../interfaces/fetch/from-fetch.ts'
import { toFetch } from '../../../interfaces/fetch/to-fetch.ts'
import type { Application, Environ, Headers as Fields } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import type { AbortError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { makeEnviron } from '../../support/call.ts'
import { RecordingLog } from '../../support/log.ts'
import { stable, withLight } from './arrangements.ts'

const TEXT: Fields = [['Content-Type', 'text/plain']]
const URL_ = 'http://a.example:8080/x%20y?b=c'

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', TEXT)
  return [Buffer.from('hello')]
}

/** The environ that an application gets. */
async function environOf(request: Request, environment?: unknown): Promise<Environ> {
  let given: Environ | undefined
  const application: Application = (environ, startResponse) => {
    given = { ...environ }
    return hello(environ, startResponse)
  }
  await toFetch(lint(application))(request, environment)
  return given!
}

describe('toFetch: requests', () => {
  test('an environ matches its Request', async () => {
    const headers = { 'X-A': '1', cookie: 'a=b', 'content-type': 'text/x' }
    const environ = await environOf(new Request(URL_, { method: 'PUT', headers, body: 'hello' }))
    const { REQUEST_METHOD, PATH_INFO, QUERY_STRING, REQUEST_URI, SERVER_NAME, SERVER_PORT, SERVER_PROTOCOL } = environ
    assert.deepEqual(
      [REQUEST_METHOD, PATH_INFO, QUERY_STRING, REQUEST_URI, SERVER_NAME, SERVER_PORT, SERVER_PROTOCOL],
      ['PUT', '/x y', 'b=c', '/x%20y?b=c', 'a.example', '8080', 'HTTP/1.1'],
    )
    assert.deepEqual(
      [environ['HTTP_X_A'], environ['HTTP_COOKIE'], environ['HTTP_HOST'], environ.CONTENT_TYPE, environ.SCRIPT_NAME],
      ['1', 'a=b', 'a.example:8080', 'text/x', ''],
    )
    // The client's address is unknown, and an application that trusts an address must not see an invented one.
    assert.deepEqual([environ.REMOTE_ADDR, environ['wsgi.url_scheme'], environ.HTTPS], ['', 'http', undefined])
  })

  test('the scheme is https for an https URL', async () => {
    const environ = await environOf(new Request('https://a.example/'))
    assert.deepEqual([environ['wsgi.url_scheme'], environ.HTTPS, environ.SERVER_PORT], ['https', 'on', '443'])
  })

  test('the environ of a gateway provides the address and the id, or an option provides the address', async () => {
    const outer = makeEnviron()
    const environ = await environOf(new Request(URL_), { environ: outer })
    assert.deepEqual(
      [environ.REMOTE_ADDR, environ.REMOTE_PORT, environ.gantry.requestId],
      ['127.0.0.1', '40000', outer.gantry.requestId],
    )
    let address = ''
    const handler = toFetch(
      (inner, startResponse) => {
        address = inner.REMOTE_ADDR
        return hello(inner, startResponse)
      },
      { remoteAddress: (_, environment) => String(environment) },
    )
    await handler(new Request(URL_), '192.0.2.1')
    assert.equal(address, '192.0.2.1')
  })

  test('an unread body is not pulled, and is cancelled', async () => {
    let pulls = 0
    const cancelled = Promise.withResolvers<void>()
    const body = new ReadableStream(
      {
        pull: () => {
          pulls++
        },
        cancel: () => cancelled.resolve(),
      },
      { highWaterMark: 0 },
    )
    const response = await toFetch(lint(hello))(new Request(URL_, { method: 'POST', body, duplex: 'half' }))
    assert.equal(await response.text(), 'hello')
    await cancelled.promise
    assert.equal(pulls, 0)
  })

  test('a chunk of a body is pulled when it is read', async () => {
    let pulls = 0
    const body = new ReadableStream(
      {
        pull: (controller) => {
          controller.enqueue(Buffer.from(`${++pulls}`))
        },
      },
      { highWaterMark: 0 },
    )
    const seen: number[] = []
    const application: Application = async (environ, startResponse) => {
      for (let read = 0; read < 3; read++) {
        await environ['wsgi.input'].read1()
        seen.push(await stable(() => pulls))
      }
      return hello(environ, startResponse)
    }
    await toFetch(lint(application))(new Request(URL_, { method: 'POST', body, duplex: 'half' }))
    // One chunk is ready before it is read.
    assert.deepEqual(seen, [2, 3, 4])
  })

  for (const [length, status] of [
    ['4', 400],
    ['6', 400],
    ['5', 200],
  ] as const) {
    test(`a body of 5 bytes with Content-Length ${length} is a ${status}`, async () => {
      const application: Application = async (environ, startResponse) => {
        await environ['wsgi.input'].read()
        return hello(environ, startResponse)
      }
      const request = new Request(URL_, { method: 'POST', body: 'hello', headers: { 'content-length': length } })
      assert.equal((await toFetch(lint(application, { only: 'server' }))(request)).status, status)
    })
  }

  test('a body that fails fails the read', async () => {
    const failure = new Error('broken')
    const body = new ReadableStream({ pull: () => Promise.reject(failure) })
    let seen: unknown
    const application: Application = async (environ, startResponse) => {
      await environ['wsgi.input'].read().catch((error: unknown) => {
        seen = error
      })
      return hello(environ, startResponse)
    }
    await toFetch(application)(new Request(URL_, { method: 'POST', body, duplex: 'half' }))
    assert.equal(seen, failure)
  })

  test('a request whose body was already read is refused', async () => {
    const request = new Request(URL_, { method: 'POST', body: 'hello' })
    await request.text()
    await assert.rejects(toFetch(hello)(request), TypeError)
    const locked = new Request(URL_, { method: 'POST', body: 'hello' })
    locked.body!.getReader()
    await assert.rejects(toFetch(hello)(locked), TypeError)
  })
})

describe('toFetch: responses', () => {
  test('a complete body has its length', async () => {
    const response = await toFetch(lint(hello))(new Request(URL_))
    assert.deepEqual([response.status, response.statusText], [200, 'OK'])
    assert.deepEqual(Object.fromEntries(response.headers), { 'content-type': 'text/plain', 'content-length': '5' })
    assert.equal(await response.text(), 'hello')
  })

  test('cookies stay separate', async () => {
    const handler = toFetch((_, startResponse) => {
      startResponse('200 Fine by me', [...TEXT, ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2']])
      return []
    })
    const response = await handler(new Request(URL_))
    assert.deepEqual([response.statusText, response.headers.getSetCookie()], ['Fine by me', ['a=1', 'b=2']])
  })

  for (const status of ['204 No Content', '205 Reset Content', '304 Not Modified']) {
    test(`a ${status} has a null body`, async () => {
      const handler = toFetch((_, startResponse) => {
        startResponse(status, [])
        return [Buffer.from('no')]
      })
      const response = await handler(new Request(URL_))
      assert.deepEqual([response.status, response.body], [Number(status.slice(0, 3)), null])
    })
  }

  test('HEAD has a null body, and the length of the GET response', async () => {
    const response = await toFetch(lint(hello))(new Request(URL_, { method: 'HEAD' }))
    assert.deepEqual([response.body, response.headers.get('content-length')], [null, '5'])
  })

  test('a response begins with its head, before the first write()', async () => {
    const go = Promise.withResolvers<void>()
    const handler = toFetch(
      lint(async (_, startResponse) => {
        const write = startResponse('200 OK', TEXT)
        await write(Buffer.from('one '))
        await go.promise
        return [Buffer.from('two')]
      }),
    )
    const response = await handler(new Request(URL_))
    const reader = response.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'one ')
    go.resolve()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'two')
    assert.equal((await reader.read()).done, true)
  })

  test('the application is iterated only as its response is read, and closed when reading stops', async () => {
    let made = 0
    let closed = 0
    const ended = Promise.withResolvers<void>()
    const gone = Promise.withResolvers<unknown>()
    const handler = toFetch(
      lint((environ, startResponse) => {
        environ.gantry.signal.addEventListener('abort', () => gone.resolve(environ.gantry.signal.reason))
        startResponse('200 OK', TEXT)
        async function* chunks(): AsyncGenerator<Uint8Array> {
          try {
            for (;;) yield Buffer.from(`${++made}`)
          } finally {
            ended.resolve()
          }
        }
        return Object.assign(chunks(), {
          close() {
            closed++
          },
        })
      }),
    )
    const response = await handler(new Request(URL_))
    const reader = response.body!.getReader()
    for (let read = 1; read < 4; read++) {
      assert.equal(Buffer.from((await reader.read()).value!).toString(), String(read))
      assert.ok((await stable(() => made)) <= read + 2, `${made} chunks for ${read} reads`)
    }
    await reader.cancel('enough')
    await ended.promise
    const reason = (await gone.promise) as AbortError
    assert.deepEqual([reason.code, reason.cause, await stable(() => closed)], ['CLIENT_GONE', 'enough', 1])
  })

  test('an application that throws causes the error page and a log line', async () => {
    const log = new RecordingLog()
    const handler = toFetch(
      () => {
        throw new Error('secret')
      },
      { log },
    )
    const response = await handler(new Request(URL_, { headers: { accept: 'application/json' } }))
    assert.equal(response.status, 500)
    assert.doesNotMatch(await response.text(), /secret/)
    assert.deepEqual(log.messages('error'), ['the application failed'])
  })

  test('a 101 is refused, and the log explains why', async () => {
    const log = new RecordingLog()
    const handler = toFetch(
      (_, startResponse) => {
        startResponse('101 Switching Protocols', [])
        return []
      },
      { log },
    )
    const headers = { connection: 'upgrade', upgrade: 'websocket' }
    assert.equal((await handler(new Request(URL_, { headers }))).status, 500)
    assert.match(String(log.lines[0]!.fields['err']), /101/)
  })

  test('the stream fails if the application fails in mid-response', async () => {
    const handler = toFetch((_, startResponse) => {
      startResponse('200 OK', TEXT)
      return (async function* () {
        yield Buffer.from('half')
        throw new Error('secret')
      })()
    })
    const response = await handler(new Request(URL_))
    await assert.rejects(response.text(), { name: 'AbortError', code: 'APPLICATION' })
  })

  test('the stream fails if the body is shorter than its length', async () => {
    const handler = toFetch((_, startResponse) => {
      startResponse('200 OK', [...TEXT, ['Content-Length', '9']])
      return (async function* () {
        yield Buffer.from('half')
      })()
    })
    await assert.rejects((await handler(new Request(URL_))).text(), { code: 'APPLICATION' })
  })

  test('waitUntil gets the work of the application after its response', async () => {
    const work = Promise.withResolvers<void>()
    let kept: Promise<unknown> | undefined
    const handler = toFetch((_, startResponse) => {
      startResponse('200 OK', TEXT)
      return Object.assign([Buffer.from('x')], { close: () => work.promise })
    })
    await handler(new Request(URL_), undefined, {
      waitUntil(promise: Promise<unknown>) {
        kept = promise
      },
    })
    let over = false
    void kept!.then(() => {
      over = true
    })
    await stable(() => Number(over))
    assert.equal(over, false)
    work.resolve()
    await kept
  })
})

describe('toFetch: aborts', () => {
  test('a request aborted before its head rejects with the reason, and the application is aborted', async () => {
    const gone = Promise.withResolvers<AbortError>()
    const began = Promise.withResolvers<void>()
    const controller = new AbortController()
    const handler = toFetch((environ) => {
      environ.gantry.signal.addEventListener('abort', () => gone.resolve(environ.gantry.signal.reason))
      began.resolve()
      return new Promise(() => {})
    })
    const response = handler(new Request(URL_, { signal: controller.signal }))
    await began.promise
    const reason = new Error('enough')
    controller.abort(reason)
    await assert.rejects(response, reason)
    assert.equal((await gone.promise).code, 'CLIENT_GONE')
  })

  test('a request aborted later fails the stream', async () => {
    const closed = Promise.withResolvers<void>()
    const controller = new AbortController()
    const handler = toFetch((_, startResponse) => {
      startResponse('200 OK', TEXT)
      return (async function* () {
        try {
          for (;;) yield Buffer.from('more')
        } finally {
          closed.resolve()
        }
      })()
    })
    const response = await handler(new Request(URL_, { signal: controller.signal }))
    const reason = new Error('enough')
    controller.abort(reason)
    await assert.rejects(response.text(), reason)
    await closed.promise
  })

  test('a request that was already aborted does not run', async () => {
    let ran = false
    const handler = toFetch(() => {
      ran = true
      return []
    })
    const reason = new Error('enough')
    await assert.rejects(handler(new Request(URL_, { signal: AbortSignal.abort(reason) })), reason)
    assert.equal(ran, false)
  })

  test('a request aborted after its end has a complete response', async () => {
    const controller = new AbortController()
    const response = await toFetch(hello)(new Request(URL_, { signal: controller.signal }))
    controller.abort()
    assert.equal(await response.text(), 'hello')
  })
})

test('a value that is not an application is refused, and the error names it', () => {
  assert.throws(() => toFetch('x' as never), /toFetch: expected an application, .* got "x"/)
})

const requests: { title: string; request: Parameters<typeof call>[1] }[] = [
  { title: 'GET', request: { path: '/a%20b?c=%C3%A9', headers: { 'X-A': '1', Cookie: 'a=b; c=d' } } },
  { title: 'POST', request: { method: 'POST', path: '/', body: 'hello', headers: { 'Content-Type': 'text/x' } } },
  { title: 'PUT with a stream', request: { method: 'PUT', path: '/', body: chunksOf('hel', 'lo') } },
  { title: 'HEAD', request: { method: 'HEAD', path: '/head' } },
  { title: 'a 204', request: { path: '/204' } },
  { title: 'a 304', request: { path: '/304' } },
  { title: 'cookies', request: { path: '/cookies' } },
  { title: 'a stream', request: { path: '/stream' } },
  { title: 'a failure', request: { path: '/throw' } },
  { title: 'a failure in mid-response', request: { path: '/cut' } },
]

async function* chunksOf(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}

/** An application with every feature. */
const application: Application = async (environ, startResponse) => {
  switch (environ.PATH_INFO) {
    case '/204':
    case '/304':
      startResponse(environ.PATH_INFO === '/204' ? '204 No Content' : '304 Not Modified', [['ETag', '"x"']])
      return []
    case '/cookies':
      startResponse('200 OK', [...TEXT, ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2']])
      return []
    case '/stream':
      startResponse('200 OK', TEXT)
      return chunksOf('one', 'two')
    case '/throw':
      throw new Error('secret')
    case '/cut':
      startResponse('200 OK', TEXT)
      return (async function* () {
        yield Buffer.from('half')
        throw new Error('secret')
      })()
    default: {
      const body = await environ['wsgi.input'].read()
      const { REQUEST_METHOD, PATH_INFO, QUERY_STRING, REQUEST_URI, CONTENT_TYPE, REMOTE_ADDR } = environ
      startResponse('201 Made', [...TEXT, ['X-Length', String(body.length)]])
      const facts = [REQUEST_METHOD, PATH_INFO, QUERY_STRING, REQUEST_URI, CONTENT_TYPE, REMOTE_ADDR]
      return [Buffer.from(JSON.stringify([...facts, environ['HTTP_X_A'], environ['HTTP_COOKIE'], String(body)]))]
    }
  }
}

const handler: FetchHandler = async (request) => {
  const { pathname } = new URL(request.url)
  const headers = { 'content-type': 'text/plain' }
  switch (pathname) {
    case '/204':
    case '/304':
      return new Response(null, { status: Number(pathname.slice(1)), headers: { etag: '"x"' } })
    case '/cookies':
      return new Response('x', { headers: [['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ...Object.entries(headers)] })
    case '/stream':
      return new Response(ReadableStream.from(chunksOf('one', 'two')) as never, { headers })
    case '/throw':
      throw new Error('secret')
    case '/cut': {
      let first = true
      return new Response(
        new ReadableStream({
          async pull(controller) {
            await new Promise((resolve) => setImmediate(resolve))
            if (!first) throw new Error('secret')
            first = false
            controller.enqueue(Buffer.from('half'))
          },
        }),
        { headers },
      )
    }
    default:
      return Response.json([request.method, request.url, [...request.headers], await request.text()], { status: 201 })
  }
}

for (const light of [false, true]) {
  describe(`round trips${light ? ', with light classes' : ''}`, () => {
    withLight(light)
    for (const { title, request } of requests) {
      const again = (): Parameters<typeof call>[1] =>
        request?.body && typeof request.body === 'object' ? { ...request, body: chunksOf('hel', 'lo') } : request

      test(`fromFetch(toFetch(application)) answers like the application: ${title}`, async () => {
        const plain = await call(lint(application), again())
        const round = await call(lint(fromFetch(toFetch(lint(application)))), again())
        assert.deepEqual(comparable(round), comparable(plain))
      })

      test(`toFetch(fromFetch(handler)) answers like the handler: ${title}`, async () => {
        const plain = await outcome(handler, again())
        const round = await outcome((...args) => toFetch(lint(fromFetch(handler)))(...args), again())
        assert.deepEqual(round, plain)
      })
    }
  })
}

function comparable({ status, reason, headers, body, aborted }: Awaited<ReturnType<typeof call>>): unknown {
  // Each request has its own id, also on an error page.
  const shownValue = (name: string, value: string): string => (name === 'x-request-id' ? 'an id' : value)
  const fields = headers
    .map(([name, value]) => `${name.toLowerCase()}: ${shownValue(name.toLowerCase(), value)}`)
    .sort()
  // An error page contains the id of the request.
  return { status, reason, fields, body: status === 500 ? '' : body.toString(), aborted: aborted?.code }
}

/** The response of a handler that is called without a server. */
async function outcome(handle: FetchHandler, request: Parameters<typeof call>[1] = {}): Promise<unknown> {
  const { method = 'GET', path, headers, body } = request
  const made = new Request(`http://localhost${path}`, {
    method,
    headers: { host: 'localhost', ...(headers as Record<string, string>) },
    ...(body === undefined ? undefined : { body: body as never, duplex: 'half' }),
  })
  try {
    const response = await handle(made, undefined as never, { waitUntil() {}, passThroughOnException() {} })
    const fields = [...response.headers].filter(([name]) => name !== 'content-length')
    const text = method === 'HEAD' ? '' : await response.text().catch(() => 'cut')
    if (response.status === 500) return 'failed'
    return { status: response.status, fields, text }
  } catch {
    return 'failed'
  }
}
