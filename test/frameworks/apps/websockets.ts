/** WebSocket servers that attach to a node server, as `ws` and socket.io do. */

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { Server as SocketServer } from 'socket.io'
import { WebSocketServer } from 'ws'
import { note } from './shared.ts'

/** `ws` below /ws, and socket.io. */
export function attachWebSockets(server: Server): void {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: { threshold: 100 },
    handleProtocols: (protocols) => (protocols.has('chat') ? 'chat' : false),
  })
  sockets.on('headers', (headers) => headers.push('X-Handshake: yes'))
  sockets.on('connection', (socket, request) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x')
    const key = searchParams.get('key') ?? ''
    socket.on('error', (error) => note(key, `error ${error.message}`))
    socket.on('close', (code, reason) => note(key, `close ${code} ${reason}`))
    if (pathname === '/ws/facts') {
      const { method, url, httpVersion, headers } = request
      socket.send(JSON.stringify({ method, url, httpVersion, upgrade: headers.upgrade, cookie: headers.cookie }))
    }
    if (pathname === '/ws/close') socket.close(4001, 'enough')
    if (pathname === '/ws/terminate') socket.terminate()
    if (pathname === '/ws/ping') {
      socket.on('pong', (data) => socket.send(`pong ${data}`))
      socket.ping('are you there')
    }
    if (pathname === '/ws/many') for (let at = 0; at < 200; at++) socket.send(`message ${at}`)
    socket.on('message', (data, binary) => socket.send(data as Buffer, { binary }))
  })
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = req.url ?? ''
    if (path.startsWith('/socket.io')) return
    if (path.startsWith('/ws/refused')) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\nConnection: close\r\n\r\nwho a you')
      return
    }
    if (!path.startsWith('/ws')) return void socket.destroy()
    sockets.handleUpgrade(req, socket, head, (client) => sockets.emit('connection', client, req))
  })
  attachSocketIo(server)
}

function attachSocketIo(server: Server): void {
  const io = new SocketServer(server, { pingInterval: 20_000 })
  io.on('connection', (socket) => {
    socket.on('echo', (value: unknown, answer: (value: unknown) => void) => answer(value))
    socket.on('join', (room: string, answer: () => void) => {
      void socket.join(room)
      answer()
    })
    socket.on('tell', (room: string, value: unknown) => io.to(room).emit('told', value))
    socket.on('leave', () => socket.disconnect(true))
    socket.on('facts', (answer: (value: unknown) => void) => {
      answer({
        transport: socket.conn.transport.name,
        address: socket.handshake.address,
        query: socket.handshake.query['q'],
      })
    })
  })
  io.of('/other').on('connection', (socket) => void socket.emit('welcome', socket.nsp.name))
}
