/**
 * An Express app that also runs on plain Node: a form, a session, an upload, server-sent events and a WebSocket chat.
 */

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import cookieParser from 'cookie-parser'
import express from 'express'
import multer from 'multer'
import { WebSocket, WebSocketServer } from 'ws'

const app = express()
app.use(express.static(new URL('public', import.meta.url).pathname))
// The session is stored in the signed cookie itself, so every process that knows the secret can read it.
app.use(cookieParser(process.env['SESSION_SECRET'] ?? 'only for development'))

interface Session {
  name: string
  logins: number
}

app.post('/login', express.urlencoded(), (req, res) => {
  const session: Session | undefined = req.signedCookies['session']
  const next: Session = { name: String(req.body.name), logins: (session?.logins ?? 0) + 1 }
  res.cookie('session', next, { signed: true, httpOnly: true, sameSite: 'lax' })
  res.redirect(303, '/me')
})

app.get('/me', (req, res) => {
  const session: Session | undefined = req.signedCookies['session']
  if (!session) return void res.status(401).send('Log in first.\n')
  res.type('text').send(`${session.name}, logged in ${session.logins} times\n`)
})

app.post('/upload', multer({ limits: { fileSize: 10 * 1024 * 1024 } }).single('file'), (req, res) => {
  if (!req.file) return void res.status(400).send('A file is missing.\n')
  const { originalname: name, size, buffer } = req.file
  res.json({ name, size, sha256: createHash('sha256').update(buffer).digest('hex') })
})

app.get('/clock', (_req, res) => {
  res.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  const tick = () => res.write(`data: ${new Date().toISOString()}\n\n`)
  tick()
  const timer = setInterval(tick, 1_000)
  res.on('close', () => clearInterval(timer))
})

const server = createServer(app)

const chat = new WebSocketServer({ server, path: '/chat' })
chat.on('connection', (socket) => {
  socket.on('error', console.error)
  socket.on('message', (data) => {
    for (const client of chat.clients) if (client.readyState === WebSocket.OPEN) client.send(data.toString())
  })
})

server.listen(Number(process.env['PORT'] ?? 3000), () => console.log('listening'))

process.once('SIGTERM', () => {
  server.close(() => process.exit())
  for (const client of chat.clients) client.close(1001)
})
