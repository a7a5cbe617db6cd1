/**
 * While slots are scarce, measures how far the clients of running requests are behind, and aborts the requests that
 * `slow-clients.ts` chooses. While a slot is free, nothing runs here.
 */

import type { ClientKey } from '../protocol/client/client-shares.ts'
import type { WaitsFor } from '../protocol/contract/client-view.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import { runIsolated } from '../protocol/contract/isolated.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import { debtOf, type Holder, victims } from './slow-clients.ts'

/** A running request. */
export interface WatchedRequest {
  readonly share: ClientKey
  readonly waitsFor: WaitsFor
  /** Bytes that the client has delivered (`upload`) or accepted (`download`) so far. */
  moved(direction: WaitsFor): number
  abortSlow(reason: AbortError): void
  /** The measurement of this request; undefined at first. Only the watch sets it. */
  measured: Measurement | undefined
}

/** What the watch needs from the owner of the slots. */
export interface SlowWatchHost {
  /** The requests that hold the slots. */
  readonly running: readonly WatchedRequest[]
  /** How many requests of each client wait for a slot, as a new map that the caller may change. */
  waiting(): Map<ClientKey, number>
  /** Whether no slot is free. */
  readonly scarce: boolean
  /** Called before `count` requests are aborted: their slots become free now or soon. */
  aborting(count: number): void
  /** Slots of aborted requests that are about to become free. */
  readonly freed: number
}

/** `--slow-client-rate` and `--slow-client-patience`. */
interface SlowWatchOptions {
  readonly clock: Clock
  /** The minimum rate of a client while its request waits for it, bytes per second. */
  readonly rate: number
  /** How far a client may be behind this rate while other requests wait, ms; Infinity: without a limit. */
  readonly patience: number
}

/**
 * Time between two measurements, ms: several fit into the shortest patience. Measuring 1,000 requests takes 0.1 ms.
 */
const MEASURE_INTERVAL = 100
/**
 * The most time that counts between two measurements, ms. A longer gap is not the client's fault: this process was
 * stopped, or its event loop was blocked.
 */
const MOST_ELAPSED = 2 * MEASURE_INTERVAL

/**
 * How many new requests may look for a request to abort, without success, between two measurements. Each search goes
 * through all running and waiting requests (0.3 ms for 1,000 of both), and a flood of refused requests must cost less.
 */
const FRUITLESS_MAX = 8

/** The measurements of one running request. */
export class Measurement implements Holder {
  readonly request: WatchedRequest
  debt = 0
  waited = 0
  moved = 0
  #round = -1
  #waitsFor: WaitsFor = 'nothing'
  #total = 0

  constructor(request: WatchedRequest) {
    this.request = request
  }

  get share(): ClientKey {
    return this.request.share
  }

  /** @param round within one round, measurements follow each other without a gap */
  update(round: number, elapsed: number, rate: number): void {
    const { request } = this
    const { waitsFor } = request
    const total = waitsFor === 'nothing' ? 0 : request.moved(waitsFor)
    if (round !== this.#round || waitsFor === 'nothing' || waitsFor !== this.#waitsFor) {
      this.debt = 0
      this.waited = 0
      this.moved = 0
    } else {
      const bytes = total - this.#total
      this.debt = debtOf(this.debt, elapsed, bytes, rate)
      this.waited += elapsed
      this.moved += bytes
    }
    this.#round = round
    this.#waitsFor = waitsFor
    this.#total = total
  }

  reason({ rate, patience }: SlowWatchOptions): AbortError {
    const did = this.#waitsFor === 'upload' ? 'delivered' : 'accepted'
    const what = this.#waitsFor === 'upload' ? 'its request' : 'its response'
    const { waited, moved } = this
    const message = `slow client: ${did} ${moved} bytes of ${what} in ${(waited / 1000).toFixed(1)} s while other requests waited for its slot (--slow-client-rate ${rate}, --slow-client-patience ${patience / 1000}s)`
    return new AbortError('SLOW_CLIENT', message)
  }
}

/** Measures and aborts the requests of one pool or port. */
export class SlowWatch {
  readonly #host: SlowWatchHost
  readonly #options: SlowWatchOptions
  #timer: Timer | undefined
  #round = 0
  #last = 0
  #fruitless = 0
  /** The clients that a running request waited for at the last measurement. */
  readonly #slow: Set<ClientKey> = new Set()

  constructor(host: SlowWatchHost, options: SlowWatchOptions) {
    this.#host = host
    this.#options = options
  }

  /** Call this when the last free slot was taken, and when a request begins to wait. */
  startMeasuring(): void {
    if (this.#timer || this.#options.patience === Number.POSITIVE_INFINITY) return
    this.#round++
    this.#fruitless = 0
    this.#last = this.#options.clock.now()
    this.#measureAll(0)
    this.#schedule()
  }

  /**
   * Aborts requests in favour of waiting ones, and of one more.
   *
   * @param newcomer the client of that request
   * @returns how many were aborted
   */
  abortFor(newcomer: ClientKey): number {
    if (!this.#timer || this.#fruitless >= FRUITLESS_MAX) return 0
    // A client may have caught up since the last measurement.
    this.#elapse()
    const count = this.#abort(newcomer)
    if (count === 0) this.#fruitless++
    return count
  }

  /**
   * Whether a running request waited for this client at the last measurement: its waiting requests are probably slow
   * too, the oldest ones most of all.
   */
  isSlow(share: ClientKey): boolean {
    return this.#slow.has(share)
  }

  #abort(newcomer?: ClientKey): number {
    const holders: Measurement[] = []
    for (const { measured } of this.#host.running) if (measured) holders.push(measured)
    const waiting = this.#host.waiting()
    if (newcomer !== undefined) waiting.set(newcomer, (waiting.get(newcomer) ?? 0) + 1)
    const chosen = victims(holders, waiting, { patience: this.#options.patience, freed: this.#host.freed })
    if (chosen.length === 0) return 0
    this.#host.aborting(chosen.length)
    for (const measurement of chosen) measurement.request.abortSlow(measurement.reason(this.#options))
    return chosen.length
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(MEASURE_INTERVAL, () => runIsolated(this.#tick, this))
  }

  #tick(): void {
    if (!this.#host.scarce || this.#host.running.length === 0) {
      this.#timer = undefined
      // A key may be a request that has ended.
      this.#slow.clear()
      return
    }
    this.#elapse()
    this.#fruitless = 0
    this.#abort()
    this.#schedule()
  }

  #elapse(): void {
    const now = this.#options.clock.now()
    this.#measureAll(Math.min(now - this.#last, MOST_ELAPSED))
    this.#last = now
  }

  #measureAll(elapsed: number): void {
    const { rate } = this.#options
    this.#slow.clear()
    for (const request of this.#host.running) {
      request.measured ??= new Measurement(request)
      request.measured.update(this.#round, elapsed, rate)
      if (request.measured.waited > 0) this.#slow.add(request.share)
    }
  }
}
