import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SocketOutput } from '../../../protocol/net/socket-output.ts'

/** A stream whose reader takes the written bytes when the test says so. */
class Sluggish extends Duplex {
  readonly writes: Buffer[] = []
  #pending: (() => void) | undefined
  eager = false
  ended = false

  constructor(highWaterMark = 65_536) {
    super({ highWaterMark, decodeStrings: false, emitClose: false })
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: () => void): void {
    this.writes.push(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk))
    if (this.eager) callback()
    else this.#pending = callback
  }

  override _final(callback: () => void): void {
    this.ended = true
    callback()
  }

  override _read(): void {}

  /** Takes one write. */
  accept(): boolean {
    const pending = this.#pending
    this.#pending = undefined
    pending?.()
    return pending !== undefined
  }

  get all(): Buffer {
    return Buffer.concat(this.writes)
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('output', () => {
  it('gathers text and small bytes into one write', () => {
    const socket = new Sluggish()
    const output = new SocketOutput(socket)
    output.text('head;')
    output.bytes(Buffer.from([0x80, 0xff]))
    output.text(';tail')
    assert.equal(socket.writes.length, 0)
    output.flush()
    assert.deepEqual(
      socket.writes.map((chunk) => chunk.toString('latin1')),
      ['head;\x80\xff;tail'],
    )
    output.flush()
    assert.equal(socket.writes.length, 1)
  })

  it('joins a head and a body of up to 16 KiB', () => {
    const socket = new Sluggish()
    const output = new SocketOutput(socket)
    output.text('head;')
    output.bytes(Buffer.alloc(16_384, 'x'))
    assert.deepEqual(
      socket.writes.map(({ length }) => length),
      [5 + 16_384],
    )
  })

  it('has room until the stream is full', () => {
    const socket = new Sluggish(100)
    const output = new SocketOutput(socket)
    output.text('x'.repeat(99))
    output.flush()
    assert.equal(output.room, true)
    output.text('x')
    output.flush()
    assert.equal(output.room, false)
  })

  it('writes large chunks in pieces, so that progress shows', async () => {
    const socket = new Sluggish()
    const output = new SocketOutput(socket)
    socket.on('drain', () => output.drained())
    output.bytes(Buffer.alloc(300_000, 'x'))
    assert.deepEqual(
      socket.writes.map(({ length }) => length),
      [131_072],
    )
    assert.deepEqual([output.accepted, output.backlog], [0, 300_000])
    socket.accept()
    await turn()
    assert.deepEqual([output.accepted, output.backlog], [131_072, 300_000 - 131_072])
    assert.equal(output.room, false)
    while (socket.accept()) await turn()
    assert.deepEqual([output.accepted, output.backlog, output.room], [300_000, 0, true])
  })

  it('writes to a stream that never reports that it is full', () => {
    const socket = new Sluggish(10_000_000)
    socket.eager = true
    const output = new SocketOutput(socket)
    output.bytes(Buffer.alloc(1_000_000, 'x'))
    assert.equal(socket.all.length, 1_000_000)
    assert.equal(output.room, true)
  })

  it('ends after all waiting chunks, and calls back then', async () => {
    const socket = new Sluggish()
    const output = new SocketOutput(socket)
    let ended = 0
    socket.on('drain', () => output.drained())
    output.bytes(Buffer.alloc(300_000, 'x'))
    output.text('tail')
    output.end(() => ended++)
    output.end(() => ended++)
    await turn()
    assert.equal(socket.ended, false)
    while (socket.accept()) await turn()
    await turn()
    assert.deepEqual([ended, socket.ended, socket.all.length], [1, true, 300_004])
  })

  it('keeps all bytes in order, for any chunks and a slow reader', async () => {
    const step = fc.oneof(
      fc.constantFrom(1, 100, 4096, 4097, 16_384, 16_385, 70_000, 131_072, 131_073, 400_000).map((size) => ({ size })),
      fc.constant('flush' as const),
      fc.constant('take' as const),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), fc.constantFrom(100, 65_536), async (steps, mark) => {
        const socket = new Sluggish(mark)
        const output = new SocketOutput(socket)
        socket.on('drain', () => output.drained())
        const expected: Buffer[] = []
        let letter = 0
        for (const one of steps) {
          if (one === 'flush') output.flush()
          else if (one === 'take') {
            socket.accept()
            await turn()
          } else {
            const chunk = Buffer.alloc(one.size, 97 + (letter++ % 26))
            if (one.size <= 4096 && letter % 2 === 0) output.text(chunk.toString('latin1'))
            else output.bytes(chunk)
            expected.push(chunk)
          }
        }
        output.end(() => {})
        while (socket.accept()) await turn()
        await turn()
        assert.ok(socket.all.equals(Buffer.concat(expected)))
        assert.equal(socket.ended, true)
        assert.equal(output.backlog, 0)
      }),
      { numRuns: 150 },
    )
  })
})
