/**
 * Delays a request until its body has arrived, so that a slow upload does not hold a slot. This file only counts bytes:
 * the gateway reads them into the request's input, where they stay.
 */

import type { Environ } from '../protocol/contract/application.ts'
import type { ClientView } from '../protocol/contract/client-view.ts'
import type { Context } from '../protocol/contract/context.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { Deadlines, Expirable } from '../protocol/net/clock.ts'

/** `--body-buffer`, `--body-buffer-total` and `--queue-timeout`. */
export interface BodyWaitOptions {
  /** How many bytes of its body a request waits for; 0: no request waits. */
  readonly each: number
  /** How many bytes the bodies of all waiting requests may have together. Above this no request waits. */
  readonly total: number
  /** Milliseconds that a request may wait for the next bytes of its body while no slot is free. */
  readonly longest: number
}

/** How many slots are free. */
export type Room =
  /** No slot exists, since no container is connected. */
  | 'absent'
  /** No slot is free, or requests wait in the queue. */
  | 'none'
  /** Some slots are free. */
  | 'some'
  /** More than half of the slots are free. */
  | 'plenty'

/** What body buffers need from the owner of the slots. */
export interface BodyWaitHost {
  readonly deadlines: Deadlines
  room(): Room
}

/**
 * How long a request waits for its body while at most half of the slots are free, ms. Then it takes a slot without the
 * body: its client may wait for a response before it sends the rest. `Deadlines` has the same resolution.
 */
const PAUSE = 250
const EXPECT = /^100-continue$/i

/** The requests of one pool or port that wait for their bodies. */
export class BodyWait {
  readonly options: BodyWaitOptions
  readonly host: BodyWaitHost
  /** Requests that wait for their bodies. */
  size = 0
  /** Bytes of their bodies that have arrived. */
  held = 0

  constructor(host: BodyWaitHost, options: BodyWaitOptions) {
    this.host = host
    this.options = options
  }

  /**
   * Begins the wait of a request for its body.
   *
   * @param done called once when the wait is over, but not after `stop`
   * @returns undefined if the request does not wait
   */
  begin(environ: Environ, done: () => void): AwaitedBody | undefined {
    const { client } = environ.gantry as Partial<Context>
    if (client === undefined || !client.arriving) return undefined
    // Only the application causes 100 Continue: it may refuse the body instead (413).
    const expect = environ['HTTP_EXPECT']
    if (typeof expect === 'string' && EXPECT.test(expect) && client.held === 0) return undefined
    if (client.held >= this.options.each || this.full || this.host.room() === 'plenty') return undefined
    return new AwaitedBody(this, client, done)
  }

  get full(): boolean {
    return this.held >= this.options.total
  }
}

/** The body of a request that waits for it. */
export class AwaitedBody implements Expirable {
  deadline: number
  place = -1
  readonly #buffers: BodyWait
  readonly #client: ClientView
  readonly #done: () => void
  /** When the client is too slow: no slot is free, and no byte has arrived until then. */
  #until: number
  #held: number
  #stopped = false

  constructor(buffers: BodyWait, client: ClientView, done: () => void) {
    const { deadlines } = buffers.host
    const now = deadlines.clock.now()
    this.#buffers = buffers
    this.#client = client
    this.#done = done
    this.#until = now + buffers.options.longest
    this.deadline = now + PAUSE
    this.#held = client.held
    buffers.size++
    buffers.held += this.#held
    deadlines.add(this)
    client.onArrival(() => this.#arrived())
  }

  /** Ends the wait: the request is over, or takes its slot. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#buffers.size--
    this.#buffers.held -= this.#held
    this.#buffers.host.deadlines.delete(this)
    this.#client.onArrival(undefined)
  }

  expire(): void {
    const { host, options } = this.#buffers
    const now = host.deadlines.clock.now()
    const room = host.room()
    if (room === 'some' || room === 'plenty' || (room === 'absent' && now >= this.#until)) this.#end()
    else if (now < this.#until) this.deadline = now + PAUSE
    else {
      const message = `slow client: delivered no byte of its request for ${options.longest / 1000} s (--queue-timeout) while no slot was free`
      this.stop()
      this.#client.abortSlow(new AbortError('SLOW_CLIENT', message))
    }
  }

  #arrived(): void {
    const { held } = this.#client
    this.#until = this.#buffers.host.deadlines.clock.now() + this.#buffers.options.longest
    this.#buffers.held += held - this.#held
    this.#held = held
    if (!this.#client.arriving || held >= this.#buffers.options.each || this.#buffers.full) this.#end()
  }

  #end(): void {
    this.stop()
    this.#done()
  }
}
