/** WebSockets, of `ws` and of socket.io. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { io, type Socket } from 'socket.io-client'
import WebSocket from 'ws'
import type { Case, Peer } from '../shape.ts'

const plain = randomBytes(100_000)
let keys = 0

interface Opened {
  readonly socket: WebSocket
  /** The next message. */
  next(): Promise<string>
  closed: Promise<[code: number, reason: string]>
}

async function open(
  peer: Peer,
  target: string,
  options: WebSocket.ClientOptions = {},
  protocols: string[] = [],
): Promise<Opened> {
  const socket = new WebSocket(`ws://127.0.0.1:${peer.port}${target}`, protocols, {
    perMessageDeflate: false,
    ...options,
  })
  const messages: string[] = []
  const waiting: ((message: string) => void)[] = []
  socket.on('message', (data, binary) => {
    const message = `${binary ? 'binary' : 'text'} ${(data as Buffer).toString('latin1')}`
    const waiter = waiting.shift()
    if (waiter) waiter(message)
    else messages.push(message)
  })
  const closed = once(socket, 'close').then(([code, reason]): [number, string] => [code as number, String(reason)])
  await once(socket, 'open')
  return {
    socket,
    closed,
    next: async () => messages.shift() ?? (await new Promise<string>((resolve) => waiting.push(resolve))),
  }
}

function ws(title: string, run: (peer: Peer, key: string) => Promise<unknown>, sees?: unknown): Case {
  const key = `ws-${++keys}`
  return { title: `A WebSocket ${title}`, run: (peer) => run(peer, key), ...(sees === undefined ? {} : { sees }) }
}

async function echoed(peer: Peer, message: string | Buffer, options: WebSocket.ClientOptions = {}): Promise<string> {
  const { socket, next, closed } = await open(peer, '/ws', options)
  socket.send(message)
  const back = await next()
  socket.close()
  await closed
  return back
}

const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' }

export const webSocketCases: readonly Case[] = [
  ws('echoes text', (peer) => echoed(peer, 'hello é'), `text ${Buffer.from('hello é').toString('latin1')}`),
  ws('echoes bytes', (peer) => echoed(peer, Buffer.from([0, 255])), 'binary \x00\xff'),
  ws('echoes 100 KB', async (peer) => (await echoed(peer, plain)) === `binary ${plain.toString('latin1')}`, true),
  ws('echoes nothing', (peer) => echoed(peer, ''), 'text '),
  ws('compresses', (peer) => echoed(peer, 'x'.repeat(5000), { perMessageDeflate: true }), `text ${'x'.repeat(5000)}`),
  ws('echoes one hundred messages in order', async (peer) => {
    const { socket, next, closed } = await open(peer, '/ws')
    for (let at = 0; at < 100; at++) socket.send(`${at}`)
    const back: string[] = []
    for (let at = 0; at < 100; at++) back.push(await next())
    socket.close()
    await closed
    return back
  }),
  ws('gets what was sent at once', async (peer) => {
    const { socket, next, closed } = await open(peer, '/ws/many')
    const got: string[] = []
    for (let at = 0; at < 200; at++) got.push(await next())
    socket.close()
    await closed
    return got
  }),
  ws(
    'in fragments',
    async (peer) => {
      const { socket, next, closed } = await open(peer, '/ws')
      socket.send('one ', { fin: false })
      socket.send('two', { fin: true })
      const back = await next()
      socket.close()
      await closed
      return back
    },
    'text one two',
  ),
  ws(
    'is closed by the client with a code and a reason',
    async (peer, key) => {
      const { socket, closed } = await open(peer, `/ws?key=${key}`)
      socket.close(4000, 'bye')
      return [await closed, await peer.noted(key, 1)]
    },
    [[4000, 'bye'], ['close 4000 bye']],
  ),
  ws('is closed by the server with a code and a reason', async (peer) => (await open(peer, '/ws/close')).closed, [
    4001,
    'enough',
  ]),
  ws('is terminated by the server', async (peer) => (await open(peer, '/ws/terminate')).closed, [1006, '']),
  ws(
    'is terminated by the client',
    async (peer, key) => {
      const { socket } = await open(peer, `/ws?key=${key}`)
      socket.terminate()
      return await peer.noted(key, 1)
    },
    ['close 1006 '],
  ),
  ws(
    'pings and pongs',
    async (peer) => {
      const { socket, next, closed } = await open(peer, '/ws/ping')
      const back = await next()
      const pong = once(socket, 'pong')
      socket.ping('mine')
      const [data] = await pong
      socket.close()
      await closed
      return [back, String(data)]
    },
    ['text pong are you there', 'mine'],
  ),
  ws(
    'agrees on a protocol',
    async (peer) => {
      const { socket, closed } = await open(peer, '/ws', {}, ['other', 'chat'])
      socket.close()
      await closed
      return socket.protocol
    },
    'chat',
  ),
  ws('sees its request', async (peer) => {
    const { socket, next, closed } = await open(peer, '/ws/facts?a=b', { headers: { Cookie: 'a=1' } })
    const facts = await next()
    socket.close()
    await closed
    return facts
  }),
  ws('with too large a frame is refused', async (peer, key) => {
    const { socket, closed } = await open(peer, `/ws?key=${key}`)
    const raw = (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket
    raw.write(Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]))
    const [code] = await closed
    return code
  }),
  ws(
    'is refused with an answer',
    async (peer) => {
      const { status, body } = await peer.fetch({
        target: '/ws/refused',
        headers: Object.entries({ ...upgrade, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }),
      })
      return [status, body.toString()]
    },
    [401, 'who a you'],
  ),
  ws('has the head that its key asks for', async (peer) => {
    const client = await peer.connect()
    const sent = client.request({
      target: '/ws',
      headers: Object.entries({ ...upgrade, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }),
    })
    const { status, reason, headers } = await sent.head()
    const kept = headers.filter(([name]) => !/^(date|server)$/i.test(name)).map((field) => field.join(': '))
    return [status, reason, kept.toSorted()]
  }),
  ws(
    'that is none is refused by the server',
    async (peer) => {
      const { status } = await peer.fetch({
        target: '/ws',
        headers: Object.entries({ ...upgrade, 'Sec-WebSocket-Key': 'bad' }),
      })
      return status
    },
    400,
  ),
]

