/**
 * Requests that wait for a slot, in one queue per client. The next slot goes to the client that holds the fewest slots;
 * among equals, to the one that was served longest ago. Work that holds no slots is queued by `fair-queue.ts`.
 */

import type { ClientKey } from '../protocol/client/client-shares.ts'
import { Queue, type Waiting } from './queue.ts'

/** A waiting request, and its client. */
export interface FairlyWaiting extends Waiting {
  readonly share: ClientKey
  /**
   * Whether the request had a slot before and returned to the queue: it is never refused to make room. Default: false.
   */
  readonly returned?: boolean
}

/** Which of one client's requests goes first. */
export type Order = 'oldest' | 'newest'

interface Lane<T extends Waiting> {
  readonly share: ClientKey
  readonly requests: Queue<T>
  /** The number of requests served in all when the client was last served, or when its first request arrived. */
  servedAt: number
}

/** The waiting requests of all clients. */
export class SlotQueue<T extends FairlyWaiting> {
  readonly #lanes: Map<ClientKey, Lane<T>> = new Map()
  #size = 0
  #served = 0

  get size(): number {
    return this.#size
  }

  /** How many requests of each client wait. */
  counts(): Map<ClientKey, number> {
    const counts: Map<ClientKey, number> = new Map()
    for (const { share, requests } of this.#lanes.values()) counts.set(share, requests.size)
    return counts
  }

  count(share: ClientKey): number {
    return this.#lanes.get(share)?.requests.size ?? 0
  }

  add(item: T): void {
    let lane = this.#lanes.get(item.share)
    if (lane === undefined) {
      lane = { share: item.share, requests: new Queue(), servedAt: this.#served }
      this.#lanes.set(item.share, lane)
    }
    lane.requests.add(item)
    this.#size++
  }

  /** Has no effect if the request does not wait. */
  delete(item: T): void {
    if (!item.queued) return
    const lane = this.#lanes.get(item.share)!
    lane.requests.delete(item)
    lane.servedAt = ++this.#served
    if (lane.requests.size === 0) this.#lanes.delete(item.share)
    this.#size--
  }

  /**
   * The request that gets the next slot. The request stays in the queue.
   *
   * @param held how many slots a client holds
   * @param passed requests to skip, since they cannot use a free slot
   */
  next(held: (share: ClientKey) => number, order: Order = 'oldest', passed?: ReadonlySet<T>): T | undefined {
    let found: T | undefined
    let fewest = Number.POSITIVE_INFINITY
    let servedAt = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes.values()) {
      const holds = held(lane.share)
      if (holds > fewest || (holds === fewest && lane.servedAt > servedAt)) continue
      const item = first(lane.requests, order, passed)
      if (item === undefined) continue
      if (found && holds === fewest && lane.servedAt === servedAt && item.arrival > found.arrival) continue
      found = item
      fewest = holds
      servedAt = lane.servedAt
    }
    return found
  }

  /**
   * The client with the most waiting requests, if it has more than `count`. A client whose waiting requests have all
   * returned to the queue does not qualify: such requests are not refused.
   */
  most(count: number): ClientKey | undefined {
    let found: ClientKey | undefined
    let most = count
    for (const { share, requests } of this.#lanes.values()) {
      if (requests.size <= most || this.refusable(share, 'newest') === undefined) continue
      found = share
      most = requests.size
    }
    return found
  }

  /**
   * The request of a client to refuse; undefined if there is none. Requests that returned to the queue are never
   * refused.
   */
  refusable(share: ClientKey, order: Order): T | undefined {
    const requests = this.#lanes.get(share)?.requests
    if (requests === undefined) return undefined
    let item = order === 'oldest' ? requests.first : requests.last
    while (item?.returned) item = order === 'oldest' ? requests.after(item) : requests.before(item)
    return item
  }
}

function first<T extends Waiting>(requests: Queue<T>, order: Order, passed: ReadonlySet<T> | undefined): T | undefined {
  let item = order === 'oldest' ? requests.first : requests.last
  while (item !== undefined && passed?.has(item))
    item = order === 'oldest' ? requests.after(item) : requests.before(item)
  return item
}
