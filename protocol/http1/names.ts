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

export function nameOf(cut: string): Name {
  const known = names.get(cut)
  if (known !== undefined) return known
  const field = FIELDS[cut.toLowerCase()] ?? OTHER
  if (names.size >= MOST || cut.length > LONGEST) return { name: cut, field }
  // Copied: a name cut out of a head would keep the whole head in memory for as long as it is known.
  const name = Buffer.from(cut, 'latin1').toString('latin1')
  const made = { name, field }
  names.set(name, made)
  return made
}
