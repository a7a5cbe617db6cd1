/**
 * One exchange's end of an HTTP/1.1 connection: what its response and its input call. Each request has one of its own, so that what a
 * late caller of an earlier request says cannot reach the next one.
 */

import type { Duplex } from 'node:stream'
import type { Headers } from '../contract/application.ts'
import type { Behind, ClientView } from '../contract/client-view.ts'
import { localError } from '../contract/coded-errors.ts'
import type { AbortError } from '../contract/errors.ts'
import type { Exchange } from '../contract/exchange.ts'
import type { InputSource, RequestInput } from '../contract/input.ts'
import type { ResponseSink } from '../contract/response.ts'

/** What a connection does for its current stream. */
export interface StreamOwner {
  inform(status: string, headers: Headers): void
  respond(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean
  send(chunk: Uint8Array, end: boolean): boolean
  finish(trailers: Headers | undefined): void
  flush(): void
  cut(): void
  handOver(): Duplex
  inputWanted(): void
  inputConsumed(): void
  readonly behind: Behind
  readonly delivered: number
  readonly accepted: number
  readonly held: number
  endSlow(reason: AbortError): void
}

export class Stream implements ResponseSink, InputSource, ClientView {
  exchange: Exchange | undefined
  input: RequestInput | undefined
  /** Whether the application is done with the exchange. */
  settled = false
  /** Undefined once the exchange has no more to say on the connection. */
  #owner: StreamOwner | undefined

  constructor(owner: StreamOwner) {
    this.#owner = owner
  }

  /** The connection is no longer this exchange's. */
  release(): void {
    this.#owner = undefined
  }

  inform(status: string, headers: Headers): void {
    this.#owner?.inform(status, headers)
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    return this.#owner?.respond(status, headers, length, chunk, end) ?? true
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    return this.#owner?.send(chunk, end) ?? true
  }

  end(trailers: Headers | undefined): void {
    this.#owner?.finish(trailers)
  }

  flush(): void {
    this.#owner?.flush()
  }

  abort(_error: AbortError): void {
    this.#owner?.cut()
  }

  upgrade(): Duplex {
    if (!this.#owner) throw localError('STREAM_OVER', 'the connection of this exchange serves another request already')
    return this.#owner.handOver()
  }

  wanted(): void {
    this.#owner?.inputWanted()
  }

  consumed(): void {
    this.#owner?.inputConsumed()
  }

  // ---- ClientView --------------------------------------------------------------------------------------------------

  get client(): ClientView {
    return this
  }

  get behind(): Behind {
    return this.#owner?.behind ?? 'nothing'
  }

  get delivered(): number {
    return this.#owner?.delivered ?? 0
  }

  get accepted(): number {
    return this.#owner?.accepted ?? 0
  }

  get arriving(): boolean {
    return this.#owner !== undefined && this.input !== undefined && !this.input.ended
  }

  get held(): number {
    return this.#owner?.held ?? 0
  }

  onArrival(callback: (() => void) | undefined): void {
    this.input?.onArrival(callback)
  }

  endSlow(reason: AbortError): void {
    this.#owner?.endSlow(reason)
  }
}
