/**
 * What launcher.ts forks: listens on PORT (else on its first argument, else on 3000), answers with the process ids of
 * both, echoes over WebSocket, and crashes on demand. The first argument may be `stubborn` (ignores SIGTERM) or
 * `leaves` (the same), or `elsewhere` (listens on any port).
 */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'

const [mode] = process.argv.slice(2)
const server = createServer((req, res) => {
  if (req.url === '/crash') process.exit(3)
  res.end(JSON.stringify({ child: process.pid, launcher: process.ppid, client: req.headers['x-forwarded-for'] }))
})
const echo = new WebSocketServer({ server })
echo.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)))
const fallback = Number(mode) || 3000
server.listen(mode === 'elsewhere' ? 0 : Number(process.env['PORT'] ?? fallback), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  process.stderr.write(`forked ${process.pid} listens on ${port}\n`)
})

process.on('disconnect', () => {
  // On plain Node a child outlives its parent.
})
if (mode === 'stubborn' || mode === 'leaves') process.on('SIGTERM', () => process.stderr.write('forked got SIGTERM\n'))
process.on('SIGINT', () => {
  process.stderr.write('forked got SIGINT\n')
  process.exit()
})
