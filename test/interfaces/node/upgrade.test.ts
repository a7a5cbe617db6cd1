/** `onUpgrade` with the real exchange: raw responses, and a real `ws` server. */

import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type FromNodeOptions, fromNode } from '../../../interfaces/node/from-node.ts'
import { AbortError, HttpError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { type Run, run } from '../../support/exchange.ts'
import { until } from '../../support/until.ts'

type Upgraded = (req: IncomingMessage, socket: Duplex, head: Buffer) => unknown

function serve(onUpgrade: Upgraded): Run {
  return run(lint(fromNode((_req, res) => res.writeHead(418).end(), { onUpgrade })), {
    upgrade: true,
    headers: ['Host', 'x', 'Connection', 'Upgrade', 'Upgrade', 'echo'],
  })
}

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n'

describe('fromNode: upgrades', () => {
  it('send a raw 101 as the response, and connect the socket to the client', async () => {
    let request: IncomingMessage | undefined
    const { sink, whenSettled } = serve((req, socket, head) => {
      request = req
      assert.equal(head.length, 0)
      socket.write(`${SWITCH}hello `)
      socket.pipe(socket)
    })
    assert.equal(request!.headers.upgrade, 'echo')
    assert.equal(request!.headers.connection, 'Upgrade')
    assert.equal(sink.status, '101 Switching Protocols')
    assert.deepEqual(sink.headers, [
      ['Upgrade', 'echo'],
      ['Connection', 'Upgrade'],
      ['X-A', '1'],
    ])
    const got = text(sink.peer!)
    sink.peer!.end('there')
    assert.equal(await got, 'hello there')
    await whenSettled
  })

  it('apply backpressure both ways', async () => {
    const chunk = Buffer.alloc(16 * 1024)
    let socket: Duplex | undefined
    const { sink } = serve((_req, given) => {
      socket = given
      given.write(SWITCH)
    })
    let sent = 0
    while (socket!.write(chunk)) sent++
    for (let i = 0; i < 10; i++) await turn()
    assert.ok(sent * chunk.length <= 256 * 1024)
    let received = 0
    while (sink.peer!.write(chunk)) received++
    for (let i = 0; i < 10; i++) await turn()
    assert.ok(received * chunk.length <= 256 * 1024)
    const drained = Promise.withResolvers<void>()
    socket!.once('drain', drained.resolve)
    sink.peer!.resume()
    await drained.promise
    sink.peer!.destroy()
  })

  it('send every write made before the listener destroys its socket', async () => {
    const { sink, whenSettled } = serve((_req, socket) => {
      socket.write(SWITCH)
      for (const part of ['one ', 'two ', 'three']) socket.write(part)
      socket.destroy()
    })
    const got = text(sink.peer!)
    sink.peer!.end()
    assert.equal(await got, 'one two three')
    await whenSettled
  })

  it('send earlier writes to a client that ends meanwhile', async () => {
    const { sink, whenSettled } = serve((_req, socket) => {
      socket.write(SWITCH)
      socket.cork()
      for (let at = 0; at < 16; at++) socket.write(Buffer.alloc(64 * 1024, 'x'))
      socket.uncork()
      socket.destroy()
    })
    for (let at = 0; at < 10; at++) await turn()
    sink.peer!.end()
    for (let at = 0; at < 10; at++) await turn()
    assert.equal((await text(sink.peer!)).length, 1024 * 1024)
    await whenSettled
  })

  it('close as soon as the client does after the listener has destroyed its socket, whatever the client sends meanwhile', async () => {
    const { sink, settled } = serve((_req, socket) => {
      socket.write(SWITCH)
      socket.destroy()
    })
    const { peer } = sink
    peer!.resume()
    for (let i = 0; i < 64; i++) peer!.write(Buffer.alloc(16 * 1024))
    peer!.end()
    // The clock is stopped, so no timeout expires.
    for (let i = 0; i < 1_000 && settled() === 0; i++) await turn()
    assert.equal(settled(), 1)
  })

  it('let a slow listener read the bytes that arrived before the client closed', async () => {
    let socket: Duplex | undefined
    const { sink, whenSettled } = serve((_req, given) => {
      socket = given
      given.end(SWITCH)
    })
    sink.peer!.resume()
    sink.peer!.end('the last words')
    await whenSettled
    for (let i = 0; i < 10; i++) await turn()
    assert.equal(await text(socket!), 'the last words')
  })

  it("emit 'end' to a listener that does not read", async () => {
    let closed = false
    const { sink, whenSettled } = serve((_req, socket) => {
      socket.on('close', () => (closed = true))
      socket.end(SWITCH)
    })
    sink.peer!.resume()
    sink.peer!.end()
    await whenSettled
    await until(() => closed)
  })

  it('count all written bytes', async () => {
    let socket: Socket | undefined
    const { sink } = serve((_req, given) => {
      socket = given as Socket
      given.write(SWITCH)
      given.cork()
      given.write('one')
      given.write('two')
      given.uncork()
    })
    for (let i = 0; i < 3; i++) await turn()
    assert.equal(socket!.bytesWritten, SWITCH.length + 6)
    sink.peer!.destroy()
  })

  it('send any other raw response like an ordinary one', async () => {
    const { sink, whenSettled } = serve((_req, socket) => {
      socket.once('finish', () => socket.destroy())
      socket.end(
        'HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nbad',
      )
    })
    await whenSettled
    assert.deepEqual(sink.headers, [
      ['Content-Type', 'text/html'],
      ['Content-Length', '3'],
    ])
    assert.equal(sink.status, '400 Bad Request')
    assert.equal(sink.body, 'bad')
    assert.equal(sink.ended, true)
  })

  it('truncate a response that its writer truncates', async () => {
    const { sink, whenSettled } = serve(async (_req, socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
      await turn()
      socket.end()
    })
    await whenSettled
    assert.equal(sink.body, 'abc')
    assert.equal(sink.ended, false)
    assert.ok(sink.aborted)
  })

  it('answer 500 if the socket is destroyed, or its bytes are not HTTP', async () => {
    for (const act of [
      (socket: Duplex) => void socket.destroy(),
      (socket: Duplex) => void socket.write('hello\r\n\r\n'),
      (socket: Duplex) => void socket.end(),
    ]) {
      const { sink, whenSettled } = serve((_req, socket) => act(socket))
      await whenSettled
      assert.equal(sink.status, '500 Internal Server Error')
    }
  })

  it('answer with the status of an HttpError that destroys the socket', async () => {
    const { sink, whenSettled } = serve(
      (_req, socket) => void socket.destroy(new HttpError(502, 'BAD_GATEWAY', 'the upstream is gone')),
    )
    await whenSettled
    assert.equal(sink.status, '502 Bad Gateway')
  })

  it('close the socket when the client disconnects, before and after the response', async () => {
    for (const answer of ['', SWITCH]) {
      let closed = false
      const { exchange, whenSettled } = serve((_req, socket) => {
        socket.on('close', () => (closed = true))
        if (answer !== '') socket.write(answer)
      })
      // As the gateway does; after a 101 the exchange then destroys the connection.
      exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
      await until(() => closed)
      await whenSettled
    }
  })

  it('go to the listener if there is no onUpgrade, or shouldUpgrade refuses the request', async () => {
    const declined: FromNodeOptions = { onUpgrade: () => assert.fail(), shouldUpgrade: () => false }
    for (const options of [{}, declined]) {
      const { sink, whenSettled } = run(lint(fromNode((_req, res) => res.writeHead(204).end(), options)), {
        upgrade: true,
        headers: ['Host', 'x', 'Connection', 'Upgrade', 'Upgrade', 'echo'],
      })
      await whenSettled
      assert.equal(sink.status, '204 No Content')
    }
  })
})
