/** A Koa app that also runs on plain Node: a form, a session, an upload, server-sent events and a WebSocket chat. */

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { PassThrough } from 'node:stream'
import multer from '@koa/multer'
import Router from '@koa/router'
import Koa from 'koa'
import bodyParser from 'koa-bodyparser'
import session from 'koa-session'
import serveStatic from 'koa-static'
import { WebSocket, WebSocketServer } from 'ws'

const app = new Koa({ keys: [process.env['SESSION_SECRET'] ?? 'only for development'] })
// The session is stored in the signed cookie itself, so every process that knows the secret can read it.
app.use(session({ sameSite: 'lax' }, app))
app.use(serveStatic(new URL('public', import.meta.url).pathname))

const router = new Router()

router.post('/login', bodyParser(), (ctx) => {
  const { name } = ctx.request.body as { name?: string }
  ctx.session!['name'] = String(name)
  ctx.session!['logins'] = (ctx.session!['logins'] ?? 0) + 1
  ctx.status = 303
  ctx.redirect('/me')
})

router.get('/me', (ctx) => {
  if (ctx.session!.isNew) ctx.throw(401, 'Log in first.\n')
  ctx.body = `${ctx.session!['name']}, logged in ${ctx.session!['logins']} times\n`
})

router.post('/upload', multer({ limits: { fileSize: 10 * 1024 * 1024 } }).single('file'), (ctx) => {
  const { file } = ctx
  if (!file) ctx.throw(400, 'A file is missing.\n')
  const { originalname: name, size, buffer } = file
  ctx.body = { name, size, sha256: createHash('sha256').update(buffer).digest('hex') }
})

router.get('/clock', (ctx) => {
  ctx.type = 'text/event-stream'
  ctx.set('Cache-Control', 'no-store')
  const body = new PassThrough()
  const tick = () => body.write(`data: ${new Date().toISOString()}\n\n`)
  tick()
  const timer = setInterval(tick, 1_000)
  body.on('close', () => clearInterval(timer))
  ctx.body = body
})

app.use(router.routes()).use(router.allowedMethods())

const server = createServer(app.callback())

const chat = new WebSocketServer({ server, path: '/chat' })
chat.on('connection', (socket) => {
  socket.on('error', console.error)
  socket.on('message', (data) => {
    for (const client of chat.clients) if (client.readyState === WebSocket.OPEN) client.send(data.toString())
  })
})

export default server

// With `node app.ts` the app listens on its own port.
if (import.meta.main) server.listen(Number(process.env['PORT'] ?? 3000), () => console.log('listening'))

process.once('SIGTERM', () => {
  server.close(() => process.exit())
  for (const client of chat.clients) client.close(1001)
})
