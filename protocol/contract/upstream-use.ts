/** Which upstream ran a request, and how long that took. The access log creates the record, and a pool fills it in. */

import type { Clock } from '../net/clock.ts'

/** An upstream as access lines name it. */
export interface UpstreamName {
  /** Its address, or the URL of a server. */
  readonly upstream: string
  /** Of a container: its id (`--id`). */
  readonly container?: string
  /** Of a container: the index of its worker process. */
  readonly worker?: number
  /** Of a container: unique to this process, even if another one has the same id. */
  readonly instance?: string
}

/** The upstream of one request, and its times in milliseconds on the pool's clock. */
export class UpstreamUse {
  /** The upstream of the last attempt; undefined before the first one. */
  name: UpstreamName | undefined
  /** The number of attempts, in all pools that the request passed through. */
  tries = 0
  /** The total time in queues; undefined until the request has waited or was sent. */
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

  /** The head of the response has arrived. */
  answered(): void {
    this.#headAt ??= this.#clock?.now()
  }

  /** From the last dispatch to the head of the response; undefined before it. */
  get toHead(): number | undefined {
    return this.#headAt === undefined ? undefined : this.#headAt - this.#sentAt
  }

  /** From the last dispatch until now; undefined before the first one. */
  get toNow(): number | undefined {
    return this.#clock && this.#clock.now() - this.#sentAt
  }
}
