/** What an application has given away, so that it can be seen whether it writes to it afterwards. */

import type { Headers } from '../application.ts'
import { type Fail, show } from './rules.ts'

/** Headers as they were when startResponse returned. */
export class GivenHeaders {
  readonly #list: Headers
  readonly #copy: string[]

  constructor(list: Headers) {
    this.#list = list
    this.#copy = list.flat()
  }

  /** To be asked when nothing but the application has run since: what changed them is known then. */
  check(fail: Fail): void {
    const list = this.#list
    const copy = this.#copy
    if (list.length * 2 !== copy.length) {
      fail('HEADERS_CHANGED', `there were ${copy.length / 2}, and are ${list.length}`)
      return
    }
    for (let at = 0; at < list.length; at++) {
      const pair = list[at]
      if (pair?.[0] === copy[at * 2] && pair?.[1] === copy[at * 2 + 1]) continue
      fail(
        'HEADERS_CHANGED',
        `${copy[at * 2]} was ${show(copy[at * 2 + 1])}, and is ${show(pair?.[0])}: ${show(pair?.[1])}`,
      )
      return
    }
  }
}

/** Bytes of a chunk that are looked at: all of a short one, and so few of a long one that it costs nothing to speak of. */
const SAMPLES = 32

/** A number that most changes of `chunk` change: a buffer that is filled anew does so at nearly every byte. */
export function fingerprint(chunk: Uint8Array): number {
  const { length } = chunk
  const step = length <= SAMPLES ? 1 : Math.floor(length / SAMPLES)
  let print = length
  for (let at = 0; at < length; at += step) print = (Math.imul(print, 31) + chunk[at]!) | 0
  return print
}
