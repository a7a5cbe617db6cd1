/**
 * The first frames of a link: the identity and the limits of each side, and the proof that both have the same token.
 * Functions over bytes; nonces are arguments. `handshake.ts` has the order of the frames.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import {
  CREDIT_MAX,
  DATA_MAX,
  DATA_MIN,
  FEATURES,
  HEAD_MAX,
  HEAD_MIN,
  NONCE,
  OLDEST_VERSION,
  VERSION,
  WINDOW,
  WINDOW_MIN,
} from './constants.ts'
import { HeadReader } from './head.ts'
import type { FrameOutput } from './output.ts'

/** The identity in a HELLO. It is trusted only after authentication, and is never used as a path. */
export interface Identity {
  /** The id of a container or proxy: its processes share it, and it is unique among the peers of a link. */
  id: string
  /** Index of this worker among `workers`, from 0. */
  worker: number
  workers: number
  /** The requests that this worker runs at once, over all its links; 0 for a caller. */
  slots: number
  /** Limits of the server, by name. */
  limits: Record<string, number>
  /** Random for each process: distinguishes processes that were given the same id. */
  instance?: string | undefined
}

export const NOBODY: Identity = { id: '', worker: 0, workers: 1, slots: 0, limits: {} }

/** Whether both identities belong to the same process. A process without an id cannot be recognised. */
export function isSameProcess(one: Identity | undefined, other: Identity | undefined): boolean {
  if (!one?.id || !other) return false
  return one.id === other.id && one.worker === other.worker && one.instance === other.instance
}

export type Role = 'caller' | 'server'

export interface Hello {
  version: number
  oldest: number
  role: Role
  /** Whether this side opened the connection. The dialler proves the token first, so that a stranger learns nothing. */
  dialled: boolean
  /** Whether this side has a token. */
  secret: boolean
  nonce: string
  /** The credit of each stream at its start, the longest DATA and the longest head that this side accepts, bytes. */
  window: number
  data: number
  head: number
  features: readonly string[]
  identity: Identity
}

/** The parts of our HELLO that are not derived. */
export interface HelloOptions {
  role: Role
  dialled: boolean
  secret: boolean
  /** 16 random bytes. */
  nonce: Uint8Array
  identity: Identity
  window?: number | undefined
  data?: number | undefined
  head?: number | undefined
  /** Default: all features of this version. */
  features?: readonly string[] | undefined
}

export function helloOf(options: HelloOptions): Hello {
  return {
    version: VERSION,
    oldest: OLDEST_VERSION,
    role: options.role,
    dialled: options.dialled,
    secret: options.secret,
    nonce: Buffer.from(options.nonce).toString('hex'),
    window: Math.max(options.window ?? WINDOW, WINDOW_MIN),
    data: Math.max(options.data ?? DATA_MAX, DATA_MIN),
    head: Math.max(options.head ?? HEAD_MAX, HEAD_MIN),
    features: options.features ?? FEATURES,
    identity: options.identity,
  }
}

/** Writes the payload of a HELLO: a flat array of keys and values, so that keys can be added. */
export function writeHello(out: FrameOutput, hello: Hello): void {
  const { identity } = hello
  const items: (string | number)[] = [
    'version',
    hello.version,
    'oldest',
    hello.oldest,
    'role',
    hello.role,
    'dialled',
    hello.dialled ? 1 : 0,
    'secret',
    hello.secret ? 1 : 0,
    'nonce',
    hello.nonce,
    'window',
    hello.window,
    'data',
    hello.data,
    'head',
    hello.head,
    'features',
    hello.features.join(' '),
    'id',
    identity.id,
    'worker',
    identity.worker,
    'workers',
    identity.workers,
    'slots',
    identity.slots,
  ]
  if (identity.instance) items.push('instance', identity.instance)
  for (const name of Object.keys(identity.limits)) items.push(`limit.${name}`, identity.limits[name]!)
  out.array(items.length)
  for (const item of items) {
    if (typeof item === 'string') out.text(item)
    else out.int(item)
  }
  out.endArray()
}

