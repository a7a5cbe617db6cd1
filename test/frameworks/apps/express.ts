/** An Express application with the most common plugins. */

import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import compression from 'compression'
import cookieParser from 'cookie-parser'
import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import session from 'express-session'
import multer from 'multer'
import { raw } from './raw.ts'
import * as shared from './shared.ts'
import { attachWebSockets } from './websockets.ts'

declare module 'express-session' {
  interface SessionData {
    count: number
  }
}

const app: Express = express()

app.get('/noted', async (req, res) => {
  res.json(await shared.noted(String(req.query['key']), Number(req.query['count'])))
})
app.get('/release', (req, res) => {
  shared.note(`${req.query['key']}-release`, 'released')
  res.end()
})
app.use('/raw', (req, res) => {
  req.url = req.originalUrl
  raw(req, res)
})

app.get('/', (_req, res) => void res.send('Hello'))
app.get('/json', (_req, res) => void res.json({ hello: 'wörld', list: [1, 2, { three: null }] }))
app.get('/users/:id', (req, res) => void res.json(req.params))
app.get('/users/:id/posts/:post', (req, res) => void res.json(req.params))
app.get('/query', (req, res) => void res.json(req.query))
app.get('/wild/*rest', (req, res) => void res.json({ rest: req.params['rest'], path: req.path }))
app.get('/facts', (req, res) => {
  const { method, url, originalUrl, protocol, hostname, ip, ips, secure, xhr, subdomains, path, baseUrl } = req
  res.json({ method, url, originalUrl, protocol, hostname, ip, ips, secure, xhr, subdomains, path, baseUrl })
})
app.get('/headers/echo', (req, res) => void res.json(shared.withoutAdded(req.headers)))
app.get('/headers/all', (req, res) => void res.json(Object.keys(req.headers)))
app.get('/only-get', (_req, res) => void res.send('got'))
app.all('/any', (req, res) => void res.send(req.method))

app.post('/json', express.json({ limit: '20kb' }), (req, res) => void res.json({ body: req.body }))
app.post(
  '/form',
  express.urlencoded({ extended: true, limit: '20kb' }),
  (req, res) => void res.json({ body: req.body }),
)
app.post('/text', express.text(), (req, res) => void res.json({ body: req.body }))
app.post('/bytes', express.raw({ limit: '1mb', type: '*/*' }), (req, res) => void res.send(req.body))
const upload = multer({ limits: { fileSize: 400_000, files: 3 } })
app.post('/upload', upload.fields([{ name: 'file', maxCount: 2 }, { name: 'other' }]), (req, res) => {
  const files = Object.values(req.files as Record<string, Express.Multer.File[]>).flat()
  res.json({
    body: req.body,
    files: files.map(({ fieldname, originalname, mimetype, size, buffer }) => [
      ...[fieldname, originalname, mimetype, size],
      buffer.toString('base64').slice(0, 200),
    ]),
  })
})

app.use('/static', express.static(shared.files))
app.get('/send-file', (_req, res) => void res.sendFile(join(shared.files, 'hello.txt')))
app.get('/send-missing', (_req, res) => void res.sendFile(join(shared.files, 'missing.txt')))
app.get('/download', (_req, res) => void res.download(join(shared.files, 'hello.txt'), 'näme.txt'))

app.get('/cookies/set', (_req, res) => {
  res.cookie('one', '1', { httpOnly: true })
  res.cookie('two', 'b c', { path: '/x', sameSite: 'lax' })
  res.cookie('signed', 'value', { signed: false, maxAge: 0, expires: new Date(0) })
  res.send('set')
})
const cookies = cookieParser('a secret')
app.get('/cookies/read', cookies, (req, res) => void res.json({ plain: req.cookies, signed: req.signedCookies }))
app.get('/cookies/sign', cookies, (_req, res) => void res.cookie('s', 'value', { signed: true }).send('signed'))
app.get('/cookies/clear', (_req, res) => void res.clearCookie('one').send('cleared'))
app.use('/session', session({ secret: 'a secret', resave: false, saveUninitialized: false, genid: shared.sessionId }))
app.get('/session', (req, res) => {
  req.session.count = (req.session.count ?? 0) + 1
  res.json({ count: req.session.count })
})
app.post('/session/end', (req, res) => req.session.destroy(() => res.send('ended')))

app.use('/compressed', compression({ threshold: 1000 }))
app.get('/compressed/text', (_req, res) => void res.type('text').send(shared.text))
app.get('/compressed/json', (_req, res) => void res.json({ text: shared.text }))
app.get('/compressed/small', (_req, res) => void res.send('small'))
app.get('/compressed/stream', (_req, res) => {
  res.type('text')
  pipeline(shared.stream(shared.big()), res, () => {})
})
app.get('/compressed/events', async (req, res) => {
  res.type('text/event-stream')
  for await (const chunk of shared.held(String(req.query['key']))) {
    res.write(chunk)
    res.flush()
  }
  res.end()
})

