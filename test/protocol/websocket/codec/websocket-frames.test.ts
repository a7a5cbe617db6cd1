import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { FrameTracker, GOING_AWAY } from '../../../../protocol/websocket/codec/websocket-frames.ts'

interface Frame {
  opcode: number
  fin: boolean
  masked: boolean
  length: number
  /** The bytes of a length; lengths may use more bytes than they need. */
  wide: 0 | 2 | 8
}

function encode({ opcode, fin, masked, length, wide }: Frame): Buffer {
  const extended = length > 0xffff ? 8 : Math.max(wide, length > 125 ? 2 : 0)
  const header = Buffer.alloc(2 + extended + (masked ? 4 : 0), 0x88)
  header[0] = (fin ? 0x80 : 0) | opcode
  header[1] = (masked ? 0x80 : 0) | (extended === 8 ? 127 : extended === 2 ? 126 : length)
  if (extended === 2) header.writeUInt16BE(length, 2)
  else if (extended === 8) header.writeBigUInt64BE(BigInt(length), 2)
  // A payload that resembles close frames.
  return Buffer.concat([header, Buffer.alloc(length, 0x88)])
}

const frame: fc.Arbitrary<Frame> = fc.record({
  opcode: fc.constantFrom(0, 1, 2, 9, 10),
  fin: fc.boolean(),
  masked: fc.boolean(),
  length: fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000)),
  wide: fc.constantFrom(0, 2, 8),
})

/** Positions at which a frame has ended. */
function ends(frames: readonly Buffer[]): Set<number> {
  let at = 0
  return new Set([0, ...frames.map((bytes) => (at += bytes.length))])
}

describe('a frame tracker', () => {
  it('is at a boundary exactly between frames, byte by byte', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 3 }), (given) => {
        const frames = given.map(encode)
        const boundaries = ends(frames)
        const bytes = Buffer.concat(frames)
        const tracker = new FrameTracker()
        assert.equal(tracker.atBoundary, true)
        for (let at = 0; at < bytes.length; at++) {
          tracker.push(bytes.subarray(at, at + 1))
          if (tracker.atBoundary !== boundaries.has(at + 1)) assert.fail(`after ${at + 1} of ${bytes.length} bytes`)
        }
        assert.equal(tracker.closed, false)
      }),
      { numRuns: 60 },
    )
  })

  it('finds the first boundary in bytes that begin anywhere, and none if there is none', () => {
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 6 }), fc.nat(), (given, seed) => {
        const frames = given.map(encode)
        const boundaries = [...ends(frames)].sort((a, b) => a - b)
        const bytes = Buffer.concat(frames)
        const cut = seed % bytes.length
        const tracker = new FrameTracker()
        tracker.push(bytes.subarray(0, cut))
        const next = boundaries.find((end) => end > cut)!
        assert.equal(tracker.pushToBoundary(bytes.subarray(cut, next - 1)), next - 1 - cut)
        if (next - 1 > cut) assert.equal(tracker.atBoundary, false)
        assert.equal(tracker.pushToBoundary(bytes.subarray(next - 1)), 1)
        assert.equal(tracker.atBoundary, true)
      }),
      { numRuns: 200 },
    )
  })

  it('recognises a close frame by its first byte', () => {
    const tracker = new FrameTracker()
    tracker.push(encode({ opcode: 1, fin: true, masked: false, length: 3, wide: 0 }))
    assert.equal(tracker.closed, false)
    tracker.push(GOING_AWAY.subarray(0, 1))
    assert.deepEqual([tracker.closed, tracker.atBoundary], [true, false])
    tracker.push(GOING_AWAY.subarray(1))
    assert.deepEqual([tracker.closed, tracker.atBoundary], [true, true])
  })

  it('accepts any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const tracker = new FrameTracker()
        tracker.push(bytes)
        assert.ok(tracker.pushToBoundary(bytes) <= bytes.length)
      }),
    )
  })
})
