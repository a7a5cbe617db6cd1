/**
 * A bounded fair queue for work that is done one item after another (hashes, transformations, CGI programs): the client
 * that was served least goes first. Slots, which clients hold for a time, have `slot-queue.ts`.
 */

/**
 * After this many served items the count of each client is halved, so that old items count less. The sum of all counts
 * is at most twice this number, so no more clients than that are remembered.
 */
const HALVED_AFTER = 4_096

/** A bounded queue of items, each with a client. */
export class FairQueue<T> {
  readonly #most: number
  /**
   * The waiting items of each client, oldest first. The clients are in the order in which they began to wait or were
   * served. No list is empty.
   */
  readonly #waiting: Map<string, T[]> = new Map()
  /** The number of served items of each client, halved regularly. No count is 0. */
  readonly #served: Map<string, number> = new Map()
  #size = 0
  #sinceHalved = 0

  /** @param most the maximum number of waiting items */
  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#size
  }

  /** The number of clients with a count of served items. */
  get remembered(): number {
    return this.#served.size
  }

  /**
   * Adds an item after the other items of its client. A full queue drops the item that would be served last: the new
   * item, or the newest item of a client that has more waiting items or was served more.
   *
   * @returns the dropped item, which may be `item` itself; undefined if the queue was not full
   */
  add(client: string, item: T): T | undefined {
    const own = this.#waiting.get(client) ?? []
    own.push(item)
    this.#waiting.set(client, own)
    this.#size++
    if (this.#size <= this.#most) return undefined
    let last = client
    // On a tie the new item is dropped, and not a waiting one.
    for (const other of this.#waiting.keys()) if (this.#end(other) > this.#end(last)) last = other
    const dropped = this.#waiting.get(last)!.at(-1)!
    this.delete(last, dropped)
    return dropped
  }

  /** Removes and returns the oldest item of the client that was served least; undefined if the queue is empty. */
  take(): T | undefined {
    let next: string | undefined
    for (const client of this.#waiting.keys()) {
      if (next === undefined || this.#past(client) < this.#past(next)) next = client
    }
    if (next === undefined) return undefined
    const [item, ...rest] = this.#waiting.get(next)!
    this.#size--
    this.#waiting.delete(next)
    if (rest.length > 0) this.#waiting.set(next, rest)
    this.count(next)
    return item
  }

  /** Counts an item that was served without waiting. `take` counts its items itself. */
  count(client: string): void {
    this.#served.set(client, this.#past(client) + 1)
    if (++this.#sinceHalved < HALVED_AFTER) return
    this.#sinceHalved = 0
    for (const [name, served] of this.#served) {
      if (served === 1) this.#served.delete(name)
      else this.#served.set(name, Math.floor(served / 2))
    }
  }

  /** Removes a waiting item. Returns whether the item was waiting. */
  delete(client: string, item: T): boolean {
    const own = this.#waiting.get(client)
    const at = own?.indexOf(item) ?? -1
    if (!own || at === -1) return false
    own.splice(at, 1)
    this.#size--
    if (own.length === 0) this.#waiting.delete(client)
    return true
  }

  #past(client: string): number {
    return this.#served.get(client) ?? 0
  }

  /** The number of served items of the client when its newest item will be served. */
  #end(client: string): number {
    return this.#past(client) + this.#waiting.get(client)!.length
  }
}
