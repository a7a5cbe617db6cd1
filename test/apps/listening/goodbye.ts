/**
 * WebSockets that log how each ended, and event streams. The streams, and the sockets at /own, are ended at SIGTERM.
 */

import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const server = createServer((_req, res) => {
  res.write('event ')
  process.once('SIGTERM', () => res.end('the end'))
})
const sockets = new WebSocketServer({ server })
sockets.on('connection', (socket, request) => {
  const path = request.url ?? ''
  socket.on('close', (code) => console.error(`${path} closed ${code}`))
  if (path === '/own') process.once('SIGTERM', () => socket.close(4001, 'as the application wants'))
  // A hundred bytes are announced, and three come.
  if (path === '/unfinished') request.socket.write(Buffer.of(0x82, 100, 1, 2, 3))
  else socket.send('hello')
})
server.listen(3000)
