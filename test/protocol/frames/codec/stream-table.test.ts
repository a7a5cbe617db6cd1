import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FrameStream } from '../../../../protocol/frames/codec/stream.ts'
import { RequestState } from '../../../../protocol/frames/codec/stream-state.ts'
import { StreamTable } from '../../../../protocol/frames/codec/stream-table.ts'

test('a stream table holds what a map of the same streams holds', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ id: fc.nat(300), add: fc.boolean() }), { maxLength: 400 }), (steps) => {
      const table = new StreamTable()
      const map = new Map<number, FrameStream>()
      for (const { id, add } of steps) {
        const known = map.get(id)
        if (add && !known) {
          const stream = new FrameStream(id, 'caller', RequestState.OPEN, 0, 0)
          table.add(stream)
          map.set(id, stream)
        } else if (!add && known) {
          table.delete(known)
          table.delete(known)
          map.delete(id)
        }
        assert.equal(table.size, map.size)
        assert.equal(table.get(id), map.get(id))
      }
      assert.deepEqual(
        table.values().map((stream) => stream.id),
        [...map.keys()].sort((a, b) => a - b),
      )
    }),
  )
})
