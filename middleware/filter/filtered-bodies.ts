/**
 * The bodies that are open while a response is filtered: the application's, and what answers in its place. Each is stepped and closed once,
 * and what closing throws is kept for the server to log. What is done with the chunks is `filter-response.ts`.
 */

import type { Body } from '../../protocol/contract/application.ts'
import { ApplicationBody } from '../../protocol/contract/application-body.ts'
import { shown } from '../../protocol/contract/response-head.ts'

type Step = IteratorResult<Uint8Array>

/** An array of more than one chunk counts as whole up to this size: what gateways coalesce too (protocol/contract/response.ts). */
const WHOLE_MAX = 64 * 1024
const WHOLE_CHUNKS = 1024

export class FilteredBodies {
  /** The application's. */
  readonly own: ApplicationBody = new ApplicationBody()
  /** What a replacement gave. */
  readonly other: ApplicationBody = new ApplicationBody()
  /** The application's has a close(). */
  #closes = false
  #closing: Promise<unknown> | undefined
  #errors: unknown[] | undefined

  give(body: Body): void {
    this.own.give(body)
    this.#closes = typeof body.close === 'function'
  }

  /** Whether something has to be closed, waited for or told once the response is over. */
  get pending(): boolean {
    return (!this.own.closed && this.#closes) || this.#closing !== undefined || this.#errors !== undefined
  }

  /** The application's is not asked any more. */
  closeOwn(): void {
    this.#closing = this.own.close(this.failed) ?? this.#closing
  }

  /** @throws or rejects with what closing threw first: most often the cause of what came after */
  close(): void | Promise<void> {
    const own = this.own.close(this.failed)
    const other = this.other.close(this.failed)
    if (!own && !other && !this.#closing) return this.#tell()
    return Promise.all([this.#closing, own, other]).then(() => this.#tell())
  }

  readonly failed = (error: unknown): void => {
    this.#errors ??= []
    this.#errors.push(error)
  }

  #tell(): void {
    if (this.#errors) throw this.#errors[0]
  }
}

/** A synchronous body's next step. An iterator that ended or threw is unset: it has no `return()` to be run. */
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

/** A body's next step, asynchronous or not. */
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

/** Whether an array of chunks counts as a whole body. */
export function isWhole(chunks: unknown[]): chunks is Uint8Array[] {
  if (chunks.length > WHOLE_CHUNKS) return false
  let total = 0
  for (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) return false
    total += chunk.length
  }
  return chunks.length === 1 || total <= WHOLE_MAX
}

/** @throws TypeError as the server would */
export function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application gave ${shown(chunk)} as a chunk of its body: expected a Uint8Array; use Buffer.from(text)`,
    )
  }
}
