/**
 * Compares passwords with hashes: bcrypt in a thread, one at a time, with a queue that clients share fairly; SHA-1 at
 * once. Knows neither users nor requests.
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import { FairQueue } from '../../protocol/client/fair-queue.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { WorkOwner } from '../shared/work-owner.ts'
import { BcryptThread } from './bcrypt-thread.ts'

/**
 * Largest number of comparisons in progress or waiting. One takes about 0.1 s at the usual cost of 10, so that the last
 * one waits some seconds, longer than people do. Only clients that guess passwords cause more, and these clients are
 * served last.
 */
const WAITING_MAX = 64

interface Waiting extends WorkOwner {
  readonly password: string
  readonly hash: string
  readonly resolve: (matches: boolean) => void
  readonly reject: (error: Error) => void
  readonly onAbort: () => void
}

/** Compares one password with one bcrypt hash. */
type Compare = (password: string, hash: string) => Promise<boolean>

export class PasswordCheck {
  readonly #compare: Compare
  readonly #queue: FairQueue<Waiting> = new FairQueue(WAITING_MAX - 1)
  #running = false

  /** @param compare default: bcrypt, in a thread */
  constructor(compare: Compare = bcryptInThread()) {
    this.#compare = compare
  }

  /**
   * @param hash `$2a$`, `$2b$`, `$2y$` or `{SHA}`, in a form that htpasswd.ts accepts
   * @throws HttpError 503 (as a rejection) if too many comparisons wait
   * @throws the signal's reason (as a rejection) if it is aborted before the comparison begins
   */
  matches(password: string, hash: string, owner: WorkOwner): boolean | Promise<boolean> {
    return hash.startsWith('{SHA}') ? matchesSha(password, hash) : this.#matchesBcrypt(password, hash, owner)
  }

  #matchesBcrypt(password: string, hash: string, { client, signal }: WorkOwner): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = (): void => {
        if (this.#queue.delete(client, waiting)) reject(signal.reason)
      }
      const waiting: Waiting = { client, signal, password, hash, resolve, reject, onAbort }
      signal.addEventListener('abort', onAbort, { once: true })
      const dropped = this.#queue.add(client, waiting)
      dropped?.signal.removeEventListener('abort', dropped.onAbort)
      dropped?.reject(
        httpError('TOO_MANY_LOGINS', `${WAITING_MAX} passwords wait to be checked already`, {
          headers: [['Retry-After', '5']],
        }),
      )
      this.#next()
    })
  }

  #next(): void {
    if (this.#running) return
    const waiting = this.#queue.take()
    if (!waiting) return
    waiting.signal.removeEventListener('abort', waiting.onAbort)
    this.#running = true
    this.#compare(waiting.password, waiting.hash)
      .then(waiting.resolve, waiting.reject)
      .finally(() => {
        this.#running = false
        this.#next()
      })
  }
}

function bcryptInThread(): Compare {
  const thread = new BcryptThread()
  return (password, hash) => thread.compare(password, hash)
}

function matchesSha(password: string, hash: string): boolean {
  const digest = createHash('sha1').update(password, 'utf8').digest()
  return timingSafeEqual(digest, Buffer.from(hash.slice('{SHA}'.length), 'base64'))
}
