/** A Koa application with the most common plugins. */

import { createServer, type Server } from 'node:http'
import { createGzip } from 'node:zlib'
import multer, { type File } from '@koa/multer'
import Router from '@koa/router'
import Koa from 'koa'
import bodyParser from 'koa-bodyparser'
import session from 'koa-session'
import serve from 'koa-static'
import { raw } from './raw.ts'
import * as shared from './shared.ts'
import { attachWebSockets } from './websockets.ts'

const app: Koa = new Koa()
app.silent = true
app.keys = ['a secret']
const router = new Router()

app.use(async (ctx, next) => {
  if (ctx.path.startsWith('/raw/')) {
    ctx.respond = false
    ctx.res.statusCode = 200
    raw(ctx.req, ctx.res)
  } else await next()
})

router.get('/noted', async (ctx) => {
  ctx.body = await shared.noted(String(ctx.query['key']), Number(ctx.query['count']))
})
router.get('/release', (ctx) => {
  shared.note(`${ctx.query['key']}-release`, 'released')
  ctx.body = ''
})

router.get('/', (ctx) => {
  ctx.body = 'Hello'
})
router.get('/json', (ctx) => {
  ctx.body = { hello: 'wörld', list: [1, 2, { three: null }] }
})
router.get('/users/:id', (ctx) => {
  ctx.body = ctx.params
})
router.get('/users/:id/posts/:post', (ctx) => {
  ctx.body = ctx.params
})
router.get('/query', (ctx) => {
  ctx.body = ctx.query
})
router.get('/wild/{*rest}', (ctx) => {
  ctx.body = { rest: ctx.params['rest'], path: ctx.path }
})
router.get('/facts', (ctx) => {
  const {
    method,
    url,
    originalUrl,
    protocol,
    host,
    hostname,
    ip,
    ips,
    secure,
    path,
    href,
    origin,
    querystring,
    length,
  } = ctx.request
  ctx.body = {
    ...{ method, url, originalUrl, protocol, host, hostname, ip, ips, secure, path },
    href,
    origin,
    querystring,
    length,
  }
})
router.get('/headers/echo', (ctx) => {
  ctx.body = shared.withoutAdded(ctx.headers)
})
router.get('/headers/all', (ctx) => {
  ctx.body = Object.keys(ctx.headers)
})
router.get('/only-get', (ctx) => {
  ctx.body = 'got'
})
router.all('/any', (ctx) => {
  ctx.body = ctx.method
})

const parse = bodyParser({ enableTypes: ['json', 'form', 'text'], jsonLimit: '20kb', formLimit: '20kb' })
for (const path of ['/json', '/form', '/text']) {
  router.post(path, parse, (ctx) => {
    ctx.body = { body: ctx.request.body }
  })
}
router.post('/bytes', (ctx) => {
  ctx.type = 'application/octet-stream'
  ctx.body = ctx.req
})
const upload = multer({ limits: { fileSize: 400_000, files: 3 } })
router.post('/upload', upload.fields([{ name: 'file', maxCount: 2 }, { name: 'other' }]), (ctx) => {
  const files = Object.values(((ctx as unknown as { files?: unknown }).files ?? {}) as Record<string, File[]>).flat()
  ctx.body = {
    body: ctx.request.body,
    files: files.map(({ fieldname, originalname, mimetype, size, buffer }) => [
      ...[fieldname, originalname, mimetype, size],
      buffer.toString('base64').slice(0, 200),
    ]),
  }
})

const files = serve(shared.files)
router.get('/static/{*path}', async (ctx, next) => {
  const path = ctx.path
  ctx.path = path.slice('/static'.length)
  await files(ctx, next)
  ctx.path = path
})

router.get('/cookies/set', (ctx) => {
  ctx.cookies.set('one', '1', { signed: false })
  ctx.cookies.set('two', 'b', { path: '/x', sameSite: 'lax', signed: false })
  ctx.cookies.set('three', 'c', { expires: new Date(0), httpOnly: false, signed: false })
  ctx.body = 'set'
})
router.get('/cookies/read', (ctx) => {
  const names = ['a', 'b', 'c', 's']
  ctx.body = names.map((name) => [ctx.cookies.get(name, { signed: false }), ctx.cookies.get(name, { signed: true })])
})
router.get('/cookies/sign', (ctx) => {
  ctx.cookies.set('s', 'value', { signed: true })
  ctx.body = 'signed'
})
router.get('/cookies/clear', (ctx) => {
  ctx.cookies.set('one', null)
  ctx.body = 'cleared'
})
const sessions = session({ maxAge: 'session' }, app)
router.get('/session', sessions, (ctx) => {
  ctx.session!['count'] = ((ctx.session!['count'] as number) ?? 0) + 1
  ctx.body = { count: ctx.session!['count'] }
})
router.post('/session/end', sessions, (ctx) => {
  ctx.session = null
  ctx.body = 'ended'
})

// Koa has no compression of its own: this is what many applications write.
router.use('/compressed', async (ctx, next) => {
  await next()
  ctx.vary('Accept-Encoding')
  const body = ctx.body
  if (ctx.acceptsEncodings('gzip', 'identity') !== 'gzip' || (ctx.length !== undefined && ctx.length < 1000)) return
  const gzip = createGzip()
  ctx.set('Content-Encoding', 'gzip')
  ctx.remove('Content-Length')
  ctx.body = gzip
  if (typeof body === 'string') gzip.end(body)
  else if (typeof (body as NodeJS.ReadableStream).pipe === 'function') (body as NodeJS.ReadableStream).pipe(gzip)
  else gzip.end(JSON.stringify(body))
})
router.get('/compressed/text', (ctx) => {
  ctx.body = shared.text
})
router.get('/compressed/json', (ctx) => {
  ctx.body = { text: shared.text }
})
router.get('/compressed/small', (ctx) => {
  ctx.body = 'small'
})
router.get('/compressed/stream', (ctx) => {
  ctx.type = 'text'
  ctx.body = shared.stream(shared.big())
})

