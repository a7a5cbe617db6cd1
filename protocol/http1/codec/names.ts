/**
 * Header names as clients spell them, each kept as one string: a name cut out of a head is hashed and compared once, here, and every
 * later look-up of it (its variable, its number in a frame) compares a pointer. And which of them the head's table must look at.
 */

/** What a name is to `head.ts`. */
const OTHER = 0
export const HOST = 1
export const EXPECT = 2
export const UPGRADE = 3
export const CONNECTION = 4
export const CONTENT_LENGTH = 5
export const TRANSFER_ENCODING = 6

export interface Name {
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

/** Bounded, since names come from clients: browsers, tools and frameworks together use a few hundred spellings. */
const MOST = 2048
const LONGEST = 64
const names: Map<string, Name> = new Map()

/** What stood at each place of the head before: clients say the same in the same order, and to compare is cheaper than to look up. */
const before: Name[] = []
const PLACES = 32

/** The name of `length` characters at `start` of a head's `text`, where its field number `place` is. */
export function nameAt(text: string, start: number, length: number, place: number): Name {
  const guess = before[place]
  if (guess !== undefined && guess.name.length === length && text.startsWith(guess.name, start)) return guess
  const cut = text.slice(start, start + length)
  const kept = names.get(cut) ?? keep(cut)
  if (kept === undefined) return { name: cut, field: fieldOf(cut) }
  if (place < PLACES) before[place] = kept
  return kept
}

function keep(cut: string): Name | undefined {
  if (names.size >= MOST || cut.length > LONGEST) return undefined
  // Copied: a name cut out of a head would keep the whole head in memory for as long as it is known.
  const name = Buffer.from(cut, 'latin1').toString('latin1')
  const made = { name, field: fieldOf(name) }
  names.set(name, made)
  return made
}

function fieldOf(name: string): number {
  return FIELDS[name.toLowerCase()] ?? OTHER
}
