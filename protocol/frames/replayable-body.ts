/**
 * A request's body that can be sent again: reads the input once, and keeps what was sent while that is of use and not too
 * much. Does not know frames, nor whether a request may be sent again.
 */

import type { Input } from '../contract/application.ts'
import { RequestInput } from '../contract/input.ts'
import { DATA_MAX, WINDOW } from './codec/constants.ts'

/** One attempt to have the request run. */
export interface Attempt {
  /** `next()` has something now. */
  bodyReady(): void
  abort(reason: Error): void
  /** Whether the application has read all bytes that this attempt was given. Default true. */
  readonly caughtUp?: boolean
}

/**
 * Most that is kept, bytes: before STARTED a peer can take its initial window, and one more chunk waits to be sent. A peer
 * with a larger window than ours makes bodies that are not whole, never memory without end.
 */
export const KEEP_MAX: number = WINDOW + 2 * DATA_MAX

/**
 * Most that is kept while the application runs, bytes, of a request that may run twice. One whose container dies then can still be
 * sent again; a large upload's bytes are not worth their memory for as long as applications like to take.
 */
export const KEEP_RUNNING: number = DATA_MAX

export class ReplayableBody {
  readonly #input: Input
  readonly #fast: RequestInput | undefined
  readonly #repeatable: boolean
  #attempt: Attempt | undefined
  /** Chunks that were read and can be given again; the next to give is `#at`. */
  #chunks: Uint8Array[] = []
  #at = 0
  #bytes = 0
  /** Most that is kept. */
  #most = KEEP_MAX
  /** Bytes that were given and are not kept. */
  #gone = false
  #reading = false
  #ended = false
  #failure: Error | undefined
  #trailers: readonly string[] = []
  #taken = 0

  /**
   * Make one per request, and give the same one to every attempt.
   *
   * @param repeatable whether it may be sent again although it has run (RFC 9110 §9.2.2): then up to `KEEP_RUNNING` bytes are kept
   *   until it is answered
   */
  constructor(input: Input, repeatable: boolean = false) {
    this.#input = input
    this.#repeatable = repeatable
    this.#fast = input instanceof RequestInput ? input : undefined
  }

  /** Whether it can still be sent from its first byte. True for an empty body, always. */
  get whole(): boolean {
    return !this.#gone
  }

  /** Whether the present attempt has given all of it to the container. */
  get sent(): boolean {
    return this.#ended && this.#at === this.#chunks.length
  }

  /** Whether the next bytes have still to come from the client. */
  get waiting(): boolean {
    return this.#reading && this.#at === this.#chunks.length
  }

  /** Bytes that the present attempt has given to the container. */
  get taken(): number {
    return this.#taken
  }

  /** Whether the application has read all bytes that the present attempt was given. */
  get caughtUp(): boolean {
    return this.#attempt?.caughtUp ?? true
  }

  /** Whether nothing was given to anybody. */
  get untouched(): boolean {
    return this.#chunks.length === 0 && !this.#gone && (this.#fast === undefined || this.#fast.buffered === 0)
  }

  /** Flat; once `next()` gave null. */
  get trailers(): readonly string[] {
    return this.#trailers
  }

  /** Whether `next()` is known to have nothing but null, and no trailers follow. */
  get atEnd(): boolean {
    // What a read is about to give has left the input already, and has not come here yet.
    if (this.#at < this.#chunks.length || this.#reading) return false
    if (this.#ended) return this.#trailers.length === 0
    const input = this.#fast
    return input?.ended === true && input.buffered === 0 && input.trailerFields.length === 0
  }

  /** Whether the client sent a body, be it empty (RFC 9112 §6.3). */
  get exists(): boolean {
    return this.#fast?.hasBody ?? !this.atEnd
  }

  /** Gives the present attempt up: `call`'s promise, or the body's pending read, rejects with `reason`. */
  abort(reason: Error): void {
    this.#attempt?.abort(reason)
  }

  // ---- the attempt's side ----------------------------------------------------------------------------------------

  /** From the first byte. Only when `whole`. */
  begin(attempt: Attempt): void {
    this.#attempt = attempt
    this.#at = 0
    this.#taken = 0
  }

  /** That attempt is over. */
  leave(attempt: Attempt): void {
    if (this.#attempt === attempt) this.#attempt = undefined
  }

  /**
   * The next chunk; null at the end; undefined when it has to be waited for: `bodyReady` follows.
   *
   * @throws what the input failed with
   */
  next(): Uint8Array | null | undefined {
    if (this.#at < this.#chunks.length) return this.#give()
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
    return this.#give()
  }

  /** The application runs. */
  started(): void {
    this.#keep(this.#repeatable ? KEEP_RUNNING : 0)
  }

  /** There will be no other attempt. */
  answered(): void {
    this.#keep(0)
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #give(): Uint8Array {
    const chunk = this.#chunks[this.#at++]!
    this.#taken += chunk.length
    this.#bytes = Math.max(this.#bytes, this.#taken)
    if (this.#bytes > this.#most) this.#keep(0)
    return chunk
  }

  #keep(most: number): void {
    if (most < this.#most) this.#most = most
    if (this.#bytes > this.#most) this.#drop()
  }

  /** Lets go of what was given. */
  #drop(): void {
    this.#most = 0
    if (this.#at === 0) return
    this.#chunks.splice(0, this.#at)
    this.#at = 0
    this.#gone = true
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
