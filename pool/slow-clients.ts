/**
 * Decides which requests of slow clients are aborted while other requests wait for slots: by how far behind each client
 * is, and how many slots it holds and wants. Pure; `slow-watch.ts` measures and acts.
 */

import type { Share } from '../protocol/client/client-shares.ts'

/** A request that holds a slot. */
export interface Holder {
  readonly share: Share
  /** How far its client is behind the minimum rate, ms: `debtOf`. */
  readonly debt: number
  /** How long it has waited for its client without a break, ms. */
  readonly waited: number
  /** Bytes that its client has moved in that time. */
  readonly moved: number
}

/** The rules of one decision. */
export interface SlowRules {
  /** How far a client may be behind, ms. */
  readonly patience: number
  /** Slots that are about to be free: as many waiting requests need no abort. Default 0. */
  readonly freed?: number
}

/**
 * The part of the patience that applies to a client whose requests hold or want more than an equal share of the slots:
 * half a second of the default of 5 s, so that a request behind one greedy client is served within a second.
 */
const GREEDY = 0.1
/**
 * The part of the slots that one decision may take, so that it does not block the event loop. With ten decisions per
 * second a queue as long as the slots (1,000 slow requests of one client) is served in half a second.
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
 * Clients with the fewest slots are served first. For each waiting request one request is aborted: of the client that
 * holds most slots, the one that is furthest behind the minimum rate. If no client is behind, a client with more than
 * an equal share of the slots loses its slowest request to a client with less than that. No client loses a slot to a
 * client that holds more.
 */
export function victims<T extends Holder>(
  holders: readonly T[],
  waiting: ReadonlyMap<Share, number>,
  { patience, freed = 0 }: SlowRules,
): T[] {
  if (waiting.size === 0 || holders.length === 0) return []
  const slots = new Census(holders, waiting)
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
class Census {
  /** An equal share of the slots. */
  readonly fair: number
  readonly #held: Map<Share, number> = new Map()
  readonly #greedy: Set<Share> = new Set()

  constructor(holders: readonly Holder[], waiting: ReadonlyMap<Share, number>) {
    for (const { share } of holders) this.#held.set(share, this.of(share) + 1)
    const shares = new Set([...this.#held.keys(), ...waiting.keys()])
    this.fair = Math.ceil(holders.length / shares.size)
    for (const share of shares) {
      if (this.of(share) + (waiting.get(share) ?? 0) > this.fair) this.#greedy.add(share)
    }
  }

  of(share: Share): number {
    return this.#held.get(share) ?? 0
  }

  isGreedy(share: Share): boolean {
    return this.#greedy.has(share)
  }

  move(from: Share, to: Share): void {
    this.#held.set(from, this.of(from) - 1)
    this.#held.set(to, this.of(to) + 1)
  }
}

/** One client's requests, those to abort first at the end. */
interface Entry<T> {
  readonly share: Share
  readonly list: T[]
  readonly order: number
  /** The last of the list: what the entry was placed by. */
  next: T
  /** Slots that the client holds, or held when the entry was last moved: never fewer than it does. */
  held: number
  /** Another entry has taken its place. */
  isOld: boolean
}

/**
 * Requests by client, in a binary heap: the client that holds most slots first. Ten thousand clients cost some 10 ms;
 * to look through all of them for each request that is aborted would cost half a second.
 */
class Lists<T extends Holder> {
  readonly #slots: Census
  readonly #compare: (a: T, b: T) => number
  readonly #entries: Map<Share, Entry<T>> = new Map()
  readonly #heap: Entry<T>[] = []

  constructor(slots: Census, compare: (a: T, b: T) => number) {
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
   * One of the client that holds most of those that may lose one.
   *
   * @param to who gets the slot
   * @param mayLose holds of every client that has no fewer slots than one of which it holds, except for `to`
   */
  take(to: Share, mayLose: (share: Share) => boolean): T | undefined {
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

  /** A client has got one more slot. */
  raised(share: Share): void {
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
