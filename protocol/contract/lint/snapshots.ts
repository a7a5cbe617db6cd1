/** Records headers and chunks that an application has passed on, to detect later changes. */

import type { Headers } from '../application.ts'
import { type Fail, show } from './rules.ts'

/** The headers at the time when startResponse returned. */
export class HeadersSnapshot {
  readonly #list: Headers
  readonly #copy: string[]

  constructor(list: Headers) {
    this.#list = list
    this.#copy = list.flat()
  }

  /** Call it when only the application can have run since then, so that a change is known to be the application's. */
  check(fail: Fail): void {
    const list = this.#list
    const copy = this.#copy
    if (list.length * 2 !== copy.length) {
      fail('HEADERS_CHANGED', `there were ${copy.length / 2} headers, now there are ${list.length}`)
      return
    }
    for (let at = 0; at < list.length; at++) {
      const pair = list[at]
      if (pair?.[0] === copy[at * 2] && pair?.[1] === copy[at * 2 + 1]) continue
      fail(
        'HEADERS_CHANGED',
        `${copy[at * 2]} was ${show(copy[at * 2 + 1])}, now it is ${show(pair?.[0])}: ${show(pair?.[1])}`,
      )
      return
    }
  }
}

/** The bytes of a chunk that are sampled: all of a short chunk, and few of a long chunk, so that the cost is small. */
const SAMPLES = 32

/** A hash that most changes of `chunk` change: a buffer that is filled again differs in nearly every byte. */
export function fingerprint(chunk: Uint8Array): number {
  const { length } = chunk
  const step = length <= SAMPLES ? 1 : Math.floor(length / SAMPLES)
  let print = length
  for (let at = 0; at < length; at += step) print = (Math.imul(print, 31) + chunk[at]!) | 0
  return print
}
