/** Making room: which connections may be closed for another client, and what a refused client receives. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import type { Application, Headers } from '../../../protocol/contract/application.ts'
import { OverLimitConnections } from '../../../protocol/http1/over-limit-connections.ts'
import { FakeClock } from '../../support/clock.ts'
import type { HttpClient } from '../../support/http-client.ts'
import { listening } from '../../support/sockets.ts'
import { Serving, until } from './serving.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const hello: Application = (_, start) => {
  start('200 OK', text)
  return [Buffer.from('hello')]
}
const NEVER = Number.POSITIVE_INFINITY

/** A connection, and the gateway's view of it. */
async function meet(serving: Serving): Promise<{ client: HttpClient; connection: Serving['connections'][number] }> {
  const at = serving.connections.length
  const client = await serving.client()
  await until(() => serving.connections.length > at)
  return { client, connection: serving.connections[at]! }
}

describe('a connection', () => {
  it('without any bytes is idle since it was accepted, and can be evicted', async () => {
    const clock = new FakeClock()
    await using serving = await Serving.start(hello, { clock })
    const { connection } = await meet(serving)
    assert.equal(connection.waitingSince, clock.now())
    clock.advance(500)
    assert.equal(connection.waitingSince, clock.now() - 500)
    assert.equal(connection.evict(), true)
    await until(() => serving.closed === 1)
  })

  it('that is idle after a request is idle since its response', async () => {
    const clock = new FakeClock()
    await using serving = await Serving.start(hello, { clock })
    const { client, connection } = await meet(serving)
    clock.advance(500)
    const answer = client.fetch({ target: '/' })
    await until(() => serving.settled === 1 && connection.waitingSince !== NEVER)
    clock.advance(1)
    assert.equal((await answer).body.toString(), 'hello')
    assert.equal(connection.waitingSince, clock.now() - 1)
    assert.equal(connection.evict(), true)
  })

  it('with half a head can be evicted', async () => {
    await using serving = await Serving.start(hello)
    const { client, connection } = await meet(serving)
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n')
    await until(() => serving.sockets[0]!.bytesRead > 0)
    assert.notEqual(connection.waitingSince, NEVER)
    assert.equal(connection.evict(), true)
    await until(() => serving.closed === 1)
  })

  it('whose request runs is not evicted', async () => {
    const gate = Promise.withResolvers<void>()
    await using serving = await Serving.start(async (environ, start) => {
      await gate.promise
      return hello(environ, start)
    })
    const { client, connection } = await meet(serving)
    const answer = client.fetch({ target: '/' })
    await until(() => serving.environs.length === 1)
    assert.equal(connection.waitingSince, NEVER)
    assert.equal(connection.evict(), false)
    gate.resolve()
    assert.equal((await answer).body.toString(), 'hello')
  })

  it('whose request waits in its socket after the event loop was blocked is not evicted', async () => {
    const clock = new FakeClock()
    await using serving = await Serving.start(hello, { clock })
    const { client, connection } = await meet(serving)
    assert.equal((await client.fetch({ target: '/first' })).body.toString(), 'hello')
    clock.advance(60_000)
    // The kernel has the request before this returns, and the event loop reads it only after this test waits.
    const answer = client.fetch({ target: '/second' })
    assert.equal(serving.environs.length, 1)
    assert.equal(connection.evict(), false)
    assert.equal((await answer).body.toString(), 'hello')
    await until(() => connection.waitingSince !== NEVER)
    assert.equal(connection.evict(), true)
  })

  it('whose request waits in its socket in several pieces gets all of them, in order', async () => {
    const bodies: string[] = []
    await using serving = await Serving.start(async (environ, start) => {
      bodies.push(String(Buffer.from(await environ['wsgi.input'].read())))
      return hello(environ, start)
    })
    const { client, connection } = await meet(serving)
    const body = Array.from({ length: 40_000 }, (_, index) => `${index},`).join('')
    client.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    assert.equal(connection.evict(), false)
    await once(client.socket, 'data')
    assert.deepEqual(bodies, [body])
  })

  it('whose client has closed its side is evicted', async () => {
    await using serving = await Serving.start(hello, { halfClose: 'serve' })
    const { client, connection } = await meet(serving)
    client.socket.end()
    assert.equal(connection.evict(), true)
  })

  it('whose client has not accepted all of its response is not evicted', async () => {
    const size = 16 * 1024 * 1024
    await using serving = await Serving.start((_, start) => {
      start('200 OK', [...text, ['Content-Length', String(size)]])
      return [Buffer.alloc(size)]
    })
    const { client, connection } = await meet(serving)
    client.socket.pause()
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(() => serving.settled === 1)
    assert.equal(connection.waitingSince, NEVER)
    assert.equal(connection.evict(), false)
  })

  it('that was upgraded is not evicted', async () => {
    await using serving = await Serving.start((environ, start) => {
      start('101 Switching Protocols', [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'test'],
      ])
      environ.gantry.upgrade()
      return []
    })
    const { client, connection } = await meet(serving)
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n')
    await once(client.socket, 'readable')
    assert.equal(connection.waitingSince, NEVER)
    assert.equal(connection.evict(), false)
  })
})

