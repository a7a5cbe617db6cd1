/**
 * The open bodies of a filtered response: the application's body, and the body of a replacement. Each is iterated and
 * closed once, and errors of `close()` are kept for the server's log.
 */

import type { Body } from '../../protocol/contract/application.ts'
import { ApplicationBody } from '../../protocol/contract/application-body.ts'
import { shown } from '../../protocol/contract/response-head.ts'

type Step = IteratorResult<Uint8Array>

/**
 * Limits for an array of several chunks that counts as a whole body. Gateways coalesce up to the same size
 * (protocol/contract/response.ts).
 */
const WHOLE_MAX = 64 * 1024
const WHOLE_CHUNKS = 1024

export const EMPTY: Uint8Array = new Uint8Array(0)

export class FilteredBodies {
  /** The application's body. */
  readonly own: ApplicationBody = new ApplicationBody()
  /** The body of a replacement. */
  readonly other: ApplicationBody = new ApplicationBody()
  /** Whether the application's body has a close(). */
  #hasClose = false
  #closing: Promise<unknown> | undefined
  #errors: unknown[] | undefined

  give(body: Body): void {
    this.own.give(body)
    this.#hasClose = typeof body.close === 'function'
  }

  /** Whether something must be closed, awaited or reported at the end of the response. */
  get pending(): boolean {
    return (!this.own.closed && this.#hasClose) || this.#closing !== undefined || this.#errors !== undefined
  }

  /** Closes the application's body; it is not iterated any further. */
  closeOwn(): void {
    this.#closing = this.own.close(this.failed) ?? this.#closing
  }

  /**
   * Closes both bodies.
   *
   * @throws the first error of a `close()`, also as a rejection: usually the cause of the later ones
   */
  close(): void | Promise<void> {
    const own = this.own.close(this.failed)
    const other = this.other.close(this.failed)
    if (!own && !other && !this.#closing) return this.#throwFirst()
    return Promise.all([this.#closing, own, other]).then(() => this.#throwFirst())
  }

  readonly failed = (error: unknown): void => {
    this.#errors ??= []
    this.#errors.push(error)
  }

  #throwFirst(): void {
    if (this.#errors) throw this.#errors[0]
  }
}

/**
 * The next step of a synchronous body. An iterator that ended or threw is removed: its `return()` must not be called.
 */
export function stepSync(body: ApplicationBody): Step {
  try {
    const iterator = (body.iterator ?? body.iterate()) as Iterator<Uint8Array>
    const step = iterator.next()
    if (step.done) body.iterator = undefined
    return step
  } catch (error) {
    body.iterator = undefined
    throw error
  }
}

/** The next step of any body. */
export async function step(body: ApplicationBody): Promise<Step> {
  try {
    const pending = (body.iterator ?? body.iterate()).next()
    const result = 'then' in pending ? await pending : pending
    if (result.done) body.iterator = undefined
    return result
  } catch (error) {
    body.iterator = undefined
    throw error
  }
}

export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** Whether an array counts as a whole body: one chunk, or at most 64 KiB. */
export function isWhole(chunks: unknown[]): chunks is Uint8Array[] {
  if (chunks.length > WHOLE_CHUNKS) return false
  let total = 0
  for (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) return false
    total += chunk.length
  }
  return chunks.length === 1 || total <= WHOLE_MAX
}

/** @throws TypeError if the chunk is not a Uint8Array, with the server's message */
export function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application gave ${shown(chunk)} as a chunk of its body: expected a Uint8Array; use Buffer.from(text)`,
    )
  }
}
