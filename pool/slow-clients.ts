/**
 * Decides which requests of slow clients are aborted while other requests wait for slots: by how far each client is
 * behind, and how many slots it holds and wants. Pure; `slow-watch.ts` measures and aborts.
 */

import type { ClientKey } from '../protocol/client/client-shares.ts'

/** A request that holds a slot. */
export interface Holder {
  readonly share: ClientKey
  /** How far its client is behind the minimum rate, ms: `debtOf`. */
  readonly debt: number
  /** How long the request has waited for its client without interruption, ms. */
  readonly waited: number
  /** Bytes that the client has sent or accepted in that time. */
  readonly moved: number
}

/** The rules of one decision. */
interface SlowRules {
  /** How far a client may be behind, ms. */
  readonly patience: number
  /** Slots that are about to become free: as many waiting requests need no abort. Default 0. */
  readonly freed?: number
}

/**
 * The fraction of the patience for a client whose requests hold or want more than an equal share of the slots: half a
 * second of the default of 5 s, so that a request behind one greedy client is served within a second.
 */
const GREEDY = 0.1
/**
 * The fraction of the slots that one decision may free, so that it does not block the event loop. With ten decisions
 * per second, 1,000 requests that wait for 1,000 slots of one slow client are served within half a second.
 */
const MOST_PART = 1 / 4

/**
 * How far a client is behind, ms, after `elapsed` milliseconds of waiting for it: each byte reduces the debt by the
 * time that it takes at `rate` bytes per second. The debt never becomes a credit.
 */
export function debtOf(before: number, elapsed: number, bytes: number, rate: number): number {
  return Math.max(0, before + elapsed - (bytes * 1000) / rate)
}

/**
 * The requests to abort, so that waiting requests get their slots.
 *
 * Clients with the fewest slots are served first. For each waiting request one request is aborted: that of the client
 * with the most slots which is furthest behind the minimum rate. If no client is behind, a client with more than an
 * equal share of the slots loses its slowest request to a client with less. No client loses a slot to a client that
 * holds more.
 */
export function victims<T extends Holder>(
  holders: readonly T[],
  waiting: ReadonlyMap<ClientKey, number>,
  { patience, freed = 0 }: SlowRules,
): T[] {
  if (waiting.size === 0 || holders.length === 0) return []
  const slots = new SlotCounts(holders, waiting)
  const slow = new Lists<T>(slots, (a, b) => a.debt - b.debt)
  const spare = new Lists<T>(slots, (a, b) => b.moved * a.waited - a.moved * b.waited)
  for (const holder of holders) {
    const { share, debt, waited } = holder
    const greedy = slots.isGreedy(share)
    if (debt >= (greedy ? patience * GREEDY : patience)) slow.add(holder)
    else if (greedy && waited >= patience) spare.add(holder)
  }
  slow.sort()
  spare.sort()

  const chosen: T[] = []
  const most = Math.ceil(holders.length * MOST_PART)
  let spared = freed
  for (const [to, count] of [...waiting].sort(([a], [b]) => slots.of(a) - slots.of(b))) {
    for (let left = count; left > 0 && chosen.length < most; left--) {
      if (spared-- > 0) continue
      const victim =
        slow.take(to, (from) => slots.of(from) >= slots.of(to)) ??
        spare.take(to, (from) => slots.of(to) < slots.fair && slots.of(from) > slots.fair)
      if (victim === undefined) break
      chosen.push(victim)
      slots.move(victim.share, to)
      slow.raised(to)
      spare.raised(to)
    }
  }
  return chosen
}

/** How many slots each client holds and wants. */
class SlotCounts {
  /** An equal share of the slots. */
  readonly fair: number
  readonly #held: Map<ClientKey, number> = new Map()
  readonly #greedy: Set<ClientKey> = new Set()