app.get('/events', (_req, res) => {
  res.set('Cache-Control', 'no-cache').type('text/event-stream')
  shared.stream(shared.events()).pipe(res)
})
app.get('/endless', (req, res) => {
  res.type('text/event-stream')
  const source = shared.stream(shared.endless(String(req.query['key'])))
  source.pipe(res)
  res.on('close', () => source.destroy())
})
app.get('/held', (req, res) => {
  res.type('text/plain')
  pipeline(shared.stream(shared.held(String(req.query['key']))), res, () => {})
})
app.get('/stream', (_req, res) => void shared.stream(shared.chunks()).pipe(res.type('text/plain')))
app.get('/big', (_req, res) => void pipeline(shared.stream(shared.big()), res, () => {}))

app.get('/redirect', (_req, res) => void res.redirect('/json'))
app.get('/redirect/outside', (_req, res) => void res.redirect('https://example.org/a?b=c d'))
app.get('/redirect/:status', (req, res) => void res.redirect(Number(req.params['status']), '../json'))
app.get('/status/:status', (req, res) => void res.status(Number(req.params['status'])).end())
app.get('/send-status/:status', (req, res) => void res.sendStatus(Number(req.params['status'])))
app.get('/fields/many', (_req, res) => {
  for (const [name, value] of shared.manyFields()) res.set(name, value)
  res.send('many')
})
app.get('/fields/repeated', (_req, res) => {
  res.append('Set-Cookie', 'a=1').append('Link', '</one>; rel=next').append('Set-Cookie', 'b=2')
  res.append('Link', '</two>; rel=prev').append('Set-Cookie', 'a=3').vary('Accept').vary('Cookie')
  res.send('repeated')
})
app.get('/fields/large', (_req, res) => void res.set('X-Large', 'x'.repeat(10_000)).send('large'))
app.get('/tagged', (_req, res) => void res.send('x'.repeat(1000)))
app.get('/type/buffer', (_req, res) => void res.send(Buffer.from([1, 2, 3])))
app.get('/type/html', (_req, res) => void res.send('<p>é'))
app.get('/type/empty', (_req, res) => void res.send(''))
app.get('/jsonp', (_req, res) => void res.jsonp({ a: 1 }))
app.get('/format', (_req, res) => {
  res.format({ 'text/plain': () => res.send('text'), 'application/json': () => res.json({ format: 'json' }) })
})
app.get(
  '/links',
  (_req, res) => void res.links({ next: '/2', last: '/9' }).location('/here').attachment('a.pdf').send('x'),
)
app.get('/fresh', (req, res) => void res.set('ETag', '"v1"').send(`${req.fresh}`))
app.get('/accepts', (req, res) => {
  res.json([
    req.accepts(['json', 'html']),
    req.acceptsLanguages('de', 'en'),
    req.acceptsEncodings('br', 'gzip'),
    req.get('X-A'),
  ])
})

app.get('/error/sync', () => {
  throw new Error('sync failure with a secret')
})
app.get('/error/async', async () => {
  await shared.pause(1)
  throw new Error('async failure with a secret')
})
app.get('/error/status', () => {
  throw Object.assign(new Error('teapot'), { status: 418, expose: true, headers: { 'X-Pot': 'tea' } })
})
app.get('/error/after-head', async (_req, res) => {
  res.type('text/plain').write('begun')
  await shared.pause(30)
  throw new Error('late')
})
app.get('/error/stream', (_req, res) => void pipeline(shared.stream(shared.failing()), res, () => {}))
app.get('/error/odd', () => {
  throw 'a string'
})
app.get('/error/handled', (_req, _res, next) => next(new Error('handled')))
app.get('/hang', (req, res) => {
  const key = String(req.query['key'])
  res.on('close', () => shared.note(key, 'gone'))
  shared.note(key, 'begun')
})

const router = express.Router({ mergeParams: true })
router.use((_req, res, next) => {
  res.set('X-Router', 'yes')
  next()
})
router.get('/item/:item', (req, res) => void res.json({ params: req.params, base: req.baseUrl, url: req.url }))
router.param('checked', (_req, _res, next, value) => next(value === 'good' ? undefined : 'route'))
router.get('/param/:checked', (_req, res) => void res.send('checked'))
router.get('/skip', (_req, _res, next) => next('router'))
app.use('/shop/:shop', router)

app.use((error: Error, req: Request, res: Response, next: NextFunction) => {
  if (req.path === '/error/handled') res.status(502).json({ message: error.message })
  else next(error)
})

const trusting: Express = express()
trusting.set('trust proxy', 'loopback')
trusting.get('/facts', (req, res) => void res.json({ ip: req.ip, protocol: req.protocol, host: req.hostname }))
app.use('/trusting', trusting)

/** With WebSockets: a server for node:http, which a container serves without its listen(). */
export const server: Server = createServer(app)
attachWebSockets(server)

export default app
