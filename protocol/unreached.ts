/**
 * Why a peer is not reached: each reason is to be logged once, until the peer is reached. Another service may listen at
 * its address meanwhile.
 */

import { SaidOnce } from './said-once.ts'

/** A connection was accepted and its handshake is late; it may time out later. */
const UNANSWERED = 'unanswered'

export class Unreached {
  readonly #said: SaidOnce = new SaidOnce()
  #any = false

  /** Whether this failure is to be logged. */
  failed(error: Error): boolean {
    return this.#says(isTimeout(error) ? UNANSWERED : error.message)
  }

  /** Whether it is to be logged that a handshake is late. */
  unanswered(): boolean {
    return this.#says(UNANSWERED)
  }

  /** @returns whether a failure was logged since the peer was reached last */
  reached(): boolean {
    const any = this.#any
    this.#any = false
    this.#said.forget('')
    return any
  }

  #says(reason: string): boolean {
    if (!this.#said.say('', reason)) return false
    this.#any = true
    return true
  }
}

/** Whether a handshake timed out. */
export function isTimeout(error: Error | undefined): boolean {
  return error !== undefined && 'code' in error && error.code === 'TIMEOUT'
}
