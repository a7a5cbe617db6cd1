import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex, finished } from 'node:stream'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { LazyDuplex } from '../../../interfaces/node/lazy-duplex.ts'

/** Records its writes; each completes when the test says so. */
class Noted extends LazyDuplex {
  readonly batches: string[][] = []
  readonly taken: ((error?: Error | null) => void)[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this._writev([{ chunk }], callback)
  }

  override _writev(items: { chunk: Uint8Array }[], callback: (error?: Error | null) => void): void {
    this.batches.push(items.map(({ chunk }) => Buffer.from(chunk).toString()))
    this.taken.push(callback)
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** As node's ServerResponse ends: corked, written, and uncorked completely. */
function writeAtOnce(socket: Noted, chunks: string[], callback?: (error?: Error | null) => void): void {
  socket.cork()
  for (const chunk of chunks) socket.write(chunk, 'latin1', chunk === chunks.at(-1) ? callback : undefined)
  const { _writableState: state } = socket as unknown as { _writableState: { corked: number } }
  state.corked = 1
  socket.uncork()
}

/**
 * Bytes of unreachable young objects that remain on the heap after their collection. (WeakRefs cannot measure this:
 * they keep their targets until a full collection.)
 */
async function leftOf(count: number, initialize: () => unknown): Promise<number> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as (options: { type: 'minor' }) => void
  // The first collection moves living objects to the other semispace, the second to the old generation.
  const used = (): number => {
    gc({ type: 'minor' })
    gc({ type: 'minor' })
    return process.memoryUsage().heapUsed
  }
  for (let at = 0; at < 100; at++) initialize()
  await turn()
  const before = used()
  for (let at = 0; at < count; at++) initialize()
  await turn()
  return used() - before
}

describe('a lazy duplex', () => {
  it('is a Duplex, and is not initialised while it is not used as a stream', () => {
    const socket = new Noted()
    assert.ok(socket instanceof Duplex)
    assert.deepEqual(
      [socket.readable, socket.writable, socket.destroyed, socket.closed, socket.errored, socket.writableNeedDrain],
      [true, true, false, false, null, false],
    )
    assert.equal(socket.readableHighWaterMark, new Duplex().readableHighWaterMark)
    assert.equal(socket.writableHighWaterMark, new Duplex().writableHighWaterMark)
    socket.on('close', () => {}).off('close', () => {})
    assert.equal(socket.listenerCount('close'), 1)
    assert.equal(socket.initialized, false)
  })

  it('passes on corked writes without initialising, and calls back when they were taken', async () => {
    const socket = new Noted()
    const called: unknown[] = []
    writeAtOnce(socket, ['one', 'two'], (error) => called.push(error))
    assert.deepEqual(socket.batches, [['one', 'two']])
    assert.equal(socket.writableLength, 6)
    await turn()
    assert.deepEqual(called, [])
    socket.taken[0]!(null)
    assert.deepEqual(called, [null])
    assert.equal(socket.writableLength, 0)
    assert.equal(socket.initialized, false)
  })

  it('keeps later writes in order until the first batch was taken', async () => {
    const socket = new Noted()
    writeAtOnce(socket, ['one'])
    socket.write('two')
    socket.write('three')
    assert.equal(socket.initialized, true)
    await turn()
    assert.deepEqual(socket.batches, [['one']])
    assert.equal(socket.writableLength, 11)
    socket.taken[0]!(null)
    await turn()
    assert.deepEqual(socket.batches, [['one'], ['two', 'three']])
  })

  it('keeps corked writes when it is initialised', async () => {
    const socket = new Noted()
    socket.cork()
    socket.write('one')
    assert.equal(socket.writableCorked, 1)
    socket.on('data', () => {})
    assert.equal(socket.initialized, true)
    assert.equal(socket.writableLength, 3)
    socket.write('two')
    assert.deepEqual(socket.batches, [])
    socket.uncork()
    assert.deepEqual(socket.batches, [['one', 'two']])
  })

  it('keeps its listeners when it is initialised', async () => {
    const socket = new Noted()
    const seen: string[] = []
    socket.on('close', () => seen.push('close')).on('finish', () => seen.push('finish'))
    socket.end('bye')
    socket.taken[0]!(null)
    await once(socket, 'finish')
    socket.destroy()
    await once(socket, 'close')
    assert.deepEqual(seen, ['finish', 'close'])
  })

  it('applies backpressure to many bytes, corked or not', () => {
    const socket = new Noted()
    socket.cork()
    assert.equal(socket.write('a'), true)
    assert.equal(socket.write(Buffer.alloc(socket.writableHighWaterMark)), false)
    assert.equal(socket.writableNeedDrain, true)
    socket.uncork()
    assert.deepEqual(
      socket.batches.map((batch) => batch.map(({ length }) => length)),
      [[1, socket.writableHighWaterMark]],
    )
  })

  it('sends corked writes when it ends', async () => {
    const socket = new Noted()
    socket.cork()
    socket.write('one')
    socket.end('two')
    assert.deepEqual(socket.batches, [['one', 'two']])
    socket.taken[0]!(null)
    await once(socket, 'finish')
    assert.equal(new Noted().writableEnded, false)
  })

  it('calls back corked writes with an error when it is destroyed', async () => {
    const socket = new Noted()
    const called: unknown[] = []
    socket.cork()
    socket.write('one', (error) => called.push((error as NodeJS.ErrnoException).code))
    socket.destroy()
    await once(socket, 'close')
    assert.deepEqual(called, ['ERR_STREAM_DESTROYED'])
    assert.deepEqual(socket.batches, [])
  })

  it('initialises for properties that only a stream has, while it is corked', () => {
    const socket = new Noted()
    socket.cork()
    socket.write('one')
    assert.equal((socket as unknown as { writableBuffer: unknown[] }).writableBuffer.length, 1)
    assert.equal(socket.writableEnded, false)
  })

  it('continues if a callback throws', async () => {
    const socket = new Noted()
    writeAtOnce(socket, ['one'], () => {
      throw new Error('of the callback')
    })
    socket.write('two')
    assert.throws(() => socket.taken[0]!(null), /of the callback/)
    await turn()
    assert.deepEqual(socket.batches, [['one'], ['two']])
  })

  it('is destroyed by a batch that fails, and calls back with the error', async () => {
    const socket = new Noted()
    const called: unknown[] = []
    const failure = new Error('gone')
    socket.on('error', (error) => called.push(error))
    writeAtOnce(socket, ['one'], (error) => called.push(error))
    const closed = new Promise<void>((resolve) => socket.on('close', resolve))
    socket.taken[0]!(failure)
    await closed
    assert.equal(socket.destroyed, true)
    assert.deepEqual(called, [failure, failure])
  })

  it('is freed by the next young-generation collection, with everything it refers to', async () => {
    const left = await leftOf(1000, () => {
      const socket = new Noted()
      socket.on('close', () => {})
      writeAtOnce(socket, ['one'])
      return Object.assign(socket, { weight: new Array(1000).fill(0) })
    })
    // Out of 8 MB.
    assert.ok(left < 500_000, `${left} bytes live on`)
  })

  it('ends as a stream for listeners that wait for its end', async () => {
    const socket = new Noted()
    const whenFinished = promisify(finished)(socket)
    socket.resume()
    socket.end()
    socket.push(null)
    await whenFinished
    assert.equal(socket.initialized, true)
  })
})
