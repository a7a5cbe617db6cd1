/** A PONG does not wait behind body: with 40 full streams and a slow reader, in both directions. */

import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { suite, test } from 'node:test'
import type { FrameEvent } from '../../../protocol/frames/codec/connection.ts'
import { Frame } from '../../../protocol/frames/codec/constants.ts'
import { Link, type LinkOwner } from '../../../protocol/frames/link.ts'
import { FakeClock } from '../../support/clock.ts'
import { iterations } from './link-support.ts'
import { drain, FIELDS, frame, opened, pair } from './support.ts'

/** A socket whose peer accepts one write at a time, when the test allows it. */
class OneByOne extends Duplex {
  readonly taken: Buffer[] = []
  #waiting: (() => void) | undefined

  constructor() {
    super({ writableHighWaterMark: 65_536 })
  }

  override _read(): void {}

  override _writev(chunks: { chunk: Buffer }[], callback: () => void): void {
    this.taken.push(Buffer.concat(chunks.map(({ chunk }) => chunk)))
    this.#waiting = callback
  }

  /** @returns whether there was a write to accept */
  async next(): Promise<boolean> {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.()
    await iterations(3)
    return waiting !== undefined
  }
}

/** Types and lengths of frames. */
function frames(bytes: Buffer): { type: number; length: number }[] {
  const found: { type: number; length: number }[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = 9 + bytes.readUIntBE(at + 2, 3)
    found.push({ type: bytes[at]!, length })
    at += length
  }
  return found
}

const STREAMS = 40
const BODY = Buffer.alloc(128 * 1024, 'x')
/** Two writes: one that is in the socket, and one that was queued before the PONG. */
const AHEAD_MOST = 2 * 128 * 1024 + 64 * 1024

for (const role of ['server', 'caller'] as const) {
  suite(`a PONG of a ${role}`, () => {
    test('waits behind at most two writes of body, however much is queued', async () => {
      const both = pair()
      const socket = new OneByOne()
      const mine = both[role]
      const owner: LinkOwner = {
        event(event: FrameEvent) {
          if (event.type !== 'ping') return
          mine.pong(event.token, 0, 0)
          link.schedule()
        },
        resume() {},
        fault() {},
        flushing() {},
        closed() {},
      }
      const link = new Link(socket, mine, owner, { clock: new FakeClock() })
      for (let at = 0; at < STREAMS; at++) {
        if (role === 'server') mine.head(opened(both, { end: true }).here, '200 OK', [], BODY, true)
        else mine.request(FIELDS, { end: true, hold: false, upgrade: false }, BODY)
      }
      link.schedule()
      await iterations(3)
      for (let write = 0; write < 3; write++) assert.ok(await socket.next())
      const before = Buffer.concat(socket.taken).length
      socket.push(frame(Frame.PING, 0, 0, '0102030405060708'))
      await iterations(3)
      while (await socket.next());
      const all = frames(Buffer.concat(socket.taken))
      let at = 0
      const pong = all.find(({ type, length }) => {
        at += length
        return type === Frame.PONG
      })
      assert.ok(pong, 'there is no PONG')
      assert.ok(at - before <= AHEAD_MOST, `it is behind ${at - before} bytes`)
      const total = all.reduce((sum, { length }) => sum + length, 0)
      assert.ok(total > STREAMS * BODY.length && at < total / 5, `at ${at} of ${total}`)
      assert.equal(drain(mine).length, 0)
    })
  })
}
