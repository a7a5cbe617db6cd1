/**
 * A response's body with an idle timeout: if the container is silent for too long, the body fails, and the client sees
 * that the response is truncated. Only time spent waiting for the container counts: a client that does not read causes
 * no timeout.
 */

import type { Body } from '../protocol/contract/application.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import { AbortError, HttpError } from '../protocol/contract/errors.ts'
import type { Deadlines, Expirable } from '../protocol/net/clock.ts'
import { isFailure } from './replay.ts'
import type { Attempt } from './upstream.ts'

type Step = IteratorResult<Uint8Array, undefined>

export class TimedBody implements AsyncIterableIterator<Uint8Array, undefined>, Expirable {
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  readonly #body: Body
  readonly #iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>
  readonly #attempt: Attempt
  readonly #deadlines: Deadlines
  readonly #timeout: number
  #reject: ((error: Error) => void) | undefined

  constructor(body: Body, attempt: Attempt, { deadlines, idleTimeout }: { deadlines: Deadlines; idleTimeout: number }) {
    this.#body = body
    this.#iterator = Symbol.asyncIterator in body ? body[Symbol.asyncIterator]() : body[Symbol.iterator]()
    this.#attempt = attempt
    this.#deadlines = deadlines
    this.#timeout = idleTimeout
    deadlines.add(this)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Step> {
    return new Promise((resolve, reject) => {
      this.#reject = reject
      this.deadline = this.#deadlines.clock.now() + this.#timeout
      this.#step().then(
        (step) => {
          this.#arrived(step.done === true)
          resolve(step as Step)
        },
        (error) => {
          this.#arrived(true)
          reject(reasonOf(error))
        },
      )
    })
  }

  /** Async, so that an iterator that throws rejects. */
  async #step(): Promise<IteratorResult<Uint8Array>> {
    return this.#iterator.next()
  }

  async return(): Promise<Step> {
    this.#arrived(true)
    await this.#iterator.return?.()
    return { done: true, value: undefined }
  }

  close(): void | Promise<void> {
    this.#arrived(true)
    return this.#body.close?.()
  }

  expire(): void {
    const message = `the container sent nothing for ${this.#timeout / 1000} s during its response (--idle-timeout)`
    const reject = this.#reject
    this.#arrived(true)
    this.#attempt.abort(new AbortError('DEADLINE', message))
    reject?.(httpError('UPSTREAM_IDLE', message))
  }

  #arrived(last: boolean): void {
    this.deadline = Number.POSITIVE_INFINITY
    this.#reject = undefined
    if (last) this.#deadlines.delete(this)
  }
}

/** The error for the client's exchange: the client's own reason for an abort, or the status that fits the failure. */
export function reasonOf(error: unknown): unknown {
  if (!isFailure(error) || error instanceof HttpError) return error
  if (error.code === 'ABORTED') return error.cause ?? error
  return httpError('UPSTREAM_LOST', `the container failed during its response: ${error.message}`, { cause: error })
}
