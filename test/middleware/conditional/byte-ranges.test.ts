import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { byteRanges, multipart } from '../../../middleware/conditional/byte-ranges.ts'

describe('a Range field', () => {
  const cases: readonly [field: string, size: number, expected: unknown][] = [
    ['bytes=0-0', 100, [[0, 0]]],
    ['bytes=10-', 100, [[10, 99]]],
    ['bytes=-10', 100, [[90, 99]]],
    ['bytes=90-1000', 100, [[90, 99]]],
    ['bytes=-1000', 100, [[0, 99]]],
    ['Bytes = 1-2', 100, [[1, 2]]],
    [
      'bytes=1-2 , , 99-',
      200,
      [
        [1, 2],
        [99, 199],
      ],
    ],
    [
      'bytes=500-600, 0-9',
      1000,
      [
        [500, 600],
        [0, 9],
      ],
    ],
    // Overlapping, adjacent, and with fewer bytes between them than a part head.
    ['bytes=0-50,40-60', 1000, [[0, 60]]],
    ['bytes=0-50,51-60', 1000, [[0, 60]]],
    ['bytes=0-50,100-160', 1000, [[0, 160]]],
    [
      'bytes=500-510,0-9,505-600',
      1000,
      [
        [500, 600],
        [0, 9],
      ],
    ],
    // One range is satisfiable.
    ['bytes=100-,5-6', 100, [[5, 6]]],
    ['bytes=100-', 100, 'unsatisfiable'],
    ['bytes=-0', 100, 'unsatisfiable'],
    ['bytes=5-4', 100, 'whole'],
    ['bytes=0-1,5-4', 100, 'whole'],
    ['bytes=-', 100, 'whole'],
    ['bytes=', 100, 'whole'],
    ['bytes=a-b', 100, 'whole'],
    ['bytes=1', 100, 'whole'],
    ['bytes=0x1-2', 100, 'whole'],
    ['lines=1-2', 100, 'whole'],
    ['1-2', 100, 'whole'],
    // No Content-Range can describe an empty file.
    ['bytes=0-', 0, 'whole'],
    [`bytes=${'9'.repeat(400)}-`, 100, 'unsatisfiable'],
    [`bytes=0-${'9'.repeat(400)}`, 100, [[0, 99]]],
  ]
  for (const [field, size, expected] of cases) {
    it(`${field.slice(0, 40)} of ${size} bytes: ${JSON.stringify(expected)}`, () => {
      const answer = byteRanges(field, size, 10)
      assert.deepEqual(typeof answer === 'string' ? answer : answer.map(({ start, end }) => [start, end]), expected)
    })
  }

  it('with more ranges than allowed gets the whole file', () => {
    const field = (count: number): string =>
      `bytes=${Array.from({ length: count }, (_, at) => `${at * 200}-${at * 200}`)}`
    assert.equal(byteRanges(field(10), 10_000, 10).length, 10)
    assert.equal(byteRanges(field(11), 10_000, 10), 'whole')
  })

  it('gives ranges that are within the file, do not overlap, and contain every requested byte', () => {
    const spec = fc.oneof(
      fc.tuple(fc.nat(1500), fc.nat(300)).map(([start, length]) => `${start}-${start + length}`),
      fc.nat(1500).map((start) => `${start}-`),
      fc.nat(1500).map((length) => `-${length}`),
    )
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 1000 }), (specs, size) => {
        const wanted = new Set<number>()
        for (const text of specs) {
          const [first, last] = text.split('-') as [string, string]
          const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
          const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
          for (let at = start; at <= end; at++) wanted.add(at)
        }
        const answer = byteRanges(`bytes=${specs}`, size, 8)
        if (wanted.size === 0) {
          assert.equal(answer, 'unsatisfiable')
          return
        }
        assert.ok(typeof answer !== 'string')
        const given = new Set<number>()
        for (const { start, end } of answer) {
          assert.ok(start >= 0 && start <= end && end < size)
          for (let at = start; at <= end; at++) {
            assert.ok(!given.has(at), `byte ${at} is sent twice`)
            given.add(at)
          }
        }
        for (const at of wanted) assert.ok(given.has(at), `byte ${at} is missing`)
      }),
    )
  })

  it('with several ranges gives parts of known length', () => {
    const { pieces, length } = multipart(
      [
        { start: 0, end: 1 },
        { start: 7, end: 9 },
      ],
      10,
      'text/plain',
      'B',
    )
    const text = pieces
      .map((piece) =>
        piece instanceof Uint8Array ? Buffer.from(piece).toString() : 'x'.repeat(piece.end + 1 - piece.start),
      )
      .join('')
    assert.equal(
      text,
      '--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\nxx\r\n' +
        '--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\nxxx\r\n--B--\r\n',
    )
    assert.equal(length, text.length)
  })
})
