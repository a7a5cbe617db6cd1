/** A Fastify application with the most common plugins. */

import type { Server } from 'node:http'
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import multipart from '@fastify/multipart'
import session from '@fastify/session'
import serve from '@fastify/static'
import websocket from '@fastify/websocket'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { raw } from './raw.ts'
import * as shared from './shared.ts'

declare module 'fastify' {
  interface Session {
    count?: number
  }
}

type Query = Record<string, string>

const app: FastifyInstance = fastify({
  bodyLimit: 20_000,
  routerOptions: { maxParamLength: 200 },
  forceCloseConnections: true,
})

app.addContentTypeParser(
  'application/octet-stream',
  { parseAs: 'buffer', bodyLimit: 1_000_000 },
  (_request, body, done) => done(null, body),
)
app.addContentTypeParser('application/x', { parseAs: 'buffer', bodyLimit: 1_000_000 }, (_request, body, done) =>
  done(null, body),
)

await app.register(formbody)
await app.register(cookie, { secret: 'a secret' })
await app.register(websocket, {
  options: {
    perMessageDeflate: { threshold: 100 },
    handleProtocols: (protocols) => (protocols.has('chat') ? 'chat' : false),
  },
})
await app.register(serve, { root: shared.files, prefix: '/static/', dotfiles: 'deny' })

app.get('/noted', (request) => {
  const { key, count } = request.query as Query
  return shared.noted(String(key), Number(count))
})
app.get('/release', async (request) => {
  shared.note(`${(request.query as Query)['key']}-release`, 'released')
  return ''
})

await app.register(async (scope) => {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
  scope.route({
    method: ['GET', 'POST', 'PUT', 'HEAD'],
    url: '/raw/*',
    exposeHeadRoute: false,
    handler(request, reply) {
      reply.hijack()
      raw(request.raw, reply.raw)
    },
  })
})

app.get('/', async () => 'Hello')
app.get('/json', async () => ({ hello: 'wörld', list: [1, 2, { three: null }] }))
app.get('/users/:id', async (request) => request.params)
app.get('/users/:id/posts/:post', async (request) => request.params)
app.get('/query', async (request) => request.query)
app.get('/wild/*', async (request) => request.params)
app.get('/facts', async (request) => {
  const { method, url, originalUrl, protocol, host, hostname, port, ip, ips, routeOptions, is404 } = request
  return { method, url, originalUrl, protocol, host, hostname, port, ip, ips, route: routeOptions.url, is404 }
})
app.get('/headers/echo', async (request) => shared.withoutAdded(request.headers))
app.get('/headers/all', async (request) => Object.keys(request.headers))
app.get('/only-get', async () => 'got')
app.all('/any', async (request) => request.method)

for (const path of ['/json', '/form', '/text']) app.post(path, async ({ body }) => ({ body }))
app.post('/bytes', { bodyLimit: 1_000_000 }, async (request, reply) => reply.send(request.body))
await app.register(async (scope) => {
  await scope.register(multipart, { limits: { fileSize: 400_000, files: 3 } })
  scope.post('/upload', { bodyLimit: 1_000_000 }, async (request) => {
    const parts: unknown[] = []
    for await (const part of request.parts()) {
      if (part.type === 'field') parts.push([part.fieldname, part.value])
      else {
        const content = await part.toBuffer()
        parts.push([
          part.fieldname,
          part.filename,
          part.mimetype,
          content.length,
          content.toString('base64').slice(0, 200),
        ])
      }
    }
    return parts
  })
})

app.get('/cookies/set', async (_request, reply) => {
  reply.setCookie('one', '1', { httpOnly: true }).setCookie('two', 'b c', { path: '/x', sameSite: 'lax' })
  return reply.setCookie('three', 'c', { expires: new Date(0) }).send('set')
})
app.get('/cookies/read', async (request) => {
  const { s } = request.cookies
  return { plain: request.cookies, signed: s === undefined ? null : request.unsignCookie(s) }
})
app.get('/cookies/sign', async (_request, reply) => reply.setCookie('s', 'value', { signed: true }).send('signed'))
app.get('/cookies/clear', async (_request, reply) => reply.clearCookie('one').send('cleared'))
await app.register(async (scope) => {
  await scope.register(session, {
    secret: 'a secret of at least thirty-two characters',
    cookie: { secure: false },
    saveUninitialized: false,
    idGenerator: shared.sessionId,
  })
  scope.get('/session', async (request) => {
    request.session.count = (request.session.count ?? 0) + 1
    return { count: request.session.count }
  })
  scope.post('/session/end', async (request) => {
    await request.session.destroy()
    return 'ended'
  })
})

await app.register(async (scope) => {
  await scope.register(compress, { threshold: 1000 })
  scope.get('/compressed/text', async (_request, reply) => reply.type('text/plain').send(shared.text))
  scope.get('/compressed/json', async () => ({ text: shared.text }))
  scope.get('/compressed/small', async () => 'small')
  scope.get('/compressed/stream', async (_request, reply) => reply.type('text/plain').send(shared.stream(shared.big())))
})

const key = (query: unknown): string => String((query as Query)['key'])
const events = (reply: FastifyReply): FastifyReply => reply.type('text/event-stream')
app.get('/events', async (_request, reply) => events(reply).send(shared.stream(shared.events())))
app.get('/endless', async (request, reply) => events(reply).send(shared.stream(shared.endless(key(request.query)))))
app.get('/held', async (request, reply) =>
  reply.type('text/plain').send(shared.stream(shared.held(key(request.query)))),
)
app.get('/stream', async (_request, reply) => reply.type('text/plain').send(shared.stream(shared.chunks())))
app.get('/big', async (_request, reply) => reply.send(shared.stream(shared.big())))

