/**
 * WebSockets that log how each was closed, and event streams. At SIGTERM the application ends the streams, and the
 * sockets at /own.
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
  // Content-Length announces a hundred bytes, and three are sent.
  if (path === '/unfinished') request.socket.write(Buffer.of(0x82, 100, 1, 2, 3))
  else socket.send('hello')
})
server.listen(3000)