/** Reads the payload of a HELLO. @throws RemoteProtocolError if it is invalid */
export function readHello(payload: Uint8Array): Hello {
  const items = new HeadReader().items(payload, 0, payload.length)
  if (items.length % 2 !== 0) throw bad('expected a value after each key')
  const values: Map<string, string | number> = new Map()
  const limits: Record<string, number> = Object.create(null)
  for (let at = 0; at < items.length; at += 2) {
    const key = items[at]!
    const value = items[at + 1]!
    if (typeof key !== 'string') throw bad(`expected a key, got ${key}`)
    if (values.has(key)) throw bad(`the key ${JSON.stringify(key)} is repeated`)
    values.set(key, value)
    if (key.startsWith('limit.') && typeof value === 'number') limits[key.slice('limit.'.length)] = value
  }
  const number = (key: string, least: number, most: number, otherwise?: number): number => {
    const value = values.get(key) ?? otherwise
    if (typeof value !== 'number' || value < least || value > most) {
      throw bad(`expected ${key} from ${least} to ${most}, got ${JSON.stringify(value) ?? 'nothing'}`)
    }
    return value
  }
  const text = (key: string, pattern: RegExp, otherwise?: string): string => {
    const value = values.get(key) ?? otherwise
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw bad(`expected ${key} to match ${pattern.source}, got ${JSON.stringify(value) ?? 'nothing'}`)
    }
    return value
  }
  return {
    version: number('version', 1, 0xffff_ffff),
    oldest: number('oldest', 1, 0xffff_ffff, 1),
    role: text('role', /^(?:caller|server)$/) as Role,
    dialled: number('dialled', 0, 1) === 1,
    secret: number('secret', 0, 1) === 1,
    nonce: text('nonce', NONCE_PATTERN),
    window: number('window', WINDOW_MIN, CREDIT_MAX),
    data: number('data', DATA_MIN, 0xff_ffff),
    head: number('head', HEAD_MIN, 0xff_ffff),
    features: text('features', /^[\w. -]*$/, '')
      .split(' ')
      .filter((name) => name !== ''),
    identity: {
      // Ids go to logs and metrics: they must not contain a line break or a label separator.
      id: text('id', /^[\w.:@-]{0,128}$/),
      worker: number('worker', 0, 0xffff, 0),
      workers: number('workers', 1, 0xffff, 1),
      slots: number('slots', 0, 0xffff_ffff, 0),
      limits,
      ...(values.has('instance') && { instance: text('instance', /^[\w-]{0,64}$/) }),
    },
  }
}

const NONCE_PATTERN = new RegExp(`^[0-9a-f]{${2 * NONCE}}$`)

/**
 * Checks that two HELLOs match.
 *
 * @throws RemoteProtocolError `VERSION`, `ROLE`, `DIALLED`, `UNAUTHENTICATED`
 */
export function matchHellos(ours: Hello, theirs: Hello): void {
  if (theirs.version < ours.oldest || ours.version < theirs.oldest) {
    throw peerError(
      'VERSION',
      `no protocol version in common: this side speaks ${ours.oldest} to ${ours.version}, the peer ${theirs.oldest} to ${theirs.version}; update the older one`,
    )
  }
  // This also refuses our own HELLO if the peer sends it back.
  if (ours.role === theirs.role) {
    throw peerError(
      'ROLE',
      `both sides are ${ours.role === 'caller' ? 'proxies' : 'containers'}; expected a proxy and a container`,
    )
  }
  if (ours.secret !== theirs.secret) {
    throw peerError(
      'UNAUTHENTICATED',
      ours.secret
        ? `the ${PROCESS[ours.role]} requires a token, and the ${PROCESS[theirs.role]} has none; ${SAME_TOKEN}`
        : `the ${PROCESS[theirs.role]} requires a token, and the ${PROCESS[ours.role]} has none; ${SAME_TOKEN}`,
    )
  }
  if (ours.secret && !ours.dialled && !theirs.dialled) {
    throw peerError(
      'DIALLED',
      'both sides say that they accepted the connection; something between them connects two listeners',
    )
  }
  if (ours.nonce === theirs.nonce) throw peerError('UNAUTHENTICATED', 'the peer returned the nonce of this side')
}

/** The features that both HELLOs name: only these may be used on the link. */
export function agreedFeatures(ours: Hello, theirs: Hello): ReadonlySet<string> {
  return new Set(ours.features.filter((name) => theirs.features.includes(name)))
}

/** The process that has the role, in the words of users. */
const PROCESS: { readonly [R in Role]: string } = { caller: 'proxy', server: 'container' }

/** What a user must do if the tokens differ. */
export const SAME_TOKEN = 'give both the same --token-file or GANTRY_TOKEN'

/** The HELLO payloads of both sides as they were sent. */
export interface HelloPair {
  caller: { nonce: string; payload: Uint8Array }
  server: { nonce: string; payload: Uint8Array }
}

/** The proof that the side with `role` has `token`. It is valid only for this direction of this connection. */
export function proofOf(token: string, role: Role, { caller, server }: HelloPair): Uint8Array {
  const hmac = createHmac('sha256', token)
  hmac.update(`gantry frames 1 ${role}\n`)
  hmac.update(`${caller.nonce}\n${server.nonce}\n`)
  hmac.update(`${caller.payload.length}\n`).update(caller.payload)
  hmac.update(`${server.payload.length}\n`).update(server.payload)
  return hmac.digest()
}

/** Compares two proofs in constant time. */
export function isProof(proof: Uint8Array, expected: Uint8Array): boolean {
  return proof.length === expected.length && timingSafeEqual(proof, expected)
}

function bad(what: string): RemoteProtocolError {
  return peerError('BAD_HELLO', `invalid HELLO from the peer: ${what}`)
}
