/**
 * A request body that can be sent again: reads the input once, and keeps the bytes while a retry is possible and they
 * are few enough. It knows no frames; the pool decides about retries.
 */

import type { Input } from '../contract/application.ts'
import { RequestInput } from '../contract/input.ts'
import { DATA_MAX, WINDOW } from './codec/constants.ts'

/** One attempt to send the request. */
export interface SendAttempt {
  /** `next()` has a chunk, the end or an error now. */
  bodyReady(): void
  abort(reason: Error): void
  /** Whether the application has read all bytes that this attempt was given. Default true. */
  readonly caughtUp?: boolean
}

/**
 * The most bytes that are kept. Before STARTED a peer can take its initial window, and one more chunk waits to be sent.
 * For a peer with a larger window than ours the body is no longer whole; memory stays bounded.
 */
export const KEEP_MAX: number = WINDOW + 2 * DATA_MAX

/**
 * The most bytes that are kept while the application runs, of a request that may run twice: if its container dies, the
 * request can still be sent again. A large upload is not kept: an application may run for long, and memory is limited.
 */
export const KEEP_RUNNING: number = DATA_MAX

export class ReplayableBody {
  readonly #input: Input
  /** The input, if it can be read without a promise. */
  readonly #fast: RequestInput | undefined
  readonly #repeatable: boolean
  #attempt: SendAttempt | undefined
  /** Chunks that were read and can be sent again; the next chunk is at `#at`. */
  #chunks: Uint8Array[] = []
  #at = 0
  #bytes = 0
  /** The most bytes that are kept now. */
  #keepMax = KEEP_MAX
  /** Whether bytes were dropped after they were sent. */
  #isDropped = false
  #reading = false
  #ended = false
  #failure: Error | undefined
  #trailers: readonly string[] = []
  #taken = 0

  /**
   * Create one per request, and pass the same body to every attempt.
   *
   * @param repeatable whether the request may be sent again after it has run (RFC 9110 §9.2.2): then up to
   *   `KEEP_RUNNING` bytes are kept until the response
   */
  constructor(input: Input, repeatable: boolean = false) {
    this.#input = input
    this.#repeatable = repeatable
    this.#fast = input instanceof RequestInput ? input : undefined
  }

  /** Whether the body can still be sent from its first byte. Always true for an empty body. */
  get whole(): boolean {
    return !this.#isDropped
  }

  /** Whether the present attempt has sent the whole body. */
  get sent(): boolean {
    return this.#ended && this.#at === this.#chunks.length
  }

  /** Whether the next bytes must still arrive from the client. */
  get waiting(): boolean {
    return this.#reading && this.#at === this.#chunks.length
  }

  /** Bytes that the present attempt has sent. */
  get taken(): number {
    return this.#taken
  }

  /** Whether the application has read all bytes that the present attempt was given. */
  get caughtUp(): boolean {
    return this.#attempt?.caughtUp ?? true
  }

  /** Whether no byte was read from the input. */
  get untouched(): boolean {
    return this.#chunks.length === 0 && !this.#isDropped && (this.#fast === undefined || this.#fast.buffered === 0)
  }

  /** The trailers, flat. Complete after `next()` has returned null. */
  get trailers(): readonly string[] {
    return this.#trailers
  }

  /** Whether `next()` will return null, and no trailers follow. */
  get atEnd(): boolean {
    // The bytes of a read in progress have left the input, and have not arrived here yet.
    if (this.#at < this.#chunks.length || this.#reading) return false
    if (this.#ended) return this.#trailers.length === 0
    const input = this.#fast
    return input?.ended === true && input.buffered === 0 && input.trailerFields.length === 0
  }

  /** Whether the client sent a body, even an empty body (RFC 9112 §6.3). */
  get exists(): boolean {
    return this.#fast?.hasBody ?? !this.atEnd
  }

  /**
   * Aborts the present attempt: the promise of the call, or the pending read of the response, rejects with `reason`.
   */
  abort(reason: Error): void {
    this.#attempt?.abort(reason)
  }

  // ---- for the attempt ----------------------------------------------------------------------------------------

  /** Starts an attempt from the first byte. Call it only if the body is `whole`. */
  begin(attempt: SendAttempt): void {
    this.#attempt = attempt
    this.#at = 0
    this.#taken = 0
  }

  /** The attempt is over. */
  finish(attempt: SendAttempt): void {
    if (this.#attempt === attempt) this.#attempt = undefined
  }

  /**
   * The next chunk; null at the end; undefined if no chunk has arrived: then `bodyReady` is called later.
   *
   * @throws the error of the input
   */
  next(): Uint8Array | null | undefined {
    if (this.#at < this.#chunks.length) return this.#nextKept()
    if (this.#failure) throw this.#failure
    if (this.#ended) return null
    if (this.#reading) return undefined
    const chunk = this.#fast?.readNow(DATA_MAX)
    if (chunk === null) {
      this.#ended = true
      this.#trailers = this.#fast!.trailerFields
      return null
    }
    if (chunk === undefined) {
      this.#read()
      return undefined
    }
    this.#chunks.push(chunk)
    return this.#nextKept()
  }

  /** The application has started. */
  started(): void {
    this.#keep(this.#repeatable ? KEEP_RUNNING : 0)
  }

  /** The response has started: no other attempt follows. */
  responded(): void {
    this.#keep(0)
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  #nextKept(): Uint8Array {
    const chunk = this.#chunks[this.#at++]!
    this.#taken += chunk.length
    this.#bytes = Math.max(this.#bytes, this.#taken)
    if (this.#bytes > this.#keepMax) this.#keep(0)
    return chunk
  }

  #keep(most: number): void {
    if (most < this.#keepMax) this.#keepMax = most
    if (this.#bytes > this.#keepMax) this.#drop()
  }

  /** Drops the chunks that were sent. */
  #drop(): void {
    this.#keepMax = 0
    if (this.#at === 0) return
    this.#chunks.splice(0, this.#at)
    this.#at = 0
    this.#isDropped = true
  }

  #read(): void {
    this.#reading = true
    this.#input.read1(DATA_MAX).then(
      (chunk) => this.#arrived(chunk),
      (error: Error) => {
        this.#reading = false
        this.#failure = error
        this.#attempt?.bodyReady()
      },
    )
  }

  async #arrived(chunk: Uint8Array): Promise<void> {
    if (chunk.length > 0) this.#chunks.push(chunk)
    else {
      try {
        this.#trailers = this.#fast?.trailerFields ?? (await this.#input.trailers).flat()
        this.#ended = true
      } catch (error) {
        this.#failure = error as Error
      }
    }
    this.#reading = false
    this.#attempt?.bodyReady()
  }
}
