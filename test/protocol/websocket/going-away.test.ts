import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import { GOING_AWAY } from '../../../protocol/websocket/codec/websocket-frames.ts'
import { WebSocketStream } from '../../../protocol/websocket/going-away.ts'

const text = (message: string): Buffer => Buffer.from([0x81, message.length, ...Buffer.from(message)])
const hello = text('hello')
const nextIteration = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Made {
  stream: Duplex
  socket: WebSocketStream
  /** Bytes that have arrived at the other end. */
  arrived(): Promise<Buffer>
  ended(): boolean
}

function made(): Made {
  const [stream, other] = duplexPair()
  const chunks: Buffer[] = []
  let ended = false
  other.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => (ended = true))
  const arrived = async (): Promise<Buffer> => {
    for (let iterations = 0; iterations < 5; iterations++) await nextIteration()
    return Buffer.concat(chunks)
  }
  return { stream, socket: new WebSocketStream(stream), arrived, ended: () => ended }
}

describe('a WebSocket that a drain closes', () => {
  it('gets close code 1001 between two frames, and nothing from the application after it', async () => {
    const { stream, socket, arrived, ended } = made()
    stream.write(hello)
    assert.equal(socket.goAway(), true)
    const called = Promise.withResolvers<void>()
    assert.equal(
      stream.write(hello, () => called.resolve()),
      true,
    )
    await called.promise
    stream.end(text('late'))
    assert.deepEqual(await arrived(), Buffer.concat([hello, GOING_AWAY]))
    // The application may end the connection.
    assert.equal(ended(), true)
  })

  it('gets the close even before the application has sent anything', async () => {
    const { socket, arrived } = made()
    assert.equal(socket.goAway(), true)
    assert.deepEqual(await arrived(), Buffer.from(GOING_AWAY))
  })

  it('gets the close once', async () => {
    const { socket, arrived } = made()
    socket.goAway()
    assert.equal(socket.goAway(), false)
    assert.deepEqual(await arrived(), Buffer.from(GOING_AWAY))
  })

  it('gets the rest of a frame first, and nothing of the next one', async () => {
    const { stream, socket, arrived } = made()
    stream.write(hello.subarray(0, 3))
    assert.equal(socket.goAway(), true)
    assert.deepEqual(await arrived(), hello.subarray(0, 3))
    stream.write(hello.subarray(3, 5))
    stream.write(Buffer.concat([hello.subarray(5), hello]))
    stream.write(hello)
    assert.deepEqual(await arrived(), Buffer.concat([hello, GOING_AWAY]))
  })

  it('gets the close after a frame that ends with the stream', async () => {
    const { stream, socket, arrived, ended } = made()
    stream.write(hello.subarray(0, 3))
    socket.goAway()
    stream.end(hello.subarray(3))
    assert.deepEqual(await arrived(), Buffer.concat([hello, GOING_AWAY]))
    assert.equal(ended(), true)
  })

  it('gets no close if the application has begun or sent a close frame, and may finish', async () => {
    const close = Buffer.of(0x88, 2, 0x0f, 0xa0)
    for (const length of [1, 4]) {
      const { stream, socket, arrived, ended } = made()
      stream.write(close.subarray(0, length))
      assert.deepEqual([socket.goAway(), socket.goAway()], [true, false])
      stream.end(close.subarray(length))
      assert.deepEqual(await arrived(), close)
      assert.equal(ended(), true)
    }
  })

  it('gets no close if the application has ended the stream, and its last bytes have time to arrive', async () => {
    const { stream, socket, arrived, ended } = made()
    stream.end(hello)
    assert.deepEqual([socket.goAway(), socket.goAway()], [true, false])
    assert.deepEqual(await arrived(), hello)
    assert.equal(ended(), true)
  })

  it('does not delay the drain once its stream is destroyed', async () => {
    const { stream, socket, arrived } = made()
    stream.destroy()
    assert.equal(socket.goAway(), false)
    assert.equal((await arrived()).length, 0)
  })

  it('counts strings in their encoding, and all kinds of views', async () => {
    const { stream, socket, arrived } = made()
    stream.write('\x81\x03abc', 'latin1')
    stream.write('8103', 'hex')
    const room = stream.write(new DataView(Uint8Array.from(Buffer.from('def')).buffer) as unknown as Uint8Array)
    assert.equal(room, true)
    assert.equal(socket.goAway(), true)
    assert.deepEqual(await arrived(), Buffer.concat([text('abc'), text('def'), GOING_AWAY]))
  })

  it('rejects chunks that a stream rejects', () => {
    const { stream } = made()
    const plain = duplexPair()[0]
    for (const wrong of [null, 7]) {
      const codes = [stream, plain].map((one) => {
        try {
          one.write(wrong as unknown as string)
        } catch (error) {
          return (error as NodeJS.ErrnoException).code
        }
        return 'taken'
      })
      assert.equal(codes[0], codes[1])
      assert.notEqual(codes[0], 'taken')
    }
  })
})
