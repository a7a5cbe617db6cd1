/**
 * Light requests and responses, and the classes while they are installed, behave as the platform's: each observation is
 * made on both, and the results are compared.
 */

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { installLightFetch } from '../../../interfaces/fetch/light.ts'
import { LightRequest } from '../../../interfaces/fetch/light-request.ts'
import { LightResponse } from '../../../interfaces/fetch/light-response.ts'
import { requestFrom } from '../../../interfaces/fetch/request.ts'
import { makeEnviron } from '../../support/call.ts'
import { listening } from '../../support/sockets.ts'

type Question = (...args: never[]) => unknown

/** The result of `act`, or its error. */
async function outcome(question: () => unknown): Promise<unknown> {
  try {
    return { value: await question() }
  } catch (error) {
    const { name, message } = error as Error
    return { name, message, kind: Object.prototype.toString.call(error) }
  }
}

async function compare(question: () => unknown): Promise<void> {
  const real = await outcome(question)
  const undo = installLightFetch()
  try {
    assert.deepEqual(await outcome(question), real)
  } finally {
    undo()
  }
}

const HEADERS = ['Host', 'a.example', 'X-A', '1', 'x-a', '2', 'Content-Type', 'application/json', 'Cookie', 'a=b']

/** A request as the server creates it: light while the light classes are installed. */
function get(): Request {
  return requestFrom(makeEnviron({ target: '/x?y', headers: HEADERS }))
}

function post(body = '{"a":"é"}', headers: string[] = HEADERS): Request {
  return requestFrom(makeEnviron({ method: 'POST', target: '/x?y', headers, body }))
}

const caught = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return (error as Error).name
  }
}
const all = async (promises: Promise<unknown>[]): Promise<unknown> =>
  (await Promise.allSettled(promises)).map((one) =>
    one.status === 'fulfilled' ? one.value : [one.reason.name, one.reason.message],
  )
/** All properties of a request or response except its body. */
function shown(of: Request | Response): unknown {
  const values: [string, unknown][] = []
  for (const key in of) {
    const value = of[key as keyof typeof of] as unknown
    values.push([key, typeof value === 'function' ? 'function' : typeof value === 'object' ? String(value) : value])
  }
  return [values.sort(), [...of.headers]]
}

/** The descriptor flags of each property and of its functions. */
function shape(object: object): unknown {
  return Object.entries(Object.getOwnPropertyDescriptors(object))
    .map(([key, { get: getter, set, value, ...flags }]) => {
      const code = (getter ?? value) as { name?: string; length?: number } | undefined
      return [
        key,
        flags,
        typeof getter,
        typeof set,
        typeof value,
        typeof code === 'function' && [code.name, code.length],
      ]
    })
    .sort()
}

/** Whether each read of a property returns the same object. */
function same<T>(of: T, key: keyof T): boolean {
  const first = of[key]
  return first === of[key]
}

const mutate = (headers: Headers): Headers => {
  headers.set('x-a', 'changed')
  headers.append('set-cookie', 'c=1')
  headers.append('set-cookie', 'd=1')
  headers.delete('content-type')
  return headers
}