async function connected(peer: Peer, transports: string[], path = '/'): Promise<Socket> {
  const socket = io(`http://127.0.0.1:${peer.port}${path}`, {
    transports,
    reconnection: false,
    forceNew: true,
    query: { q: 'v' },
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('connect_error', reject)
  })
  return socket
}

function sio(
  title: string,
  transports: string[],
  run: (socket: Socket, peer: Peer) => Promise<unknown>,
  path?: string,
): Case {
  return {
    title: `socket.io ${title}`,
    async run(peer) {
      const socket = await connected(peer, transports, path)
      try {
        return await run(socket, peer)
      } finally {
        socket.close()
      }
    },
  }
}

const echo = (socket: Socket): Promise<unknown> => socket.emitWithAck('echo', { a: [1, 'é'], b: Buffer.from([1, 2]) })

export const socketIoCases: readonly Case[] = [
  sio('over polling', ['polling'], echo),
  sio('over a WebSocket', ['websocket'], echo),
  sio('over polling, then upgraded', ['polling', 'websocket'], async (socket) => {
    const { engine } = socket.io
    if (engine.transport.name !== 'websocket') await new Promise((resolve) => engine.once('upgrade', resolve))
    return [await echo(socket), engine.transport.name]
  }),
  sio('knows its client', ['websocket'], (socket) => socket.emitWithAck('facts')),
  sio('tells a room', ['websocket'], async (socket, peer) => {
    const other = await connected(peer, ['polling'])
    try {
      await socket.emitWithAck('join', 'room')
      await other.emitWithAck('join', 'room')
      const told = Promise.all([socket, other].map((one) => new Promise((resolve) => one.once('told', resolve))))
      other.emit('tell', 'room', 'news')
      return await told
    } finally {
      other.close()
    }
  }),
  sio('is disconnected by the server', ['websocket'], async (socket) => {
    const gone = new Promise((resolve) => socket.once('disconnect', resolve))
    socket.emit('leave')
    return await gone
  }),
  sio('carries 200 KB', ['websocket'], async (socket) => {
    const answer = (await socket.emitWithAck('echo', plain)) as Buffer
    return plain.equals(answer)
  }),
]
