/**
 * Compares passwords with hashes: bcrypt in a thread of its own, one at a time and a bounded number waiting; SHA-1 at once. Knows no
 * users and no requests.
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { HttpError } from '../protocol/errors.ts'

/**
 * Comparisons that may wait. One takes about 0.1 s at the usual cost of 10, so that the last waits some seconds: longer than people or clients
 * do. Beyond, somebody is guessing.
 */
const WAITING_MAX = 64

interface Waiting {
  resolve(matches: boolean): void
  reject(error: Error): void
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

export class PasswordCheck {
  #worker: Worker | undefined
  #count = 0
  readonly #waiting: Map<number, Waiting> = new Map()

  /**
   * @param hash `$2a$`, `$2b$`, `$2y$` or `{SHA}`, of a form that htpasswd.ts lets pass
   * @throws HttpError 503 (as a rejection) when too many are waiting
   */
  matches(password: string, hash: string): boolean | Promise<boolean> {
    return hash.startsWith('{SHA}') ? matchesSha(password, hash) : this.#matchesBcrypt(password, hash)
  }

  #matchesBcrypt(password: string, hash: string): Promise<boolean> {
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(
        new HttpError(503, 'TOO_MANY_LOGINS', `more than ${WAITING_MAX} passwords wait to be checked`, {
          headers: [['Retry-After', '5']],
        }),
      )
    }
    const worker = (this.#worker ??= this.#start())
    const id = ++this.#count
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      // A process that does nothing else but wait for this must not end.
      worker.ref()
      worker.postMessage({ id, password, hash })
    })
  }

  #start(): Worker {
    const worker = new Worker(new URL(`./bcrypt-worker.${extension}`, import.meta.url))
    worker.unref()
    worker.on('message', ({ id, matches }: { id: number; matches: boolean }) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (this.#waiting.size === 0) worker.unref()
      waiting?.resolve(matches)
    })
    // Of an error an exit follows. The next comparison starts another.
    let failure: unknown
    worker.on('error', (error) => {
      failure = error
    })
    worker.on('exit', () => {
      this.#worker = undefined
      const abandoned = [...this.#waiting.values()]
      this.#waiting.clear()
      for (const { reject } of abandoned) reject(new Error('the password thread has ended', { cause: failure }))
    })
    return worker
  }
}

function matchesSha(password: string, hash: string): boolean {
  const digest = createHash('sha1').update(password, 'utf8').digest()
  return timingSafeEqual(digest, Buffer.from(hash.slice('{SHA}'.length), 'base64'))
}
