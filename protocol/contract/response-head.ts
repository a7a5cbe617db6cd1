/**
 * Checks the status and the headers that an application passes to `startResponse` (docs/contract.md, *Status and
 * headers*), so that a gateway never sends a field that changes the framing of its protocol.
 */

import type { Headers } from './application.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'
import { REASONS } from './reasons.ts'
import { TOKEN } from './token.ts'

/** A response head that was checked. */
export interface CheckedHead {
  code: number
  status: string
  /** A copy: the list belongs to the application, and is often a constant. */
  headers: Headers
  /** The declared Content-Length; -1 if there is none. */
  length: number
}

/**
 * PEP 3333: a code and a reason, separated by one space, without surrounding white space and control characters. The
 * reason must not be empty, although RFC 9112 §4 allows that in a message. RFC 9110 §15: the code is between 100 and
 * 599.
 */
export const STATUS: RegExp = /^[1-5][0-9]{2} [\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** The kinds of valid names. The size is bounded, since an application may generate names. */
const known: Map<string, NameKind> = new Map()
const KNOWN_MAX = 1024
type NameKind = 'plain' | 'content-length' | 'connection' | 'upgrade' | 'hop-by-hop'

function kindOf(name: string): NameKind {
  const kind = known.get(name)
  if (kind !== undefined) return kind
  if (typeof name !== 'string' || !TOKEN.test(name)) {
    throw new TypeError(`response header name ${shown(name)} is not a token (RFC 9110, section 5.1)`)
  }
  const lower = name.toLowerCase()
  const made: NameKind =
    lower === 'content-length' || lower === 'connection' || lower === 'upgrade'
      ? lower
      : HOP_BY_HOP.has(lower)
        ? 'hop-by-hop'
        : 'plain'
  if (known.size < KNOWN_MAX) known.set(name, made)
  return made
}

/**
 * Checks the arguments of `startResponse`.
 *
 * @param upgrade whether the status may be 101
 * @throws TypeError if the status or a header is invalid; the message names the value and the rule
 */
export function checkHead(status: string, headers: Headers, upgrade: boolean): CheckedHead {
  if (typeof status !== 'string' || !STATUS.test(status)) {
    throw new TypeError(
      `status ${shown(status)} is not of the form "200 OK": expected three digits from 100 to 599, a space and a reason in latin1 (PEP 3333)`,
    )
  }
  const code = Number(status.slice(0, 3))
  if (code < 200 && !(code === 101 && upgrade)) {
    throw new TypeError(
      code === 101
        ? 'status 101 was used for a request that is not an upgrade request'
        : `status ${shown(status)}: an informational status is not a response; use environ.gantry.earlyHints`,
    )
  }
  if (!Array.isArray(headers)) throw new TypeError(`headers: expected an array of [name, value], got ${shown(headers)}`)
  let length = -1
  const copy: Headers = new Array(headers.length)
  for (let at = 0; at < headers.length; at++) {
    const field = headers[at]
    if (!Array.isArray(field) || field.length !== 2) {
      throw new TypeError(`header ${at} is ${shown(field)}, not [name, value]`)
    }
    const name = field[0]
    const value = field[1]
    const kind = kindOf(name)
    if (typeof value !== 'string' || !VALUE.test(value)) {
      throw new TypeError(
        `the value of response header ${name} is ${shown(value)}: expected a latin1 string without control characters (RFC 9110, section 5.5)`,
      )
    }
    if (kind !== 'plain') {
      if (kind === 'content-length') {
        if (length !== -1) throw new TypeError('response header Content-Length was set twice')
        length = parseLength(value)
      } else if (code !== 101 || kind === 'hop-by-hop') {
        throw new TypeError(
          `response header ${name}: ${shown(value)} is hop-by-hop; only the gateway sets it (PEP 3333)`,
        )
      }
    }
    copy[at] = field
  }
  return { code, status, headers: copy, length }
}

/**
 * Checks the fields of trailers or of a 103.
 *
 * @param what names the fields in messages
 * @throws TypeError as `checkHead`, and for fields that frame or route the message (RFC 9110 §6.5.1)
 */
export function checkFields(headers: Headers, what: string): Headers {
  if (!Array.isArray(headers)) throw new TypeError(`${what}: expected an array of [name, value], got ${shown(headers)}`)
  for (const field of headers) {
    if (!Array.isArray(field) || field.length !== 2)
      throw new TypeError(`${what}: ${shown(field)} is not [name, value]`)
    const [name, value] = field
    if (kindOf(name) !== 'plain') throw new TypeError(`${what}: ${name} is not allowed here`)
    if (typeof value !== 'string' || !VALUE.test(value)) {
      throw new TypeError(
        `${what}: the value of ${name} is ${shown(value)}: expected latin1 text without control characters`,
      )
    }
  }
  return headers
}

/**
 * Translates a status from another protocol (`200`, `200 `, `200 OK`) to the form that an application uses. There the
 * reason may be empty (RFC 9112 §4; HTTP/2 has none) and may have tabs and trailing white space.
 *
 * @param status three digits and an optional reason, which are not checked
 */
export function statusFromWire(status: string): string {
  const code = status.slice(0, 3)
  const reason = status.slice(3).replaceAll('\t', ' ').trim()
  return `${code} ${reason || (REASONS[code] ?? 'Unknown')}`
}

function parseLength(value: string): number {
  if (!/^[0-9]{1,16}$/.test(value) || Number(value) > Number.MAX_SAFE_INTEGER) {
    throw new TypeError(`response header Content-Length: ${shown(value)} is not a number of bytes`)
  }
  return Number(value)
}

/** A value of any type as short text for an error message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value !== 'object' || value === null) return String(value)
  const name = value.constructor?.name ?? 'Object'
  return name === 'Object' ? 'a plain object' : `an instance of ${name}`
}
