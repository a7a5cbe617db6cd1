/** Small functions that the fixture applications share. */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import type { Journal } from './journal.ts'

export const plain: Headers = [['Content-Type', 'text/plain; charset=utf-8']]
export const octets: Headers = [['Content-Type', 'application/octet-stream']]
export const json: Headers = [['Content-Type', 'application/json']]

export function bytes(text: string): Buffer {
  return Buffer.from(text)
}

export function query(environ: Environ): URLSearchParams {
  return new URLSearchParams(environ.QUERY_STRING)
}

/** An integer from the query. */
export function number(environ: Environ, name: string, otherwise: number): number {
  const text = query(environ).get(name)
  return text === null ? otherwise : Number(text)
}

export function key(environ: Environ): string {
  return query(environ).get('key') ?? ''
}

/** Applications by the first segment of their path, created with one journal. */
export type Apps = Record<string, Application>
export type MakeApps = (journal: Journal) => Apps

/**
 * The byte at `index` of the pattern. No two neighbouring windows are alike, so that a lost, repeated or swapped piece
 * is detected.
 */
export function patternByte(index: number): number {
  return (index ^ (index >>> 8) ^ (index >>> 16) ^ (index >>> 24)) & 0xff
}

/** `length` bytes of the pattern from `start`. */
export function pattern(start: number, length: number): Uint8Array {
  const chunk = new Uint8Array(length)
  for (let at = 0; at < length; at++) chunk[at] = patternByte(start + at)
  return chunk
}