describe('a refusal', () => {
  async function refusing(most: number, body: (clock: FakeClock, meet: () => Promise<Socket>) => Promise<void>) {
    const clock = new FakeClock()
    const refusals = new OverLimitConnections(clock, most)
    const server = await listening(createServer({ allowHalfOpen: true }, (socket) => refusals.refuse(socket)))
    const sockets: Socket[] = []
    await body(clock, async () => {
      const socket = connect({ host: '127.0.0.1', port: server.address.port, allowHalfOpen: true })
      sockets.push(socket.on('error', () => {}))
      await once(socket, 'connect')
      return socket
    })
    for (const socket of sockets) socket.destroy()
    await server.stop()
  }

  it('is a complete response, also for a client that sends much before it reads', () =>
    refusing(10, async (_, meet) => {
      const socket = await meet()
      let came = ''
      socket.setEncoding('latin1').on('data', (chunk: string) => (came += chunk))
      socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`)
      await once(socket, 'end')
      assert.match(came, /^HTTP\/1\.1 503 Service Unavailable\r\n/)
      assert.match(came, /\r\nRetry-After: 1\r\n/)
      assert.match(came, /\r\nConnection: close\r\n\r\n503 Service Unavailable\n$/)
    }))

  it('is sent to each of many clients; the oldest are closed, and the others after a limited time', () =>
    refusing(2, async (clock, meet) => {
      const answered = async (socket: Socket): Promise<boolean> => {
        let length = 0
        socket.on('data', (chunk) => (length += chunk.length))
        await once(socket, 'end')
        return length > 0
      }
      const [one, two] = [await meet(), await meet()]
      assert.deepEqual(await Promise.all([one, two].map(answered)), [true, true])
      const three = await meet()
      assert.equal(await answered(three), true)
      const closed = [one, two, three].map((socket) => once(socket, 'close'))
      one.end('x')
      await closed[0]
      // The clients have not closed their side.
      clock.advance(1_000)
      for (const socket of [two, three]) socket.end('x')
      await Promise.all(closed)
      assert.equal(await answered(await meet()), true)
    }))

  /** A connection that records what the gateway does with it, in order. */
  class Recorded extends Duplex {
    readonly done: string[] = []

    override _read(): void {}

    override _write(chunk: Buffer, _: BufferEncoding, callback: () => void): void {
      this.done.push(chunk.toString('latin1').split('\r\n', 1)[0]!)
      callback()
    }

    override _destroy(_: Error | null, callback: () => void): void {
      this.done.push('closed')
      callback()
    }
  }

  function recording(most: number, count: number, undecided: boolean) {
    const clock = new FakeClock()
    const refusals = new OverLimitConnections(clock, most)
    let mostOpen = 0
    const sockets = Array.from({ length: count }, () => new Recorded())
    const taken: [at: number, first: Buffer][] = []
    for (const [index, socket] of sockets.entries()) {
      const onFrames = (first: Buffer): unknown => taken.push([index, first])
      refusals.refuse(socket as unknown as Socket, undecided ? onFrames : undefined)
      mostOpen = Math.max(mostOpen, sockets.slice(0, index + 1).filter(({ destroyed }) => !destroyed).length)
    }
    return { clock, refusals, sockets, mostOpen, taken }
  }
  const ANSWER = 'HTTP/1.1 503 Service Unavailable'

  for (const undecided of [false, true]) {
    const which = undecided ? 'silent' : 'new'
    it(`is written before any of many ${which} connections in one event-loop iteration is closed`, () => {
      const { clock, sockets, mostOpen } = recording(3, 10, undecided)
      assert.equal(mostOpen, 3)
      for (const socket of sockets.slice(0, 7)) assert.deepEqual(socket.done, [ANSWER, 'closed'])
      for (const socket of sockets.slice(7)) assert.deepEqual(socket.done, undecided ? [] : [ANSWER])
      clock.advance(1_000)
      for (const socket of sockets) assert.deepEqual(socket.done, [ANSWER, 'closed'])
      assert.equal(clock.pending, 0)
    })
  }

  it('of a connection without bytes waits for them: a peer that speaks frames gets no response, and is handed over', async () => {
    const { clock, refusals, sockets, taken } = recording(3, 3, true)
    const [http, frames, uwsgi] = sockets as [Recorded, Recorded, Recorded]
    http.push('GET / HTTP/1.1\r\n')
    frames.push(Buffer.of(0xc1, 1, 2))
    uwsgi.push(Buffer.of(0, 1, 2))
    await until(() => http.done.length > 0 && uwsgi.done.length > 0 && taken.length > 0)
    assert.deepEqual(taken, [[1, Buffer.of(0xc1, 1, 2)]])
    clock.advance(1_000)
    refusals.abort()
    assert.deepEqual(
      sockets.map(({ done }) => done),
      [[ANSWER, 'closed'], [], [ANSWER, 'closed']],
    )
    assert.equal(clock.pending, 0)
  })
})
