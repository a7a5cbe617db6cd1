/**
 * Decides which requests of slow clients are aborted while other requests wait for slots: by how far behind each client
 * is, and how many slots it holds and wants. Pure; `slow-watch.ts` measures and acts.
 */

import type { Share } from './client-shares.ts'

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
 * The part of the slots that one decision may take from a client for its own waiting requests. They may all be slow,
 * and running and aborting each of them would cost more than it gains.
 */
const OWN_PART = 1 / 32
/** The part of the slots that one decision may take in all, so that it does not block the event loop. */
const MOST_PART = 1 / 8

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
  const slow = new Lists<T>((a, b) => a.debt - b.debt)
  const spare = new Lists<T>((a, b) => b.moved * a.waited - a.moved * b.waited)
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
  let own = Math.ceil(holders.length * OWN_PART)
  let spared = freed
  for (const [to, count] of [...waiting].sort(([a], [b]) => slots.of(a) - slots.of(b))) {
    for (let left = count; left > 0 && chosen.length < most; left--) {
      if (spared-- > 0) continue
      const victim =
        slow.take((from) => (from === to ? own > 0 : slots.of(from) >= slots.of(to)), slots) ??
        spare.take((from) => slots.of(to) < slots.fair && slots.of(from) > slots.fair, slots)
      if (victim === undefined) break
      if (victim.share === to) own--
      chosen.push(victim)
      slots.move(victim.share, to)
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

/** Requests by client; each list ends with the request to abort first. */
class Lists<T extends Holder> {
  readonly #lists: Map<Share, T[]> = new Map()
  readonly #compare: (a: T, b: T) => number

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare
  }

  add(holder: T): void {
    const list = this.#lists.get(holder.share)
    if (list) list.push(holder)
    else this.#lists.set(holder.share, [holder])
  }

  sort(): void {
    for (const list of this.#lists.values()) list.sort(this.#compare)
  }

  /** Removes and returns a request of the client that holds most slots, among the clients that may lose one. */
  take(mayLose: (share: Share) => boolean, slots: Census): T | undefined {
    let found: T | undefined
    for (const [share, list] of this.#lists) {
      const last = list.at(-1)!
      const more = found === undefined ? 1 : slots.of(share) - slots.of(found.share) || this.#compare(last, found)
      if (more > 0 && mayLose(share)) found = last
    }
    if (found === undefined) return undefined
    const list = this.#lists.get(found.share)!
    list.pop()
    if (list.length === 0) this.#lists.delete(found.share)
    return found
  }
}
