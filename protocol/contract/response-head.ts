/**
 * What a status line and response headers may be (docs/contract.md, *Status and headers*): checked where an application
 * hands them over, so that no gateway meets a field that would change the meaning of its wire.
 */

import type { Headers } from './application.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'
import { REASONS } from './reasons.ts'
import { TOKEN } from './token.ts'

/** A response's head after its checks. */
export interface CheckedHead {
  code: number
  status: string
  /** A copy: the application's list is its own, and often a constant. */
  headers: Headers
  /** The declared Content-Length, -1 when there is none. */
  length: number
}

/**
 * PEP 3333: a code and a reason separated by one space, with no surrounding white space and no control characters. (A wire's
 * reason may be empty, RFC 9112 §4; an application's may not.) RFC 9110 §15: codes are 100 to 599, and any other is invalid.
 */
export const STATUS: RegExp = /^[1-5][0-9]{2} [\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Names that were found good, by what they are to us. Bounded: an application may make names up. */
const known: Map<string, NameKind> = new Map()
const KNOWN_MAX = 1024
type NameKind = 'plain' | 'content-length' | 'connection' | 'upgrade' | 'hop-by-hop'

function kindOf(name: string): NameKind {
  const kind = known.get(name)
  if (kind !== undefined) return kind
  if (typeof name !== 'string' || !TOKEN.test(name)) {
    throw new TypeError(`response header name ${shown(name)} is not a token (RFC 9110 §5.1)`)
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
 * Checks what was given to `startResponse`.
 *
 * @param upgrade whether the request may be answered by a 101
 * @throws TypeError that names the header or status, its value and the rule
 */
export function checkHead(status: string, headers: Headers, upgrade: boolean): CheckedHead {
  if (typeof status !== 'string' || !STATUS.test(status)) {
    throw new TypeError(
      `status ${shown(status)} is not of the form "200 OK" (three digits from 100 to 599, a space, a reason; latin1, PEP 3333)`,
    )
  }
  const code = Number(status.slice(0, 3))
  if (code < 200 && !(code === 101 && upgrade)) {
    throw new TypeError(
      code === 101
        ? 'status 101 was given for a request that asks for no upgrade'
        : `status ${shown(status)}: an informational status is not a response (use environ.gantry.earlyHints)`,
    )
  }
  if (!Array.isArray(headers)) throw new TypeError(`headers ${shown(headers)} are not a list of [name, value]`)
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
        `the value of response header ${name} is ${shown(value)}: expected a latin1 string without control characters (RFC 9110 §5.5)`,
      )
    }
    if (kind !== 'plain') {
      if (kind === 'content-length') {
        if (length !== -1) throw new TypeError('response header Content-Length was given twice')
        length = parseLength(value)
      } else if (code !== 101 || kind === 'hop-by-hop') {
        throw new TypeError(`response header ${name}: ${shown(value)} is hop-by-hop, the gateway's alone (PEP 3333)`)
      }
    }
    copy[at] = field
  }
  return { code, status, headers: copy, length }
}

/**
 * Checks fields that follow or precede the response (trailers, 103).
 *
 * @throws TypeError as `checkHead`; framing and routing fields are refused too (RFC 9110 §6.5.1)
 */
export function checkFields(headers: Headers, what: string): Headers {
  if (!Array.isArray(headers)) throw new TypeError(`${what} ${shown(headers)} are not a list of [name, value]`)
  for (const field of headers) {
    if (!Array.isArray(field) || field.length !== 2)
      throw new TypeError(`${what}: ${shown(field)} is not [name, value]`)
    const [name, value] = field
    if (kindOf(name) !== 'plain') throw new TypeError(`${what}: ${name} is not allowed here`)
    if (typeof value !== 'string' || !VALUE.test(value)) {
      throw new TypeError(
        `${what}: the value of ${name} is ${shown(value)}, no latin1 string without control characters`,
      )
    }
  }
  return headers
}

/**
 * A status as another wire gives it (`200`, `200 `, `200 OK`), as an application gives one: an empty reason is legal there
 * (RFC 9112 §4; HTTP/2 has none at all), and so are white space at its end and tabs.
 *
 * @param status three digits, and perhaps a reason; not checked beyond that
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

/** For messages: short, quoted, whatever it is. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value === 'object' && value !== null) return `a ${value.constructor?.name ?? 'plain'} object`
  return String(value)
}