router.get('/events', (ctx) => {
  ctx.set('Cache-Control', 'no-cache')
  ctx.type = 'text/event-stream'
  ctx.body = shared.stream(shared.events())
})
router.get('/endless', (ctx) => {
  ctx.type = 'text/event-stream'
  ctx.body = shared.stream(shared.endless(String(ctx.query['key'])))
})
router.get('/held', (ctx) => {
  ctx.type = 'text'
  ctx.body = shared.stream(shared.held(String(ctx.query['key'])))
})
router.get('/stream', (ctx) => {
  ctx.type = 'text'
  ctx.body = shared.stream(shared.chunks())
})
router.get('/big', (ctx) => {
  ctx.body = shared.stream(shared.big())
})

router.get('/redirect', (ctx) => ctx.redirect('/json'))
router.get('/redirect/outside', (ctx) => ctx.redirect('https://example.org/a?b=c d'))
router.get('/redirect/:status', (ctx) => {
  ctx.status = Number(ctx.params['status'])
  ctx.redirect('../json')
})
router.get('/status/:status', (ctx) => {
  ctx.status = Number(ctx.params['status'])
  ctx.body = null
  ctx.status = Number(ctx.params['status'])
})
router.get('/message/:status', (ctx) => {
  ctx.status = Number(ctx.params['status'])
})
router.get('/fields/many', (ctx) => {
  for (const [name, value] of shared.manyFields()) ctx.set(name, value)
  ctx.body = 'many'
})
router.get('/fields/repeated', (ctx) => {
  ctx.append('Set-Cookie', 'a=1')
  ctx.append('Link', '</one>; rel=next')
  ctx.append('Set-Cookie', 'b=2')
  ctx.append('Link', '</two>; rel=prev')
  ctx.append('Set-Cookie', 'a=3')
  ctx.vary('Accept')
  ctx.vary('Cookie')
  ctx.body = 'repeated'
})
router.get('/fields/large', (ctx) => {
  ctx.set('X-Large', 'x'.repeat(10_000))
  ctx.body = 'large'
})
router.get('/tagged', (ctx) => {
  ctx.body = 'x'.repeat(1000)
  ctx.etag = 'tag'
  if (ctx.fresh) ctx.status = 304
})
router.get('/type/buffer', (ctx) => {
  ctx.body = Buffer.from([1, 2, 3])
})
router.get('/type/html', (ctx) => {
  ctx.body = '<p>é'
})
router.get('/type/empty', (ctx) => {
  ctx.body = ''
})
router.get('/attachment', (ctx) => {
  ctx.attachment('näme.txt')
  ctx.lastModified = new Date('2026-01-02T03:04:05Z')
  ctx.message = 'Very Fine'
  ctx.body = 'attached'
})
router.get('/accepts', (ctx) => {
  ctx.body = [
    ctx.accepts('json', 'html'),
    ctx.acceptsLanguages('de', 'en'),
    ctx.acceptsEncodings('br', 'gzip'),
    ctx.get('X-A'),
    ctx.is('json'),
  ]
})
router.get('/null', (ctx) => {
  ctx.body = null
})
router.get('/web/stream', (ctx) => {
  ctx.body = ReadableStream.from(shared.chunks())
})
router.get('/web/blob', (ctx) => {
  ctx.body = new Blob(['a blob'], { type: 'text/css' })
})
router.get('/web/response', (ctx) => {
  ctx.body = new Response('a response', { status: 203, headers: { 'X-From': 'Response' } })
})

router.get('/error/sync', () => {
  throw new Error('sync failure with a secret')
})
router.get('/error/async', async () => {
  await shared.pause(1)
  throw new Error('async failure with a secret')
})
router.get('/error/status', (ctx) => ctx.throw(418, 'teapot', { headers: { 'X-Pot': 'tea' } }))
router.get('/error/after-head', async (ctx) => {
  ctx.respond = false
  ctx.res.writeHead(200, { 'Content-Type': 'text/plain' })
  ctx.res.write('begun')
  await shared.pause(30)
  ctx.res.destroy(new Error('late'))
})
router.get('/error/stream', (ctx) => {
  ctx.body = shared.stream(shared.failing())
})
router.get('/error/odd', () => {
  throw 'a string'
})
router.get('/error/handled', async (ctx) => {
  try {
    await Promise.reject(new Error('handled'))
  } catch (error) {
    ctx.status = 502
    ctx.body = { message: (error as Error).message }
    ctx.app.emit('error', error, ctx)
  }
})
router.get('/error/assert', (ctx) => ctx.assert(ctx.query['a'], 401, 'no a'))
router.get('/hang', async (ctx) => {
  const key = String(ctx.query['key'])
  ctx.res.on('close', () => shared.note(key, 'gone'))
  shared.note(key, 'begun')
  await new Promise(() => {})
})

app.on('error', () => {})
app.use(router.routes()).use(router.allowedMethods())

/** With WebSockets: a server for node:http, which a container serves without its listen(). */
export const server: Server = createServer(app.callback())
attachWebSockets(server)

export default app
