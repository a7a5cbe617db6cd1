import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FrameStream } from '../../../../protocol/frames/codec/stream.ts'
import { RequestState } from '../../../../protocol/frames/codec/stream-state.ts'
import { WriteQueue } from '../../../../protocol/frames/codec/write-queue.ts'

const stream = (id: number): FrameStream => new FrameStream(id, 'caller', RequestState.OPEN, 0, 0)

describe('a list of streams that wait', () => {
  test('keeps the open streams in order, and is at most twice as long as their number', () => {
    const list = new WriteQueue()
    const open: FrameStream[] = []
    let longest = 0
    for (let id = 1; id <= 20_000; id++) {
      const one = stream(id)
      if (id % 100 === 0) open.push(one)
      else one.close()
      list.push(one)
      longest = Math.max(longest, list.length)
    }
    assert.ok(longest <= 2 * open.length, `${longest} for ${open.length}`)
    assert.deepEqual(
      list.streams.filter(({ closed }) => !closed),
      open,
    )
    list.clear()
    assert.equal(list.length, 0)
  })
})
