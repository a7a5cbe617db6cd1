/**
 * A Fastify app that also runs on plain Node: a form, a session, an upload, server-sent events and a WebSocket chat.
 */

import { createHash } from 'node:crypto'
import { PassThrough } from 'node:stream'
import cookie from '@fastify/cookie'
import formbody from '@fastify/formbody'
import multipart from '@fastify/multipart'
import serveStatic from '@fastify/static'
import websocket from '@fastify/websocket'
import fastify from 'fastify'
import { WebSocket } from 'ws'

const app = fastify()
// The session is stored in the signed cookie itself, so every process that knows the secret can read it.
await app.register(cookie, { secret: process.env['SESSION_SECRET'] ?? 'only for development' })
await app.register(formbody)
await app.register(multipart, { limits: { fileSize: 10 * 1024 * 1024 } })
await app.register(serveStatic, { root: new URL('public', import.meta.url).pathname })
await app.register(websocket)

interface Session {
  name: string
  logins: number
}

function readSession(request: fastify.FastifyRequest): Session | undefined {
  const { valid, value } = request.unsignCookie(request.cookies['session'] ?? '')
  return valid ? JSON.parse(value) : undefined
}

app.post<{ Body: { name?: string } }>('/login', (request, reply) => {
  const next: Session = { name: String(request.body.name), logins: (readSession(request)?.logins ?? 0) + 1 }
  reply.setCookie('session', JSON.stringify(next), { signed: true, httpOnly: true, sameSite: 'lax', path: '/' })
  reply.redirect('/me', 303)
})

app.get('/me', (request, reply) => {
  const session = readSession(request)
  if (!session) return reply.code(401).send('Log in first.\n')
  return reply.send(`${session.name}, logged in ${session.logins} times\n`)
})

app.post('/upload', async (request, reply) => {
  const part = await request.file()
  if (!part) return reply.code(400).send('A file is missing.\n')
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of part.file) {
    hash.update(chunk)
    size += chunk.length
  }
  return { name: part.filename, size, sha256: hash.digest('hex') }
})

app.get('/clock', (_request, reply) => {
  const body = new PassThrough()
  const tick = () => body.write(`data: ${new Date().toISOString()}\n\n`)
  tick()
  const timer = setInterval(tick, 1_000)
  body.on('close', () => clearInterval(timer))
  return reply.type('text/event-stream').header('Cache-Control', 'no-store').send(body)
})

app.get('/chat', { websocket: true }, (socket) => {
  socket.on('error', console.error)
  socket.on('message', (data: Buffer) => {
    for (const client of app.websocketServer.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data.toString())
    }
  })
})

export default app

// With `node app.ts` the app listens on its own port.
if (import.meta.main) {
  await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '0.0.0.0' })
  console.log('listening')
  process.once('SIGTERM', () => void app.close())
}
