/**
 * Interns header names as clients spell them: a name that is sliced out of a head is hashed and compared once, here;
 * later look-ups (its variable, its number in a frame) compare a pointer. Also tells which names `head.ts` must check.
 */

/** The meaning of a name for `head.ts`. */
const OTHER = 0
export const HOST = 1
export const EXPECT = 2
export const UPGRADE = 3
export const CONNECTION = 4
export const CONTENT_LENGTH = 5
export const TRANSFER_ENCODING = 6

interface Name {
  readonly name: string
  readonly field: number
}

const FIELDS: Readonly<Record<string, number>> = Object.assign(Object.create(null), {
  host: HOST,
  expect: EXPECT,
  upgrade: UPGRADE,
  connection: CONNECTION,
  'content-length': CONTENT_LENGTH,
  'transfer-encoding': TRANSFER_ENCODING,
})

/** Limits of the table, since clients choose names: browsers, tools and frameworks use a few hundred spellings. */
const MOST = 2048
const LONGEST = 64
const names: Map<string, Name> = new Map()

/**
 * The last name at each position of a head. Clients send the same fields in the same order: comparing is cheaper than
 * hashing.
 */
const before: Name[] = []
const PLACES = 32

/**
 * Returns the name in a head's `text`.
 *
 * @param place the position of the field in the head, from 0
 */
export function nameAt(text: string, start: number, length: number, place: number): Name {
  const guess = before[place]
  if (guess !== undefined && guess.name.length === length && text.startsWith(guess.name, start)) return guess
  const slice = text.slice(start, start + length)
  const kept = names.get(slice) ?? intern(slice)
  if (kept === undefined) return { name: slice, field: fieldOf(slice) }
  if (place < PLACES) before[place] = kept
  return kept
}

function intern(slice: string): Name | undefined {
  if (names.size >= MOST || slice.length > LONGEST) return undefined
  // Copied: a slice would keep the whole head in memory for as long as the name is in the table.
  const name = Buffer.from(slice, 'latin1').toString('latin1')
  const made = { name, field: fieldOf(name) }
  names.set(name, made)
  return made
}

function fieldOf(name: string): number {
  return FIELDS[name.toLowerCase()] ?? OTHER
}