  constructor(holders: readonly Holder[], waiting: ReadonlyMap<ClientKey, number>) {
    for (const { share } of holders) this.#held.set(share, this.of(share) + 1)
    const shares = new Set([...this.#held.keys(), ...waiting.keys()])
    this.fair = Math.ceil(holders.length / shares.size)
    for (const share of shares) {
      if (this.of(share) + (waiting.get(share) ?? 0) > this.fair) this.#greedy.add(share)
    }
  }

  of(share: ClientKey): number {
    return this.#held.get(share) ?? 0
  }

  isGreedy(share: ClientKey): boolean {
    return this.#greedy.has(share)
  }

  move(from: ClientKey, to: ClientKey): void {
    this.#held.set(from, this.of(from) - 1)
    this.#held.set(to, this.of(to) + 1)
  }
}

/** One client's requests; the last of them is aborted first. */
interface Entry<T> {
  readonly share: ClientKey
  readonly list: T[]
  readonly order: number
  /** The last request of the list, by which the entry was placed in the heap. */
  next: T
  /** The client's slots when the entry was last moved in the heap: never fewer than it holds now. */
  held: number
  /** Another entry has replaced this one. */
  isOld: boolean
}

/**
 * Requests by client in a binary heap, the client with the most slots first. Ten thousand clients cost about 10 ms; a
 * search through all clients for each aborted request would cost half a second.
 */
class Lists<T extends Holder> {
  readonly #slots: SlotCounts
  readonly #compare: (a: T, b: T) => number
  readonly #entries: Map<ClientKey, Entry<T>> = new Map()
  readonly #heap: Entry<T>[] = []

  constructor(slots: SlotCounts, compare: (a: T, b: T) => number) {
    this.#slots = slots
    this.#compare = compare
  }

  add(holder: T): void {
    const { share } = holder
    const entry = this.#entries.get(share)
    if (entry) entry.list.push(holder)
    else {
      const order = this.#entries.size
      const held = this.#slots.of(share)
      this.#entries.set(share, { share, list: [holder], order, next: holder, held, isOld: false })
    }
  }

  sort(): void {
    for (const entry of this.#entries.values()) {
      entry.list.sort(this.#compare)
      entry.next = entry.list.at(-1)!
      this.#push(entry)
    }
  }

  /**
   * Removes a request of the client with the most slots that may lose one, and returns the request.
   *
   * @param to the client that gets the slot
   * @param mayLose if true for a client, then also for every client with at least as many slots, except `to`
   */
  take(to: ClientKey, mayLose: (share: ClientKey) => boolean): T | undefined {
    let first = this.#first()
    let aside: Entry<T> | undefined
    if (first?.share === to && !mayLose(to)) {
      aside = first
      this.#shift()
      first = this.#first()
    }
    let found: T | undefined
    if (first && mayLose(first.share)) {
      found = first.list.pop()
      const next = first.list.at(-1)
      if (next === undefined) {
        this.#shift()
        this.#entries.delete(first.share)
      } else {
        first.next = next
        this.#sink()
      }
    }
    if (aside) this.#push(aside)
    return found
  }

  /** A client has gained a slot. */
  raised(share: ClientKey): void {
    const entry = this.#entries.get(share)
    if (!entry) return
    entry.isOld = true
    const raised = { ...entry, held: this.#slots.of(share), isOld: false }
    this.#entries.set(share, raised)
    this.#push(raised)
  }

  #first(): Entry<T> | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined) return undefined
      const held = this.#slots.of(first.share)
      if (first.isOld) this.#shift()
      else if (first.held > held) {
        first.held = held
        this.#sink()
      } else return first
    }
  }

  #isBefore(a: Entry<T>, b: Entry<T>): boolean {
    if (a.held !== b.held) return a.held > b.held
    const more = this.#compare(a.next, b.next)
    return more === 0 ? a.order < b.order : more > 0
  }

  #push(entry: Entry<T>): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!this.#isBefore(entry, heap[above]!)) break
      heap[at] = heap[above]!
      at = above
    }
    heap[at] = entry
  }

  #shift(): void {
    const last = this.#heap.pop()!
    if (this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink()
  }

  /** Moves the first entry down to its place. */
  #sink(): void {
    const heap = this.#heap
    const entry = heap[0]!
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && this.#isBefore(heap[below + 1]!, heap[below]!)) below++
      if (!this.#isBefore(heap[below]!, entry)) break
      heap[at] = heap[below]!
      at = below
    }
    heap[at] = entry
  }
}