const inits: Record<string, unknown> = {
  nothing: undefined,
  null: null,
  'an empty object': {},
  'a string': 'x',
  'a number': 1,
  'a status': { status: 201 },
  'a status as a string': { status: '201' },
  'a status below': { status: 199 },
  'a status above': { status: 600 },
  'a status that is none': { status: 'x' },
  'a fractional status': { status: 200.5 },
  'a null body status': { status: 204 },
  'a 304': { status: 304 },
  'a 101': { status: 101 },
  'a reason': { statusText: 'Fine' },
  'a bad reason': { statusText: 'a\nb' },
  'a reason beyond latin1': { statusText: '€' },
  'a reason that is no string': { statusText: 5 },
  fields: { headers: { 'X-A': '1', 'x-b': '2' } },
  'fields and a type': { headers: { 'Content-TYPE': 'text/x' } },
  'fields as a list': {
    headers: [
      ['X-A', '1'],
      ['set-cookie', 'a=1'],
      ['Set-Cookie', 'b=1'],
      ['x-a', '2'],
    ],
  },
  'fields as Headers': {
    headers: new Headers([
      ['X-A', '1'],
      ['set-cookie', 'a=1'],
      ['Set-Cookie', 'b=1'],
    ]),
  },
  'fields as a Map': { headers: new Map([['x-a', '1']]) },
  'fields as null': { headers: null },
  'fields as a string': { headers: 'x' },
  'fields as a list of no pairs': { headers: [['x']] },
  'a bad name': { headers: { 'a b': '1' } },
  'an empty name': { headers: { '': '1' } },
  'a bad value': { headers: { a: 'b\nc' } },
  'a value beyond latin1': { headers: { a: '€' } },
  'a latin1 value': { headers: { a: 'é' } },
  'a value to be trimmed': { headers: { a: ' b\t' } },
  'an empty value': { headers: { a: '' } },
  'a control character': { headers: { a: 'b\u0001c' } },
  'a value that is no string': { headers: { a: 5, b: true, c: null, d: undefined, e: ['x', 'y'] } },
  'a symbol as a name': { headers: { [Symbol('x')]: '1' } },
  'the same name twice': { headers: { A: '1', a: '2' } },
  'a name that all objects have': { headers: { constructor: '1', ['__proto__']: '2' } },
  'inherited fields': { headers: Object.create({ a: '1' }) as unknown },
  'an instance of a class': new (class {
    status = 202
    headers = { a: '1' }
  })(),
}

const bodies: Record<string, () => unknown> = {
  nothing: () => undefined,
  null: () => null,
  'a string': () => 'hé',
  'an empty string': () => '',
  'a lone surrogate': () => '\ud800x',
  bytes: () => Buffer.from('bytes'),
  'no bytes': () => new Uint8Array(0),
  'an ArrayBuffer': () => new Uint8Array([65]).buffer,
  'a DataView': () => new DataView(new Uint8Array([65]).buffer),
  'shared memory': () => new Uint8Array(new SharedArrayBuffer(1)),
  'a number': () => 5,
  'a stream': () => new Blob(['streamed']).stream(),
  'a Blob': () => new Blob(['blob'], { type: 'text/x' }),
  URLSearchParams: () => new URLSearchParams('a=b'),
}

describe('new Response', () => {
  for (const [title, init] of Object.entries(inits)) {
    for (const [what, body] of [
      ['text', 'hello'],
      ['no body', null],
    ] as const) {
      test(`of ${what}, with ${title}`, () =>
        compare(async () => {
          const response = new Response(body, init as ResponseInit)
          return [shown(response), await response.text(), response.bodyUsed]
        }))
      test(`of ${what}, with ${title}, as JSON`, () =>
        compare(async () => {
          const response = Response.json(body, init as ResponseInit)
          return [shown(response), await response.text()]
        }))
    }
  }
  for (const [title, body] of Object.entries(bodies)) {
    test(`of ${title}`, () =>
      compare(async () => {
        const response = new Response(body() as string)
        const before = shown(response)
        const clone = response.clone()
        return [before, shown(clone), await response.text(), (await clone.bytes()).length, response.bodyUsed]
      }))
  }
  test('of bytes that are changed later keeps the first bytes', () =>
    compare(async () => {
      const bytes = Buffer.from('abc')
      const response = new Response(bytes)
      bytes.fill(0)
      return response.text()
    }))
  test('of fields that are changed later keeps the first fields', () =>
    compare(() => {
      const record: Record<string, string> = { a: '1' }
      const headers = new Headers(record)
      const responses = [new Response('x', { headers: record }), new Response('x', { headers })]
      record['a'] = '2'
      record['b'] = '2'
      headers.set('a', '2')
      return responses.map((response) => [...response.headers])
    }))
})

