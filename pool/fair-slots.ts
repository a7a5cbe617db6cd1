/**
 * The requests that share slots: which hold one, which wait, which is next, and which are aborted because their clients
 * are slow. Used by the proxy's pool and a container's port, which know how many slots there are.
 */

import type { ClientKey } from '../protocol/client/client-shares.ts'
import type { Clock } from '../protocol/net/clock.ts'
import { type FairlyWaiting, SlotQueue } from './slot-queue.ts'
import { SlowWatch, type SlowWatchHost, type WatchedRequest } from './slow-watch.ts'

/** The options of the same names (`common-options.ts`). */
export interface SlotRules {
  readonly bodyBuffer: number
  readonly bodyBufferTotal: number
  readonly slowClientRate: number
  readonly slowClientPatience: number
}

/** The defaults of those options, for pools without options. A test compares the two. */
export const SLOT_RULES: SlotRules = {
  bodyBuffer: 64 * 1024,
  bodyBufferTotal: 64 * 1024 * 1024,
  slowClientRate: 1024,
  slowClientPatience: 5_000,
}

/** A request that holds a slot or waits for one. */
export interface SlotRequest extends FairlyWaiting, WatchedRequest {
  /** The index in `running` while the request holds a slot, else -1. Only `FairSlots` sets it. */
  slot: number
  /** Answers 503: too many requests wait. */
  refuse(): void
}

/** What owns the slots: a pool, or a port. */
export interface SlotOwner {
  readonly clock: Clock
  /** Whether slots exist and all are taken. */
  readonly full: boolean
  /** Clients whose requests wait for the same slots elsewhere, with the number of those requests. */
  others?(): Iterable<[ClientKey, number]>
}

/**
 * If an application takes longer than this to notice that its request was aborted, ms, another request is aborted
 * instead: the first one keeps its slot.
 */
const ABORT_MILLISECONDS = 1_000

/** The running and waiting requests of one pool or port. */
export class FairSlots<T extends SlotRequest> implements SlowWatchHost {
  /** The requests that hold slots. */
  readonly running: T[] = []
  readonly #owner: SlotOwner
  readonly #queue: SlotQueue<T> = new SlotQueue()
  readonly #watch: SlowWatch
  /** How many slots each client holds; known only while requests wait. */
  #held: Map<ClientKey, number> | undefined
  /**
   * Slots of aborted requests that no request has taken yet. Every second one goes to the newest request of a client:
   * its older requests may be slow too, and a fast request must not wait behind all of them.
   */
  #aborted = 0
  #abortedAt = 0

  constructor(owner: SlotOwner, { slowClientRate, slowClientPatience }: SlotRules) {
    this.#owner = owner
    this.#watch = new SlowWatch(this, { clock: owner.clock, rate: slowClientRate, patience: slowClientPatience })
  }

  /** How many requests wait. */
  get queued(): number {
    return this.#queue.size
  }

  // ---- requests that wait ----------------------------------------------------------------------------------------

  enqueue(request: T): void {
    if (this.#held === undefined) {
      this.#held = new Map()
      for (const { share } of this.running) this.#count(share, 1)
    }
    this.#queue.add(request)
    this.#watch.startMeasuring()
  }

  /** Has no effect if the request does not wait. */
  dequeue(request: T): void {
    this.#queue.delete(request)
    if (this.#queue.size > 0) return
    this.#held = undefined
    this.#aborted = 0
  }

  /**
   * The request that gets the next slot. The request stays in the queue.
   *
   * @param passed requests to skip, since they cannot use a free slot
   */
  next(passed?: ReadonlySet<T>): T | undefined {
    const order = this.#aborted % 2 === 1 ? 'newest' : 'oldest'
    return this.#queue.next((share) => this.#held?.get(share) ?? 0, order, passed)
  }

  /**
   * Makes room in a full queue for `request`: aborts a slow request, or refuses a waiting one. The refused request is
   * the newest one of the client with the most waiting requests, or the oldest one if that client is slow: its older
   * requests are probably slow too, and another user behind the same address must not pay for them. A client that is
   * not slow never loses a waiting request to its own new request.
   *
   * @param isFull whether the queue is full and no slot is free
   * @returns whether the queue has room now, or a slot is free
   */
  makeRoom({ share }: T, isFull: () => boolean): boolean {
    // The slot of the aborted request goes to a waiting request, whose place in the queue becomes free. If no request
    // waits, the slot itself is free. The slot of a request to an HTTP server becomes free later.
    if (this.#watch.abortFor(share) > 0 && !isFull()) return true
    const from = this.#queue.most(this.#queue.count(share) + 1) ?? share
    const isSlow = this.#watch.isSlow(from)
    if (from === share && !isSlow) return false
    const refused = this.#queue.refusable(from, isSlow ? 'oldest' : 'newest')
    refused?.refuse()
    return refused !== undefined
  }

  // ---- requests that hold a slot -----------------------------------------------------------------------------------

  started(request: T): void {
    request.slot = this.running.push(request) - 1
    request.measured = undefined
    if (this.#aborted > 0) this.#aborted--
    if (this.#held) this.#count(request.share, 1)
  }

  /** Has no effect if the request holds no slot. */
  ended(request: T): void {
    const { slot } = request
    if (slot === -1) return
    request.slot = -1
    const last = this.running.pop()!
    if (last !== request) {
      this.running[slot] = last
      last.slot = slot
    }
    if (this.#held) this.#count(request.share, -1)
  }

  /** Call this when the last free slot has been taken: from then on clients are measured. */
  filled(): void {
    this.#watch.startMeasuring()
  }

  #count(share: ClientKey, change: 1 | -1): void {
    const held = this.#held!
    const count = (held.get(share) ?? 0) + change
    if (count > 0) held.set(share, count)
    else held.delete(share)
  }

  // ---- SlowWatchHost -----------------------------------------------------------------------------------------------

  waiting(): Map<ClientKey, number> {
    const waiting = this.#queue.counts()
    for (const [share, count] of this.#owner.others?.() ?? []) waiting.set(share, count)
    return waiting
  }

  aborting(count: number): void {
    if (this.#queue.size === 0) return
    this.#aborted += count
    this.#abortedAt = this.#owner.clock.now()
  }

  get freed(): number {
    if (this.#owner.clock.now() - this.#abortedAt > ABORT_MILLISECONDS) this.#aborted = 0
    return this.#aborted
  }

  get scarce(): boolean {
    return this.#queue.size > 0 || this.#owner.full
  }
}