app.get('/redirect', (_request, reply) => reply.redirect('/json'))
app.get('/redirect/outside', (_request, reply) => reply.redirect('https://example.org/a?b=c d'))
app.get('/redirect/:status', (request, reply) => {
  reply.redirect('../json', Number((request.params as Query)['status']))
})
app.get('/status/:status', (request, reply) => reply.code(Number((request.params as Query)['status'])).send())
app.get('/fields/many', async (_request, reply) => {
  for (const [name, value] of shared.manyFields()) reply.header(name, value)
  return 'many'
})
app.get('/fields/repeated', async (_request, reply) => {
  reply.header('Set-Cookie', 'a=1').header('Link', ['</one>; rel=next', '</two>; rel=prev']).header('Set-Cookie', 'b=2')
  return reply.header('Set-Cookie', ['a=3', 'c=4']).header('Vary', 'Accept, Cookie').send('repeated')
})
app.get('/fields/large', async (_request, reply) => reply.header('X-Large', 'x'.repeat(10_000)).send('large'))
app.get('/tagged', async (request, reply) => {
  reply.header('ETag', '"tag"')
  return request.headers['if-none-match'] === '"tag"' ? reply.code(304).send() : 'x'.repeat(1000)
})
app.get('/type/buffer', async (_request, reply) => reply.send(Buffer.from([1, 2, 3])))
app.get('/type/html', async (_request, reply) => reply.type('text/html').send('<p>é'))
app.get('/type/empty', async (_request, reply) => reply.send(''))
app.get(
  '/schema',
  {
    schema: {
      querystring: { type: 'object', required: ['a'], properties: { a: { type: 'integer' } } },
      response: { 200: { type: 'object', properties: { a: { type: 'integer' } } } },
    },
  },
  async (request) => ({ ...(request.query as object), hidden: 'x' }),
)
app.get('/send-file', (_request, reply) => reply.sendFile('hello.txt'))
app.get('/download', (_request, reply) => reply.download('hello.txt', 'other.txt'))
app.get('/web/stream', (_request, reply) => reply.send(ReadableStream.from(shared.chunks())))
app.get('/web/response', (_request, reply) =>
  reply.send(new Response('a response', { status: 203, headers: { 'X-From': 'Response' } })),
)
app.get(
  '/hooked',
  {
    onRequest: async (_request, reply) => void reply.header('X-On-Request', '1'),
    preSerialization: async (_request, _reply, payload) => ({ wrapped: payload }),
    onSend: async (_request, reply, payload) => {
      reply.header('X-On-Send', '1')
      return payload
    },
  },
  async () => ({ a: 1 }),
)
app.get('/trailers', (_request, reply) => {
  reply.trailer('x-sum', async () => '123')
  return reply.send('with trailers')
})
app.get('/hints', async (_request, reply) => {
  reply.writeEarlyHints({ Link: '</a.css>; rel=preload; as=style' })
  return 'hinted'
})

app.get('/error/sync', () => {
  throw new Error('sync failure with a secret')
})
app.get('/error/async', async () => {
  await shared.pause(1)
  throw new Error('async failure with a secret')
})
app.get('/error/status', async (_request, reply) => {
  reply.header('X-Pot', 'tea')
  throw Object.assign(new Error('teapot'), { statusCode: 418, code: 'POT' })
})
app.get('/error/after-head', async (_request, reply) => {
  reply.hijack()
  reply.raw.writeHead(200, { 'Content-Type': 'text/plain' })
  reply.raw.write('begun')
  await shared.pause(30)
  reply.raw.destroy(new Error('late'))
})
app.get('/error/stream', (_request, reply) => reply.send(shared.stream(shared.failing())))
app.get('/error/odd', async () => {
  throw 'a string'
})
app.get(
  '/error/handled',
  { errorHandler: (error, _request, reply) => reply.code(502).send({ message: (error as Error).message }) },
  async () => {
    throw new Error('handled')
  },
)
app.get('/hang', (request, reply) => {
  reply.raw.on('close', () => shared.note(key(request.query), 'gone'))
  shared.note(key(request.query), 'begun')
})
app.get('/client-abort', (request, reply) => {
  request.signal?.addEventListener('abort', () => shared.note(key(request.query), 'aborted'))
  reply.hijack()
  shared.note(key(request.query), 'begun')
})

for (const path of ['/ws', '/ws/facts', '/ws/close', '/ws/terminate', '/ws/many']) {
  app.get(path, { websocket: true }, (socket, request) => {
    const name = key(request.query)
    socket.on('error', (error: Error) => shared.note(name, `error ${error.message}`))
    socket.on('close', (code: number, reason: Buffer) => shared.note(name, `close ${code} ${reason}`))
    if (path === '/ws/facts') {
      const { method, url, httpVersion, headers } = request.raw
      socket.send(
        JSON.stringify({
          method,
          url,
          httpVersion,
          upgrade: headers.upgrade,
          cookie: headers.cookie,
          parsed: request.cookies,
        }),
      )
    }
    if (path === '/ws/close') socket.close(4001, 'enough')
    if (path === '/ws/terminate') socket.terminate()
    if (path === '/ws/many') for (let at = 0; at < 200; at++) socket.send(`message ${at}`)
    socket.on('message', (data: Buffer, binary: boolean) => socket.send(data, { binary }))
  })
}
app.get('/ws/ping', { websocket: true }, (socket) => {
  socket.ping('are you there')
  socket.on('pong', (data: Buffer) => socket.send(`pong ${data}`))
})
app.get(
  '/ws/refused',
  { websocket: true, preValidation: async (_request, reply) => reply.code(401).send('who a you') },
  () => {},
)

export const server: Server = app.server
/** For callers that call `listen()` of the server instead of Fastify's. */
await app.ready()

export default app
