import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { Acceptor, UNDECIDED_TIMEOUT } from '../../container/acceptor.ts'
import { TrustedPeers } from '../../protocol/client/peers.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { type Listener, listen } from '../../protocol/net/listen.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

let directory = ''
let path = ''
let listener: Listener
let clock: FakeClock
let log: RecordingLog
let acceptor: Acceptor
let served: { wire: string; peer: string; first: string; socket: Socket }[] = []
let left = 0
let accepted = 0
let sockets: Socket[] = []
let someone: (() => void) | undefined

/** Resolves when `condition` holds; checked after each action of the acceptor. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      someone = resolve
    })
  }
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-door-'))
  path = join(directory, 'socket')
  clock = new FakeClock()
  log = new RecordingLog()
  served = []
  left = 0
  accepted = 0
  sockets = []
  acceptor = new Acceptor({
    rules: { accept: ['http', 'frames'], trustedPeers: new TrustedPeers(['unix']), token: false },
    deadlines: new Deadlines(clock),
    log,
    serve: (wire, socket, peer, first) => {
      served.push({ wire, peer, first: first.toString('latin1'), socket })
      someone?.()
    },
    onEnded: () => {
      left++
      someone?.()
    },
  })
  listener = await listen({ kind: 'unix', path }, { log }, (socket) => {
    acceptor.receive(socket, true)
    accepted++
    sockets.push(socket)
    someone?.()
  })
})

afterEach(() => {
  listener.close()
  for (const { socket } of served) socket.destroy()
  rmSync(directory, { recursive: true })
})

async function knock(bytes?: string): Promise<Socket> {
  const socket = connect({ path, noDelay: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  if (bytes !== undefined) socket.write(Buffer.from(bytes, 'latin1'))
  return socket
}

describe('Acceptor', () => {
  it('accepts a connection whose first bytes were already read', () => {
    const socket = new Socket()
    acceptor.receive(socket, true, Buffer.of(0xc1, 7))
    assert.deepEqual([served[0]!.wire, served[0]!.first, acceptor.waiting], ['frames', '\xc1\x07', 0])
    assert.equal(socket.listenerCount('data'), 0)
  })

  it('closes a connection that its client has reset, and logs nothing', () => {
    const socket = new Socket()
    acceptor.receive(socket, false)
    assert.deepEqual([socket.destroyed, acceptor.waiting, log.messages()], [true, 0, []])
  })

  it('hands over a connection with the bytes that it read', async () => {
    const client = await knock('GET / HTTP/1.1\r\n\r\n')
    await until(() => served.length === 1)
    assert.equal(served[0]!.wire, 'http')
    assert.equal(served[0]!.peer, 'unix:')
    assert.equal(served[0]!.first, 'GET / HTTP/1.1\r\n\r\n')
    assert.equal(acceptor.waiting, 0)
    client.destroy()
  })

  it('waits for as many bytes as it needs, and loses no later ones', async () => {
    const client = await knock('P')
    await until(() => accepted === 1)
    assert.equal(served.length, 0)
    client.write('O')
    await until(() => served.length === 1)
    assert.equal(served[0]!.first, 'PO')
    client.write('ST')
    assert.equal((await once(served[0]!.socket, 'data')).toString(), 'ST')
    client.destroy()
  })

  it('closes refused connections, and logs them once per peer', async () => {
    for (let i = 0; i < 3; i++) await once((await knock('\x00\x00\x00\x00')).resume(), 'close')
    await once((await knock('\x16\x03\x01')).resume(), 'close')
    assert.equal(served.length, 0)
    assert.deepEqual(log.messages('warn'), [
      'a connection was refused: uwsgi is not accepted: --accept http,frames,uwsgi would allow it',
      'a connection was refused: TLS is not served: terminate it in front of this port',
    ])
    assert.equal(left, 4)
  })

  it('closes a connection that does not show its protocol after five seconds and not before', async () => {
    const client = await knock('PR')
    await until(() => accepted === 1)
    const other = await knock('GET / HTTP/1.1\r\n')
    await until(() => served.length === 1)
    clock.advance(UNDECIDED_TIMEOUT - 1)
    assert.equal(acceptor.waiting, 1)
    clock.advance(1_000)
    await once(client.resume(), 'close')
    assert.match(log.messages('warn')[0]!, /did not show which protocol/)
    other.destroy()
  })

  it('logs no warning about a peer that sends nothing', async () => {
    const client = await knock()
    await until(() => accepted === 1)
    clock.advance(UNDECIDED_TIMEOUT + 1_000)
    await once(client.resume(), 'close')
    assert.deepEqual(log.messages('warn'), [])
  })

  it('forgets a connection that closes before its protocol is known', async () => {
    const client = await knock('P')
    await until(() => accepted === 1)
    assert.equal(acceptor.waiting, 1)
    client.end()
    await until(() => left === 1)
    assert.equal(acceptor.waiting, 0)
    assert.equal(clock.pending <= 1, true)
  })

  it('does not close a connection to make room if its first bytes wait in its socket', async () => {
    const client = await knock()
    await until(() => accepted === 1)
    const [connection] = acceptor.pending
    client.write('GET / HTTP/1.1\r\n\r\n')
    assert.equal(connection!.evict(), false)
    await until(() => served.length === 1)
    assert.equal(served[0]!.first, 'GET / HTTP/1.1\r\n\r\n')
    const silent = await knock()
    await until(() => accepted === 2)
    assert.equal([...acceptor.pending][0]!.evict(), true)
    await once(silent.resume(), 'close')
    client.destroy()
  })

  it('keeps silent connections open for a moment when it drains, and serves those that send bytes', async () => {
    const silent = await knock()
    const begun = await knock('P')
    await until(() => accepted === 2)
    while (sockets[1]!.bytesRead === 0) await new Promise((resolve) => setImmediate(resolve))
    const late = await knock()
    await until(() => accepted === 3)
    acceptor.drain(1_000)
    late.write('GET')
    await until(() => served.length === 1)
    assert.equal(served[0]!.first, 'GET')
    clock.advance(1_000)
    await once(silent.resume(), 'close')
    begun.write('UT')
    await until(() => served.length === 2)
    assert.equal(served[1]!.first, 'PUT')
    begun.destroy()
    late.destroy()
  })

  it('remembers a bounded number of refusals', () => {
    // Sockets that send one byte, from as many addresses as a port scan has.
    const visit = (address: string): void => {
      const listeners = new Map<string, (chunk: Buffer) => void>()
      const socket = {
        remoteAddress: address,
        on: (event: string, listener: (chunk: Buffer) => void) => listeners.set(event, listener),
        off: () => {},
        destroy: () => {},
      }
      acceptor.receive(socket as unknown as Socket, false)
      listeners.get('data')!(Buffer.of(0xff))
    }
    const refused = (): number => log.messages('warn').length
    visit('198.51.100.1')
    visit('198.51.100.1')
    assert.equal(refused(), 1)
    for (let i = 0; i < 1_000; i++) visit(`203.0.113.${i}`)
    assert.equal(refused(), 1_001)
    visit('198.51.100.1')
    assert.equal(refused(), 1_002, 'the oldest was not forgotten')
    visit('203.0.113.999')
    assert.equal(refused(), 1_002)
  })
})
