/**
 * The requests that share slots: which of them hold one, which wait, who is next, and which are aborted since their
 * clients are slow. The proxy's pool and a container's port use it. It grants no slots: its owner knows how many there
 * are.
 */

import type { Share } from './client-shares.ts'
import type { Clock } from './clock.ts'
import { type FairlyWaiting, SlotQueue } from './slot-queue.ts'
import { type Running, SlowWatch, type SlowWatchHost } from './slow-watch.ts'

/** By what rules slots are shared; the options of the same names (`common-options.ts`). */
export interface SlotRules {
  readonly bodyBuffer: number
  readonly bodyBufferTotal: number
  readonly slowClientRate: number
  readonly slowClientPatience: number
}

/** The defaults of those options. */
export const SLOT_RULES: SlotRules = {
  bodyBuffer: 64 * 1024,
  bodyBufferTotal: 64 * 1024 * 1024,
  slowClientRate: 1024,
  slowClientPatience: 5_000,
}

export interface SlotRequest extends FairlyWaiting, Running {
  /** Where it is kept while it holds a slot; -1: nowhere. Begins as -1, and belongs to `FairSlots`. */
  slot: number
  /** Too many requests wait: it is answered 503. */
  refuse(): void
}

export interface SlotOwner {
  readonly clock: Clock
  /** Whether there are slots, and none is free. */
  readonly full: boolean
  /** Others that wait for the same slots, and how many requests they have waiting. */
  others?(): Iterable<[Share, number]>
}

/**
 * An application that takes longer than this to notice that its client was aborted, ms, keeps its slot, and another
 * must be found.
 */
const LOST_MILLISECONDS = 1_000

export class FairSlots<T extends SlotRequest> implements SlowWatchHost {
  /** The requests that hold slots. */
  readonly running: T[] = []
  readonly #owner: SlotOwner
  readonly #queue: SlotQueue<T> = new SlotQueue()
  readonly #watch: SlowWatch
  /** How many slots each client holds; known only while requests wait. */
  #held: Map<Share, number> | undefined
  /**
   * Slots that slow requests lost and nobody has taken yet. Every other one is for the newest request of a client:
   * those that came before it may be of the same kind, and a client that is not slow must not wait behind them all.
   */
  #lost = 0
  #lostAt = 0

  constructor(owner: SlotOwner, { slowClientRate, slowClientPatience }: SlotRules) {
    this.#owner = owner
    this.#watch = new SlowWatch(this, { clock: owner.clock, rate: slowClientRate, patience: slowClientPatience })
  }

  /** How many wait. */
  get queued(): number {
    return this.#queue.size
  }

  // ---- those that wait -------------------------------------------------------------------------------------------

  enqueue(request: T): void {
    if (this.#held === undefined) {
      this.#held = new Map()
      for (const { share } of this.running) this.#count(share, 1)
    }
    this.#queue.add(request)
    this.#watch.attend()
  }

  /** Without effect when it does not wait. */
  dequeue(request: T): void {
    this.#queue.delete(request)
    if (this.#queue.size > 0) return
    this.#held = undefined
    this.#lost = 0
  }

  /** The request that the next slot is for. @param passed requests that no free slot is for */
  next(passed?: ReadonlySet<T>): T | undefined {
    const order = this.#lost % 2 === 1 ? 'newest' : 'oldest'
    return this.#queue.next((share) => this.#held?.get(share) ?? 0, order, passed)
  }

  /**
   * Makes room in a full queue: by an abort, or if another client has more requests there than the client of `request`.
   */
  makeRoom({ share }: T): boolean {
    // Its slot goes to a request that waits, whose place is free then; if none does, it is free itself.
    if (this.#watch.actFor(share) > 0) return true
    const surplus = this.#queue.surplus(this.#queue.count(share) + 1)
    surplus?.refuse()
    return surplus !== undefined
  }

  // ---- those that hold a slot ------------------------------------------------------------------------------------

  started(request: T): void {
    request.slot = this.running.push(request) - 1
    request.seen = undefined
    if (this.#lost > 0) this.#lost--
    if (this.#held) this.#count(request.share, 1)
  }

  /** Without effect when it holds none. */
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

  /** To be called when the last free slot has been taken: from then on clients are measured. */
  filled(): void {
    this.#watch.attend()
  }

  #count(share: Share, change: 1 | -1): void {
    const held = this.#held!
    const count = (held.get(share) ?? 0) + change
    if (count > 0) held.set(share, count)
    else held.delete(share)
  }

  // ---- of SlowWatchHost --------------------------------------------------------------------------------------------

  waiting(): Map<Share, number> {
    const waiting = this.#queue.counts()
    for (const [share, count] of this.#owner.others?.() ?? []) waiting.set(share, count)
    return waiting
  }

  aborting(count: number): void {
    if (this.#queue.size === 0) return
    this.#lost += count
    this.#lostAt = this.#owner.clock.now()
  }

  get freed(): number {
    if (this.#owner.clock.now() - this.#lostAt > LOST_MILLISECONDS) this.#lost = 0
    return this.#lost
  }

  get scarce(): boolean {
    return this.#queue.size > 0 || this.#owner.full
  }
}