const asked: Record<string, Question> = {
  'headers are one object': () => {
    const response = new Response('x')
    return [same(response, 'headers'), response.headers instanceof Headers]
  },
  'changed headers are the response’s': async () => {
    const response = new Response('x', { headers: { 'x-a': '1' } })
    mutate(response.headers)
    const clone = response.clone()
    return [[...response.headers], [...clone.headers], (await clone.blob()).type]
  },
  'headers that are changed after the body was looked at': async () => {
    const response = new Response('x', { headers: { 'x-a': '1', 'content-type': 'text/a' } })
    const { headers } = response
    const { body } = response
    headers.set('content-type', 'text/b')
    const clone = response.clone()
    headers.set('content-type', 'text/c')
    return [body instanceof ReadableStream, [...clone.headers], (await response.blob()).type, (await clone.blob()).type]
  },
  'headers that are first seen after the body': async () => {
    const response = new Response('x', { headers: { 'content-type': 'text/a' } })
    const { body } = response
    response.headers.set('content-type', 'text/b')
    return [body === response.body, response.headers.get('content-type'), (await response.blob()).type]
  },
  'a body is used once': async () => {
    const response = new Response('x')
    const before = [response.bodyUsed, response.body!.locked]
    const twice = await all([response.text(), response.text(), response.json(), response.formData()])
    return [before, twice, response.bodyUsed, response.body!.locked, caught(() => response.clone())]
  },
  'a null body is used as often as one likes': async () => {
    const response = new Response()
    return [await all([response.text(), response.text()]), response.bodyUsed, response.body]
  },
  'a body that is read through its stream': async () => {
    const response = new Response('hello')
    const parts: string[] = []
    for await (const chunk of response.body!) parts.push(Buffer.from(chunk).toString())
    return [parts, response.bodyUsed, await all([response.text()])]
  },
  'a response made of another': async () => {
    const first = new Response('x', { status: 201, statusText: 'Made', headers: { 'x-a': '1' } })
    const second = new Response(first.body, first)
    return [shown(second), await second.text(), first.bodyUsed]
  },
  'the statics': async () => {
    const redirect = Response.redirect('http://a.example/', 303)
    const error = Response.error()
    const faults = [
      () => Response.redirect('http://a', 200 as 302),
      () => Response.redirect('not a url'),
      () => Response.json(undefined),
    ]
    return [shown(redirect), shown(error), faults.map(caught), caught(() => Response.json({ a: 1n }))]
  },
  'what kind of thing it is': () => {
    const response = new Response('x')
    class Mine extends Response {
      get mine(): number {
        return 1
      }
    }
    const mine = new Mine('y', { status: 202 })
    return [
      response instanceof Response,
      response.constructor === Response,
      Object.getPrototypeOf(response) === Response.prototype,
      Object.prototype.toString.call(response),
      mine instanceof Mine && mine instanceof Response,
      mine.constructor === Mine,
      [mine.mine, mine.status, mine.ok],
      Object.keys(response),
      JSON.stringify(response),
      { ...response },
      typeof Response,
      caught(() => (Response as unknown as () => void)()),
      caught(() => structuredClone(response)),
      inspect(response, { colors: false }),
      inspect(mine, { colors: false }),
    ]
  },
  'the class and its prototype': () => [
    shape(Response),
    shape(Response.prototype),
    shape(Request),
    shape(Request.prototype),
    [Response.name, Response.length, Request.name, Request.length, fetch.name, fetch.length],
    [Response.prototype.constructor === Response, Request.prototype.constructor === Request],
    Object.getOwnPropertyDescriptor(globalThis, 'Response')?.enumerable,
    Object.getOwnPropertyDescriptor(globalThis, 'fetch')?.enumerable,
  ],
  'accessors on what is none': () => {
    const get = (prototype: object, key: string): unknown =>
      caught(() => Object.getOwnPropertyDescriptor(prototype, key)!.get!.call({}))
    return [
      get(Response.prototype, 'status'),
      get(Request.prototype, 'url'),
      caught(() => Response.prototype.clone.call({} as Response)),
      get(Request.prototype, 'constructorx'),
    ]
  },
  'accessors and methods that were taken off the prototype': async () => {
    const status = Object.getOwnPropertyDescriptor(Response.prototype, 'status')!.get!
    const { text } = Response.prototype
    const url = Object.getOwnPropertyDescriptor(Request.prototype, 'url')!.get!
    const response = new Response('x', { status: 201 })
    const mine = [status.call(response), await text.call(response), url.call(get())]
    return mine
  },
  'assigning to what cannot be assigned': () => {
    const response = new Response('x')
    return [caught(() => Object.assign(response, { status: 5 })), response.status, Reflect.set(response, 'ok', 1)]
  },

  'a request': () => [shown(get()), shown(post())],
  'a request’s kind': () => [
    get() instanceof Request,
    get().constructor === Request,
    Object.getPrototypeOf(get()) === Request.prototype,
    Object.prototype.toString.call(get()),
    caught(() => structuredClone(get())),
    inspect(get(), { colors: false }).replace(/signal: AbortSignal \{[^}]*\}/, ''),
    JSON.stringify(get()),
  ],
  'a request’s objects are the same each time': () => {
    const request = post()
    return [
      same(request, 'headers'),
      same(request, 'signal'),
      same(request, 'body'),
      request.signal instanceof AbortSignal,
      request.bodyUsed,
    ]
  },
  'each way to read a body': () =>
    all([
      post().text(),
      post().json(),
      post().bytes(),
      post().arrayBuffer(),
      post()
        .blob()
        .then((blob) => [blob.type, blob.size]),
      post('a=b', ['Content-Type', 'application/x-www-form-urlencoded'])
        .formData()
        .then((form) => [...form]),
      post('not json').json(),
      post('\ufeffbom').text(),
      post('\ufeff"bom"').json(),
      post('').text(),
      post('').json(),
      get().text(),
      get().json(),
      get().arrayBuffer(),
    ]),
  'a request’s body is used once': async () => {
    const request = post()
    const results = await all([request.text(), request.text(), request.json(), request.arrayBuffer(), request.blob()])
    return [
      results,
      request.bodyUsed,
      request.body?.locked,
      caught(() => request.clone()),
      caught(() => new Request(request)),
      await all([fetch(request)]),
    ]
  },
  'bodyUsed is true from the first read on': () => {
    const request = post()
    const reading = request.text()
    const used = request.bodyUsed
    return reading.then(() => used)
  },
  'a request without a body is read as often as one likes': async () => {
    const request = get()
    return [await all([request.text(), request.text()]), request.bodyUsed, request.body]
  },
  'a request’s clone': async () => {
    const request = post()
    mutate(request.headers)
    const clone = request.clone()
    request.headers.set('x-a', 'later')
    return [
      [...clone.headers],
      [...request.headers],
      await all([clone.text(), request.json()]),
      clone.url,
      clone.bodyUsed,
    ]
  },
  'new Request(request)': async () => {
    const request = post()
    mutate(request.headers)
    const copy = new Request(request)
    return [shown(copy), request.bodyUsed, await copy.text(), await all([request.text()])]
  },
  'new Request(request, init)': async () => {
    const request = post()
    const copy = new Request(request, { method: 'PUT', body: 'other', headers: { a: '1' }, redirect: 'manual' })
    return [shown(copy), request.bodyUsed, await copy.text(), await request.text()]
  },
  'new Request(url, request)': async () => {
    const request = post()
    const copy = new Request('http://b.example/', request)
    return [shown(copy), await copy.text()]
  },
  'new Request() of anything else': () => [
    caught(() => new (Request as unknown as new () => Request)()),
    caught(() => new Request('no url')),
    caught(() => new Request('http://a/', { method: 'TRACE' })),
    caught(() => (Request as unknown as (url: string) => Request)('http://a/')),
    shown(new Request('http://a/')),
    new Request(new URL('http://a/')).url,
  ],
  'a subclass of Request that takes one': async () => {
    class Mine extends Request {}
    const mine = new Mine(post())
    return [mine instanceof Mine, shown(mine), await mine.text()]
  },
  'a request’s stream': async () => {
    const request = post()
    const reader = request.body!.getReader()
    const first = await reader.read()
    return [
      Buffer.from(first.value!).toString(),
      (await reader.read()).done,
      request.bodyUsed,
      await all([request.text()]),
    ]
  },
}

