/** Which upstream ran a request, and how long that took. The access log creates the record, and a pool fills it in. */

import type { Clock } from './clock.ts'

/** An upstream as access lines name it. */
export interface UpstreamName {
  /** Its address, or the URL of a server. */
  readonly upstream: string
  /** Of a container: its id (`--id`). */
  readonly container?: string
  /** Of a container: the index of its worker process. */
  readonly worker?: number
  /** Of a container: what tells this process from every other one, also from one with the same id. */
  readonly instance?: string
}

/** Milliseconds, on the pool's clock. */
export class UpstreamUse {
  /** Of the last attempt; undefined while there was none. */
  name: UpstreamName | undefined
  /** Attempts, over all pools that the request went through. */
  tries = 0
  /** Time in the queue, over all stays; undefined while the request did not wait and was not sent. */
  queued: number | undefined
  #clock: Clock | undefined
  #sentAt = 0
  #headAt: number | undefined

  waited(milliseconds: number): void {
    this.queued = (this.queued ?? 0) + milliseconds
  }

  sent(name: UpstreamName, clock: Clock, now: number): void {
    this.name = name
    this.tries++
    this.queued ??= 0
    this.#clock = clock
    this.#sentAt = now
    this.#headAt = undefined
  }

  /** The response's head has come. */
  answered(): void {
    this.#headAt ??= this.#clock?.now()
  }

  /** From the last dispatch to the response's head; undefined while there is none. */
  get toHead(): number | undefined {
    return this.#headAt === undefined ? undefined : this.#headAt - this.#sentAt
  }

  /** From the last dispatch until now; undefined while there was none. */
  get toNow(): number | undefined {
    return this.#clock && this.#clock.now() - this.#sentAt
  }
}
