/**
 * Connects a Node stream's `_writev` to an application's body. The stream offers a batch of chunks and waits; the
 * exchange takes the chunks one by one; then the stream is called back. Node's own buffer behind the one batch applies
 * backpressure. Knows neither streams nor HTTP.
 */

import { AsyncResource } from 'node:async_hooks'
import type { Body } from '../../protocol/contract/application.ts'

const DONE: IteratorResult<Uint8Array> = Object.freeze({ done: true, value: undefined })
type PendingNext = PromiseWithResolvers<IteratorResult<Uint8Array>>
type Taken = (error?: Error | null) => void

/**
 * Calls the writer of a batch back in the writer's own async context, as Node does: listeners of 'finish' and 'drain'
 * find the AsyncLocalStorage store of their request there.
 */
class Writer extends AsyncResource {
  readonly #taken: Taken

  constructor(taken: Taken) {
    super('GantryWrite')
    this.#taken = taken
  }

  call(): void {
    this.runInAsyncScope(this.#taken)
  }

  callSoon(error: Error | null | undefined): void {
    this.runInAsyncScope(process.nextTick, process, this.#taken, error)
  }
}

export interface BodyQueueHost {
  /** The exchange closed the body. `complete`: it had taken all chunks before. */
  bodyClosed(complete: boolean): void
  /** The body has failed, and the exchange will notice only when it requests the next chunk. */
  failedEarly(error: unknown): void
  /**
   * Whether a complete body may be an array: the exchange then adds a Content-Length if the response has none, and
   * sends the array in one piece.
   */
  readonly joinable: boolean
}

/**
 * - `open`: more batches may follow.
 * - `ended`: the whole body was offered.
 * - `failed`: the chunks in the queue are still sent, then the exchange gets the failure.
 * - `closed`: the exchange does not need the body any more.
 */
type Phase = 'open' | 'ended' | 'failed' | 'closed'

export class BodyQueue {
  readonly #host: BodyQueueHost
  #phase: Phase = 'open'
  #chunks: Uint8Array[] = []
  /** The writer of `#chunks`, until the exchange has taken them. */
  #writer: Writer | undefined
  /** Whether batches are accepted as they are offered, without a limit. */
  #accepting = false
  #failure: unknown
  #next: PendingNext | undefined
  #body: PromiseWithResolvers<Body> | undefined
  /** Whether the exchange has the body, and in which form: a stream of chunks or an array. */
  #bodyForm: 'no' | 'stream' | 'array' = 'no'

  constructor(host: BodyQueueHost) {
    this.#host = host
  }

  // ---- the stream's side -----------------------------------------------------------------------------------------

  /**
   * Offers a batch, which must not be empty. `taken` is called when there is room for the next batch, or with an error
   * if the batch will never be sent.
   */
  offer(chunks: Uint8Array[], taken: Taken): void {
    if (this.#phase !== 'open') {
      taken(new Error('the response is over'))
      return
    }
    if (this.#accepting) {
      this.#chunks.push(...chunks)
      taken()
      return
    }
    this.#chunks = chunks
    this.#writer = new Writer(taken)
    const next = this.#next
    this.#next = undefined
    if (next) next.resolve({ done: false, value: this.#chunks.shift()! })
    else if (this.#body) queueMicrotask(() => this.#settle())
  }

  /** Accepts at once everything that the stream still holds. */
  accept(): void {
    const writer = this.#writer
    if (!writer || this.#phase !== 'open') return
    this.#writer = undefined
    this.#accepting = true
    try {
      writer.call()
    } finally {
      this.#accepting = false
    }
  }

  /** Ends the body. Chunks in the queue are still sent. */
  end(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'ended'
    const next = this.#next
    this.#next = undefined
    if (next) next.resolve(DONE)
    else this.#settle()
  }

  /**
   * Ends the body too early: chunks in the queue are still sent, then the exchange gets `error`. Has no effect on a
   * body that has ended.
   */
  truncate(error: unknown): void {
    if (this.#phase !== 'open') return
    this.#phase = 'failed'
    this.#failure = error
    this.#callWriter(null)
    this.#reject()
    // The exchange may wait for its client before it requests the next chunk.
    if (this.#bodyForm === 'stream') this.#host.failedEarly(error)
  }

  /**
   * Sends nothing more, and the exchange gets `error`. Has no effect after a first failure or on a body that has ended.
   */
  abort(error: unknown): void {
    if (this.#phase === 'open') this.#failure = error
    else if (this.#phase !== 'failed') return
    this.#phase = 'failed'
    this.#chunks = []
    this.#callWriter(new Error('the response is over', { cause: error }))
    this.#reject()
    if (this.#bodyForm === 'stream') this.#host.failedEarly(error)
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Whether the exchange has the body, or will not get one. */
  get isTaken(): boolean {
    return this.#bodyForm !== 'no'
  }

  // ---- the exchange's side ---------------------------------------------------------------------------------------

  /**
   * Returns the body, as soon as its form is known.
   *
   * @throws the error passed to `truncate` or `abort`
   */
  body(): Body | Promise<Body> {
    if (this.#phase === 'failed' && this.#chunks.length === 0) throw this.#failure
    if (this.#phase === 'ended' || this.#chunks.length > 0) return this.#makeBody()
    this.#body = Promise.withResolvers<Body>()
    return this.#body.promise
  }

  /** Called a microtask after `offer`: a response that ends in the same tick is complete, and becomes an array. */
  #settle(): void {
    if (this.#bodyForm === 'no' && this.#body) this.#body.resolve(this.#makeBody())
  }

  #makeBody(): Body {
    const close = (): void => this.#close()
    if (this.#phase === 'ended' && this.#host.joinable) {
      this.#bodyForm = 'array'
      return Object.assign(this.#chunks, { close })
    }
    this.#bodyForm = 'stream'
    const iterator: AsyncIterator<Uint8Array> = { next: () => this.#pull() }
    return { [Symbol.asyncIterator]: () => iterator, close }
  }

  async #pull(): Promise<IteratorResult<Uint8Array>> {
    if (this.#chunks.length > 0) return { done: false, value: this.#chunks.shift()! }
    if (this.#phase === 'failed') throw this.#failure
    // In a later tick: if a listener of 'drain' or 'finish' throws, that is not a failure of the exchange.
    this.#callWriter(undefined)
    if (this.#phase === 'ended') return DONE
    this.#next = Promise.withResolvers<IteratorResult<Uint8Array>>()
    return this.#next.promise
  }

  #close(): void {
    if (this.#phase === 'closed') return
    const complete = this.#phase === 'ended' && (this.#bodyForm === 'array' || this.#chunks.length === 0)
    this.#phase = 'closed'
    this.#chunks = []
    this.#callWriter(complete ? null : new Error('the response was aborted'))
    const next = this.#next
    this.#next = undefined
    next?.resolve(DONE)
    this.#host.bodyClosed(complete)
  }

  /** Rejects a pending body or chunk with the failure. Chunks in the queue are sent first. */
  #reject(): void {
    const next = this.#next
    this.#next = undefined
    next?.reject(this.#failure)
    if (this.#bodyForm !== 'no' || !this.#body) return
    if (this.#chunks.length > 0) {
      this.#settle()
      return
    }
    this.#bodyForm = 'stream'
    this.#body.reject(this.#failure)
  }

  #callWriter(error: Error | null | undefined): void {
    const writer = this.#writer
    this.#writer = undefined
    writer?.callSoon(error)
  }
}
