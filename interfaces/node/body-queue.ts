/**
 * Where a Node stream's `_writev` meets an application's body: the stream offers a batch of chunks and waits, the exchange
 * takes them one by one, and the stream is called back once the last of them was taken and more is asked for. So no more
 * than one batch waits here, and Node's own buffer behind it applies backpressure.
 *
 * It knows neither streams nor HTTP. A response that is whole before the exchange asks for it can be given as an array,
 * which an exchange sends in one piece.
 */

import { AsyncResource } from 'node:async_hooks'
import type { Body } from '../../protocol/contract/application.ts'

const DONE: IteratorResult<Uint8Array> = Object.freeze({ done: true, value: undefined })
type Next = PromiseWithResolvers<IteratorResult<Uint8Array>>
type Taken = (error?: Error | null) => void

/**
 * Calls the writer of a batch back in the writer's own async context, as node does: listeners of 'finish' and 'drain' find their request's
 * AsyncLocalStorage store there.
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
  /** The exchange closed the body. `whole`: it had taken all of it first. */
  bodyClosed(whole: boolean): void
  /** The body has failed, and the exchange does not know that before it asks for more. */
  failedEarly(error: unknown): void
  /** Whether a body that is whole may be given as an array: an exchange then says its length where nobody did. */
  readonly joinable: boolean
}

/**
 * - `open`: more batches may follow.
 * - `ended`: the whole body was offered.
 * - `failed`: what is left in the queue is still sent, then the exchange gets the failure.
 * - `closed`: the exchange needs the body no longer.
 */
type Phase = 'open' | 'ended' | 'failed' | 'closed'

export class BodyQueue {
  readonly #host: BodyQueueHost
  #phase: Phase = 'open'
  #chunks: Uint8Array[] = []
  /** The writer of `#chunks`, until they are taken. */
  #writer: Writer | undefined
  /** Accept batches as they are offered, without a limit. */
  #accepting = false
  #failure: unknown
  #next: Next | undefined
  #body: PromiseWithResolvers<Body> | undefined
  /** The body was given to the exchange, as a stream of chunks or as an array. */
  #given: 'no' | 'stream' | 'array' = 'no'

  constructor(host: BodyQueueHost) {
    this.#host = host
  }

  // ---- the stream's side -----------------------------------------------------------------------------------------

  /** A batch, not empty; `taken` is called when there is room for the next, or with an error when it will never be sent. */
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

  /** No batch follows. What was offered is still taken. */
  end(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'ended'
    const next = this.#next
    this.#next = undefined
    if (next) next.resolve(DONE)
    else this.#settle()
  }

  /**
   * The body ends too early: what was offered is still sent, then the exchange gets `error`. Has no effect on a body
   * that has ended.
   */
  truncate(error: unknown): void {
    if (this.#phase !== 'open') return
    this.#phase = 'failed'
    this.#failure = error
    this.#called(null)
    this.#reject()
    // The exchange has what it took, and may wait for its client before it asks for more.
    if (this.#given === 'stream') this.#host.failedEarly(error)
  }

  /**
   * Nothing more is sent, and the exchange gets `error`. Has no effect after a first failure or on a body that has
   * ended.
   */
  abort(error: unknown): void {
    if (this.#phase === 'open') this.#failure = error
    else if (this.#phase !== 'failed') return
    this.#phase = 'failed'
    this.#chunks = []
    this.#called(new Error('the response is over', { cause: error }))
    this.#reject()
    if (this.#given === 'stream') this.#host.failedEarly(error)
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Whether the exchange has the body, or will not get one. */
  get given(): boolean {
    return this.#given !== 'no'
  }

  // ---- the exchange's side ---------------------------------------------------------------------------------------

  /**
   * The body, as soon as it is known how it begins.
   *
   * @throws the error passed to `truncate` or `abort`
   */
  body(): Body | Promise<Body> {
    if (this.#phase === 'failed' && this.#chunks.length === 0) throw this.#failure
    if (this.#phase === 'ended' || this.#chunks.length > 0) return this.#give()
    this.#body = Promise.withResolvers<Body>()
    return this.#body.promise
  }

  /** From `offer` a microtask later: an end in the same turn makes the response a whole one. */
  #settle(): void {
    if (this.#given === 'no' && this.#body) this.#body.resolve(this.#give())
  }

  #give(): Body {
    const close = (): void => this.#close()
    if (this.#phase === 'ended' && this.#host.joinable) {
      this.#given = 'array'
      return Object.assign(this.#chunks, { close })
    }
    this.#given = 'stream'
    const iterator: AsyncIterator<Uint8Array> = { next: () => this.#pull() }
    return { [Symbol.asyncIterator]: () => iterator, close }
  }

  async #pull(): Promise<IteratorResult<Uint8Array>> {
    if (this.#chunks.length > 0) return { done: false, value: this.#chunks.shift()! }
    if (this.#phase === 'failed') throw this.#failure
    // Not in this call: a listener of 'drain' or 'finish' that throws is not the exchange's failure.
    this.#called(undefined)
    if (this.#phase === 'ended') return DONE
    this.#next = Promise.withResolvers<IteratorResult<Uint8Array>>()
    return this.#next.promise
  }

  #close(): void {
    if (this.#phase === 'closed') return
    const whole = this.#phase === 'ended' && (this.#given === 'array' || this.#chunks.length === 0)
    this.#phase = 'closed'
    this.#chunks = []
    this.#called(whole ? null : new Error('the response was aborted'))
    const next = this.#next
    this.#next = undefined
    next?.resolve(DONE)
    this.#host.bodyClosed(whole)
  }

  /** Rejects a pending body or chunk with the failure. Chunks that are left in the queue are sent first. */
  #reject(): void {
    const next = this.#next
    this.#next = undefined
    next?.reject(this.#failure)
    if (this.#given !== 'no' || !this.#body) return
    if (this.#chunks.length > 0) {
      this.#settle()
      return
    }
    this.#given = 'stream'
    this.#body.reject(this.#failure)
  }

  #called(error: Error | null | undefined): void {
    const writer = this.#writer
    this.#writer = undefined
    writer?.callSoon(error)
  }
}
