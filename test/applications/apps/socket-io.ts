/** Socket.IO, by polling and by WebSocket, with the pattern that finds the server through a response's socket. */

import { type EventEmitter, once as onceOf } from 'node:events'
import { io, type Socket } from 'socket.io-client'
import { within } from '../../frameworks/arrangement.ts'
import type { Server } from '../server.ts'
import { type Case, one, type TestedApplication } from '../shape.ts'

/** The types lack members that the objects have. */
function once(socket: Socket, event: string): Promise<unknown[]> {
  return onceOf(socket as unknown as EventEmitter, event)
}

type Transport = 'polling' | 'websocket'

/** A client, and its upgrade of the transport if it makes one. */
async function connected(server: Server, transports: readonly Transport[]): Promise<[Socket, Promise<unknown>]> {
  const options = { transports: [...transports], forceNew: true, reconnection: false, autoConnect: false }
  const socket = io(server.origin, options)
  const upgraded = Promise.withResolvers<void>()
  if (transports.length === 1) upgraded.resolve()
  socket.io.once('open', () => socket.io.engine.once('upgrade', () => upgraded.resolve()))
  const connects = once(socket, 'connect')
  socket.connect()
  await within(connects, 'connect')
  return [socket, within(upgraded.promise, 'upgrade')]
}

function talk(transports: readonly Transport[]): Case {
  return {
    title: `A client talks by ${transports.join(' and ')}`,
    async run(server) {
      const clients = await Promise.all([connected(server, transports), connected(server, transports)])
      const [[socket, upgraded], [other, also]] = clients as [(typeof clients)[0], (typeof clients)[0]]
      try {
        const heard = once(other, 'said')
        const back = (await within(socket.emitWithAck('say', 'hello', Buffer.from('bytes')), 'ack')) as unknown
        const [said] = (await within(heard, 'broadcast')) as [string]
        await Promise.all([upgraded, also])
        const ended = once(socket, 'disconnect')
        socket.emit('kick')
        const [reason] = (await within(ended, 'disconnect')) as [string]
        return { back, said, transport: transports.length > 1 ? 'websocket' : transports[0], reason }
      } finally {
        socket.disconnect()
        other.disconnect()
      }
    },
    sees: {
      back: 'hello 5',
      said: 'hello',
      transport: transports.at(-1),
      reason: 'io server disconnect',
    },
  }
}

export const socketIo: TestedApplication = {
  name: 'Socket.IO',
  packages: { 'socket.io': '4.8.4' },
  files: {
    'app.mjs': `
import { createServer } from 'node:http'
import { Server } from 'socket.io'

const wire = (io) => io.on('connection', (socket) => {
  socket.on('say', (text, bytes, answer) => {
    io.emit('said', text)
    answer(text + ' ' + bytes.length)
  })
  socket.on('kick', () => socket.disconnect(true))
})
const server = createServer((req, res) => {
  // As Next.js pages do: the server is found through the response.
  if (!res.socket.server.io) {
    res.socket.server.io = new Server(res.socket.server, { path: '/later' })
    wire(res.socket.server.io)
  }
  res.end('paths: ' + res.socket.server.io.path())
})
const io = new Server(server)
wire(io)
server.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => io.close(() => process.exit(0)))
`,
  },
  starts: [
    {
      title: 'Socket.IO',
      module: 'app.mjs',
      ready: '/',
      socket: '/socket.io/?EIO=4&transport=websocket',
      cases: [
        one('A server found through a response', 200, '/'),
        one('The client that it serves', 200, '/socket.io/socket.io.js'),
        one('A handshake that is refused', 400, '/socket.io/?EIO=4&transport=nothing'),
        talk(['polling']),
        talk(['websocket']),
        talk(['polling', 'websocket']),
        {
          title: 'A server that was attached by the first request',
          async run(server) {
            const { socket, next } = await server.open('/later/?EIO=4&transport=websocket')
            const first = await next()
            socket.close()
            return first.slice(0, 7)
          },
          sees: '0{"sid"',
        },
      ],
    },
  ],
}
