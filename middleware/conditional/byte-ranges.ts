/** Parses the Range field (RFC 9110 §14), and describes the parts of the answer. Pure: it opens no file. */

// `range-parser` is not used: it treats a suffix longer than the file as unsatisfiable, although the whole file is the
// answer (§14.1.2), and does not distinguish an invalid set from a long one.

import type { FileRange } from '../../protocol/files/file-blocks.ts'

/** `whole`: there is no field, or it must be ignored. */
type RangeAnswer = 'whole' | 'unsatisfiable' | readonly FileRange[]

/**
 * Ranges with at most this many bytes between them are sent as one: the head of another part would be longer
 * (§15.3.7.2).
 */
const PART_OVERHEAD = 80

/**
 * Returns the ranges in the requested order, at least one, without overlaps.
 *
 * @param field the value of the field
 * @param size bytes of the representation
 * @param maxRanges with more ranges the whole is sent, as Apache does (MaxRanges): such a request is an attack, or
 *   nearly a download
 */
export function byteRanges(field: string | undefined, size: number, maxRanges: number): RangeAnswer {
  // An empty file has no byte that Content-Range could name: the answer is the whole file.
  if (field === undefined || size === 0) return 'whole'
  const set = /^[ \t]*bytes[ \t]*=(.*)$/i.exec(field)?.[1]
  if (set === undefined) return 'whole'
  const specs = set.split(',', maxRanges + 1)
  if (specs.length > maxRanges) return 'whole'
  const ranges: FileRange[] = []
  let seen = 0
  for (const spec of specs) {
    if (/^[ \t]*$/.test(spec)) continue
    const parts = /^[ \t]*(\d*)-(\d*)[ \t]*$/.exec(spec)
    if (!parts) return 'whole'
    const [, first, last] = parts
    seen++
    if (first === '') {
      if (last === '') return 'whole'
      const length = Number(last)
      if (length > 0) ranges.push({ start: Math.max(0, size - length), end: size - 1 })
      continue
    }
    const start = Number(first)
    const end = last === '' ? Number.POSITIVE_INFINITY : Number(last)
    // A range whose end precedes its start makes the whole field invalid (§14.1.1).
    if (end < start) return 'whole'
    if (start < size) ranges.push({ start, end: Math.min(end, size - 1) })
  }
  if (seen === 0) return 'whole'
  return ranges.length === 0 ? 'unsatisfiable' : coalesced(ranges)
}

/** Merges overlapping and adjacent ranges. A merged range takes the place of its first part. */
function coalesced(ranges: readonly FileRange[]): FileRange[] {
  if (ranges.length === 1) return [...ranges]
  const sorted = ranges.map((range, order) => ({ ...range, order })).sort((a, b) => a.start - b.start)
  const merged = [sorted[0]!]
  for (const range of sorted.slice(1)) {
    const last = merged.at(-1)!
    if (range.start > last.end + 1 + PART_OVERHEAD) {
      merged.push(range)
    } else {
      last.end = Math.max(last.end, range.end)
      last.order = Math.min(last.order, range.order)
    }
  }
  return merged.sort((a, b) => a.order - b.order).map(({ start, end }) => ({ start, end }))
}

/** The value of Content-Range. */
export function contentRange({ start, end }: FileRange, size: number): string {
  return `bytes ${start}-${end}/${size}`
}

/**
 * `multipart/byteranges` (RFC 9110 §14.6): the part heads, and the ranges between them.
 *
 * @param boundary must not occur in the bytes: random, because the bytes are not searched
 * @param type Content-Type of the representation
 */
export function multipart(
  ranges: readonly FileRange[],
  size: number,
  type: string | undefined,
  boundary: string,
): { pieces: (FileRange | Uint8Array)[]; length: number } {
  const pieces: (FileRange | Uint8Array)[] = []
  let length = 0
  const text = (value: string): void => {
    const bytes = Buffer.from(value, 'latin1')
    length += bytes.length
    pieces.push(bytes)
  }
  ranges.forEach((range, at) => {
    const typeLine = type === undefined ? '' : `Content-Type: ${type}\r\n`
    text(`${at === 0 ? '' : '\r\n'}--${boundary}\r\n${typeLine}Content-Range: ${contentRange(range, size)}\r\n\r\n`)
    pieces.push(range)
    length += range.end + 1 - range.start
  })
  text(`\r\n--${boundary}--\r\n`)
  return { pieces, length }
}