describe('the classes', () => {
  for (const [title, question] of Object.entries(asked)) test(title, () => compare(question as () => unknown))

  test('fetch() accepts a light request with its changes', async () => {
    const upstream = await listening(
      createServer((req, res) => {
        res.writeHead(200, { 'x-seen': `${req.method} ${req.url} ${req.headers['x-a']}` })
        req.pipe(res)
      }),
    )
    const { port } = upstream.address
    await compare(async () => {
      const request = post('hello', ['Host', `127.0.0.1:${port}`, 'X-A', '1'])
      request.headers.set('x-a', 'changed')
      const response = await fetch(request)
      const plain = await fetch(`http://127.0.0.1:${port}/plain`, { headers: { 'x-a': '2' } })
      return [
        response instanceof Response,
        response.headers.get('x-seen'),
        await response.text(),
        plain.headers.get('x-seen'),
        await all([fetch(post('x', ['Host', `127.0.0.1:${port}`]), { signal: AbortSignal.abort() })]),
      ]
    })
    await upstream.stop()
  })

  test('patches of a prototype apply to light objects', () => {
    const undo = installLightFetch()
    try {
      const prototype = Response.prototype as { text: Response['text'] }
      const { text } = prototype
      const told: Response[] = []
      prototype.text = function (this: Response) {
        told.push(this)
        return text.call(this)
      }
      const response = new Response('x')
      void response.text()
      prototype.text = text
      assert.deepEqual(told, [response])
    } finally {
      undo()
    }
  })

  test('requests are instances of a subclass that replaces the global (as by @hono/node-server)', async () => {
    const undo = installLightFetch()
    const { Request: Base } = globalThis
    try {
      const light = post()
      class Theirs extends Base {}
      globalThis.Request = Theirs as typeof Request
      const theirs = post()
      assert.deepEqual([theirs instanceof Theirs, await theirs.text()], [true, '{"a":"é"}'])
      assert.equal(await new Request(light).text(), '{"a":"é"}')
    } finally {
      globalThis.Request = Base
      undo()
    }
  })

  test('plain responses and a gateway’s requests are light, and become real when needed', async () => {
    const undo = installLightFetch()
    try {
      assert.ok(LightRequest.is(get()))
      assert.ok(LightResponse.is(Response.json({})))
      for (const init of [undefined, { status: 404 }, { headers: { a: 'b' } }, { headers: new Headers({ a: 'b' }) }]) {
        const response = new Response('x', init)
        assert.ok(LightResponse.is(response))
        assert.deepEqual([response.status, response.ok, response.bodyUsed], [init?.status ?? 200, !init?.status, false])
        assert.equal(typeof LightResponse.take(response)?.status, 'number')
        assert.equal(response.bodyUsed, true)
        await assert.rejects(response.text(), TypeError)
      }
      assert.ok(!LightResponse.is(new Response(new ReadableStream())))
      assert.ok(!LightResponse.is(new (class extends Response {})('x')))
    } finally {
      undo()
    }
    assert.ok(!LightRequest.is(get()))
    assert.ok(!LightResponse.is(new Response('x')))
  })

  test('undoing restores everything; a second installation does nothing', () => {
    // Compared one by one: the functions must be identical.
    const state = (): unknown[] =>
      [globalThis, Request.prototype, Response.prototype].flatMap((object) =>
        Object.values(Object.getOwnPropertyDescriptors(object)).flatMap((descriptor) => Object.values(descriptor)),
      )
    const isSame = (one: unknown[], other: unknown[]): boolean =>
      one.length === other.length && one.every((value, at) => Object.is(value, other[at]))
    const before = state()
    const undo = installLightFetch()
    const during = state()
    installLightFetch()()
    assert.ok(isSame(state(), during) && !isSame(before, during))
    undo()
    undo()
    assert.ok(isSame(state(), before))
  })
})
