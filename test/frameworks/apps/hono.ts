/** A Hono application with Hono's own middleware. */

import { createReadStream } from 'node:fs'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createAdaptorServer } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { compress } from 'hono/compress'
import { deleteCookie, getCookie, getSignedCookie, setCookie, setSignedCookie } from 'hono/cookie'
import { cors } from 'hono/cors'
import { etag } from 'hono/etag'
import { HTTPException } from 'hono/http-exception'
import { secureHeaders } from 'hono/secure-headers'
import { stream, streamSSE, streamText } from 'hono/streaming'
import type { ContentfulStatusCode, RedirectStatusCode, StatusCode } from 'hono/utils/http-status'
import * as shared from './shared.ts'
import { attachWebSockets } from './websockets.ts'

const app: Hono = new Hono()
const secret = 'a secret'

app.get('/noted', async (c) => c.json(await shared.noted(c.req.query('key') ?? '', Number(c.req.query('count')))))
app.get('/release', (c) => {
  shared.note(`${c.req.query('key')}-release`, 'released')
  return c.text('')
})

app.get('/', (c) => c.text('Hello'))
app.get('/json', (c) => c.json({ hello: 'wörld', list: [1, 2, { three: null }] }))
app.get('/users/:id', (c) => c.json(c.req.param()))
app.get('/users/:id/posts/:post', (c) => c.json(c.req.param()))
app.get('/query', (c) => c.json({ one: c.req.query(), all: c.req.queries() }))
app.get('/wild/*', (c) => c.json({ path: c.req.path }))
app.get('/facts', (c) => {
  const { method, url, path, raw } = c.req
  const { redirect, credentials, mode, cache, keepalive, bodyUsed, duplex } = raw as Request & { duplex?: string }
  return c.json({
    ...{ method, url, path, redirect, credentials, mode, cache, keepalive, bodyUsed, duplex },
    body: raw.body === null,
  })
})
app.get('/headers/echo', (c) => c.json(shared.withoutAdded(c.req.header())))
app.get('/headers/all', (c) => c.json(Object.keys(c.req.header())))
app.get('/only-get', (c) => c.text('got'))
app.all('/any', (c) => c.text(c.req.method))

const limited = bodyLimit({ maxSize: 20_000 })
app.post('/json', limited, async (c) => {
  try {
    return c.json({ body: await c.req.json() })
  } catch {
    return c.json({ message: 'malformed' }, 400)
  }
})
app.post('/form', limited, async (c) => c.json({ body: await c.req.parseBody({ all: true, dot: true }) }))
app.post('/text', limited, async (c) => c.json({ body: await c.req.text() }))
app.post('/bytes', async (c) => c.body(await c.req.arrayBuffer()))
app.post('/upload', bodyLimit({ maxSize: 450_000 }), async (c) => {
  const parts: unknown[] = []
  for (const [name, value] of await c.req.formData()) {
    if (typeof value === 'string') parts.push([name, value])
    else {
      const content = Buffer.from(await value.arrayBuffer())
      parts.push([name, value.name, value.type, value.size, content.toString('base64').slice(0, 200)])
    }
  }
  return c.json(parts)
})
app.post('/echo', (c) => c.body(c.req.raw.body as ReadableStream))
app.post('/request/clone', async (c) => {
  const clone = c.req.raw.clone()
  const again = new Request(c.req.raw, { headers: { 'X-New': '1' } })
  return c.json([
    await clone.text(),
    await again.text(),
    again.headers.get('X-New'),
    again.method,
    c.req.raw instanceof Request,
  ])
})
app.post('/request/blob', async (c) => {
  const blob = await c.req.blob()
  return c.json([blob.size, blob.type, await blob.text()])
})
app.post('/request/half', async (c) => {
  const reader = c.req.raw.body!.getReader()
  const { value } = await reader.read()
  await reader.cancel()
  return c.text(`${value?.length}`)
})

app.use('/static/*', serveStatic({ root: shared.files, rewriteRequestPath: (path) => path.slice('/static'.length) }))

app.get('/cookies/set', (c) => {
  setCookie(c, 'one', '1', { httpOnly: true })
  setCookie(c, 'two', 'b c', { path: '/x', sameSite: 'Lax' })
  setCookie(c, 'three', 'c', { expires: new Date(0) })
  return c.text('set')
})
app.get('/cookies/read', async (c) => c.json({ plain: getCookie(c), signed: await getSignedCookie(c, secret) }))
app.get('/cookies/sign', async (c) => {
  await setSignedCookie(c, 's', 'value', secret)
  return c.text('signed')
})
app.get('/cookies/clear', (c) => {
  deleteCookie(c, 'one')
  return c.text('cleared')
})
app.get('/session', async (c) => {
  const count = Number((await getSignedCookie(c, secret, 'session')) || 0) + 1
  await setSignedCookie(c, 'session', `${count}`, secret)
  return c.json({ count })
})
app.post('/session/end', (c) => {
  deleteCookie(c, 'session')
  c.header('Set-Cookie', 'session=; Max-Age=0')
  return c.text('ended')
})

app.use('/compressed/*', compress({ threshold: 1000 }))
app.get('/compressed/text', (c) => c.text(shared.text))
app.get('/compressed/json', (c) => c.json({ text: shared.text }))
app.get('/compressed/small', (c) => c.text('small'))
app.get('/compressed/stream', (c) => {
  c.header('Content-Type', 'text/plain')
  return c.body(ReadableStream.from(shared.big()) as ReadableStream)
})

