/** A Hono app that also runs on plain Node: a form, a session, an upload, server-sent events and a WebSocket chat. */

import { createHash } from 'node:crypto'
import { serve, upgradeWebSocket } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { type Context, Hono } from 'hono'
import { getSignedCookie, setSignedCookie } from 'hono/cookie'
import { streamSSE } from 'hono/streaming'
import { WebSocketServer } from 'ws'

const app = new Hono()
// The session is stored in the signed cookie itself, so every process that knows the secret can read it.
const secret = process.env['SESSION_SECRET'] ?? 'only for development'

interface Session {
  name: string
  logins: number
}

async function readSession(c: Context): Promise<Session | undefined> {
  const value = await getSignedCookie(c, secret, 'session')
  return value ? JSON.parse(value) : undefined
}

app.post('/login', async (c) => {
  const { name } = await c.req.parseBody()
  const next: Session = { name: String(name), logins: ((await readSession(c))?.logins ?? 0) + 1 }
  await setSignedCookie(c, 'session', JSON.stringify(next), secret, { httpOnly: true, sameSite: 'lax', path: '/' })
  return c.redirect('/me', 303)
})

app.get('/me', async (c) => {
  const session = await readSession(c)
  if (!session) return c.text('Log in first.\n', 401)
  return c.text(`${session.name}, logged in ${session.logins} times\n`)
})

app.post('/upload', async (c) => {
  const { file } = await c.req.parseBody()
  if (!(file instanceof File)) return c.text('A file is missing.\n', 400)
  const bytes = new Uint8Array(await file.arrayBuffer())
  return c.json({ name: file.name, size: file.size, sha256: createHash('sha256').update(bytes).digest('hex') })
})

app.get('/clock', (c) =>
  streamSSE(c, async (stream) => {
    while (!stream.aborted) {
      await stream.writeSSE({ data: new Date().toISOString() })
      await stream.sleep(1_000)
    }
  }),
)

const chat = new WebSocketServer({ noServer: true })
app.get(
  '/chat',
  upgradeWebSocket(() => ({
    onMessage({ data }) {
      for (const client of chat.clients) if (client.readyState === client.OPEN) client.send(String(data))
    },
  })),
)

app.get('/', serveStatic({ path: new URL('public/index.html', import.meta.url).pathname }))

const server = serve({ fetch: app.fetch, port: Number(process.env['PORT'] ?? 3000), websocket: { server: chat } }, () =>
  console.log('listening'),
)

process.once('SIGTERM', () => {
  server.close(() => process.exit())
  for (const client of chat.clients) client.close(1001)
})