app.get('/events', (c) =>
  streamSSE(c, async (events) => {
    for (let at = 0; at < 3; at++) {
      await events.writeSSE({ id: `${at}`, event: 'tick', data: JSON.stringify({ at }) })
      await events.sleep(2)
    }
  }),
)
app.get('/endless', (c) =>
  streamSSE(c, async (events) => {
    events.onAbort(() => shared.note(c.req.query('key') ?? '', 'ended'))
    while (!events.aborted) {
      await events.writeSSE({ data: 'a tick of some length' })
      await events.sleep(5)
    }
  }),
)
app.get('/held', (c) => c.body(ReadableStream.from(shared.held(c.req.query('key') ?? '')) as ReadableStream))
app.get('/stream', (c) =>
  streamText(c, async (out) => {
    for await (const chunk of shared.chunks()) await out.write(chunk)
  }),
)
app.get('/big', (c) =>
  stream(c, async (out) => {
    await out.pipe(ReadableStream.from(shared.big()) as ReadableStream)
  }),
)
app.get(
  '/file-stream',
  () => new Response(Readable.toWeb(createReadStream(join(shared.files, 'big.bin'))) as ReadableStream),
)
app.get('/responses/blob', () => new Response(new Blob(['a blob'], { type: 'text/css' })))
app.get('/responses/form', () => new Response(new URLSearchParams({ a: 'b c' })))
app.get('/responses/json', () => Response.json({ a: 1 }, { status: 203, statusText: 'Odd', headers: { 'X-A': '1' } }))
app.get('/responses/null', () => new Response(null))
app.get('/responses/redirect', () => Response.redirect('https://example.org/x', 307))
app.get('/responses/clone', () => new Response('cloned', { headers: { 'X-A': '1' } }).clone())
app.get('/responses/generator', () => new Response(ReadableStream.from(shared.chunks()) as ReadableStream))
app.get('/responses/chunked-length', () => new Response('12345', { headers: { 'Content-Length': '5' } }))

app.get('/redirect', (c) => c.redirect('/json'))
app.get('/redirect/outside', (c) => c.redirect('https://example.org/a?b=c d'))
app.get('/redirect/:status', (c) => c.redirect('../json', Number(c.req.param('status')) as RedirectStatusCode))
app.get('/status/:status', (c) => c.body(null, Number(c.req.param('status')) as StatusCode))
app.get('/fields/many', (c) => {
  for (const [name, value] of shared.manyFields()) c.header(name, value)
  return c.text('many')
})
app.get('/fields/repeated', (c) => {
  for (const [name, value] of [
    ['Set-Cookie', 'a=1'],
    ['Link', '</one>'],
    ['Set-Cookie', 'b=2'],
    ['Link', '</two>'],
    ['Set-Cookie', 'a=3'],
  ]) {
    c.header(name!, value, { append: true })
  }
  return c.text('repeated')
})
app.get('/fields/large', (c) => c.text('large', 200, { 'X-Large': 'x'.repeat(10_000) }))
app.get('/tagged', etag(), (c) => c.text('x'.repeat(1000)))
app.get('/type/buffer', (c) => c.body(new Uint8Array([1, 2, 3])))
app.get('/type/html', (c) => c.html('<p>é'))
app.get('/type/empty', (c) => c.text(''))
app.use('/cors', cors({ origin: 'https://example.org', credentials: true }))
app.get('/cors', (c) => c.text('shared'))
app.get('/secure', secureHeaders(), (c) => c.text('secure'))
app.get('/later', async (c) => {
  await shared.pause(5)
  return c.text('later')
})

app.get('/error/sync', () => {
  throw new Error('sync failure with a secret')
})
app.get('/error/async', async () => {
  await shared.pause(1)
  throw new Error('async failure with a secret')
})
app.get('/error/status', () => {
  throw new HTTPException(418 as ContentfulStatusCode, {
    message: 'teapot',
    res: new Response('teapot', { status: 418, headers: { 'X-Pot': 'tea' } }),
  })
})
const failing = (): Response => new Response(ReadableStream.from(shared.failing()) as ReadableStream)
app.get('/error/after-head', failing)
app.get('/error/stream', failing)
app.get('/error/odd', () => Promise.reject('a string'))
app.get('/error/handled', (c) => c.json({ message: 'handled' }, 502))
app.get('/hang', (c) => {
  const key = c.req.query('key') ?? ''
  c.req.raw.signal.addEventListener('abort', () => shared.note(key, 'gone'))
  shared.note(key, 'begun')
  return new Promise<Response>(() => {})
})
app.post('/upload/abort', async (c) => {
  const key = c.req.query('key') ?? ''
  c.req.raw.signal.addEventListener('abort', () => shared.note(key, 'signal'))
  shared.note(key, 'begun')
  await c.req.text().catch(() => shared.note(key, 'failed'))
  return c.text('')
})
app.onError((error, c) => {
  if (error instanceof HTTPException) return error.getResponse()
  return c.text('Internal Server Error', 500)
})

/** The server that @hono/node-server creates. */
export const server: Server = createAdaptorServer({ fetch: app.fetch }) as Server
attachWebSockets(server)

export default app
