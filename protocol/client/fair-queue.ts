/**
 * A bounded queue for work that is done one item after another (hashes, transformations, CGI programs): the client that
 * was served least goes first, by counts that fade. Slots, which clients hold, have `slot-queue.ts`.
 */

/**
 * After this many served items the count of each client is halved. So a client's past fades, and no more clients than
 * twice this number are remembered: their counts never add up to more.
 */
const HALVED_AFTER = 4_096

/** A bounded queue of items, each of a client. */
export class FairQueue<T> {
  readonly #most: number
  /**
   * Waiting items by client, oldest first; clients in the order in which they began to wait or were served. No list is
   * empty.
   */
  readonly #waiting: Map<string, T[]> = new Map()
  /** Served items by client, halved from time to time. No count is 0. */
  readonly #served: Map<string, number> = new Map()
  #size = 0
  #sinceHalved = 0

  /** @param most items that may wait */
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
   * Adds an item behind the others of its client. A full queue drops the item that would be served last: the new one,
   * or the newest item of a client that has more items waiting or was served more.
   *
   * @returns the item that was dropped, which may be `item` itself; undefined if there was room
   */
  add(client: string, item: T): T | undefined {
    const own = this.#waiting.get(client) ?? []
    own.push(item)
    this.#waiting.set(client, own)
    this.#size++
    if (this.#size <= this.#most) return undefined
    let last = client
    // On a tie the new item is dropped, and no item that waits already.
    for (const other of this.#waiting.keys()) if (this.#end(other) > this.#end(last)) last = other
    const dropped = this.#waiting.get(last)!.at(-1)!
    this.delete(last, dropped)
    return dropped
  }

  /** Removes and returns the item to serve next, of the client that was served least; undefined if none waits. */
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

  /** Counts an item that was served without waiting; `take` counts by itself. */
  count(client: string): void {
    this.#served.set(client, this.#past(client) + 1)
    if (++this.#sinceHalved < HALVED_AFTER) return
    this.#sinceHalved = 0
    for (const [name, served] of this.#served) {
      if (served === 1) this.#served.delete(name)
      else this.#served.set(name, Math.floor(served / 2))
    }
  }

  /** Removes an item that waits. Returns whether it did. */
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

  /** How many items the client will have been served when its newest item is. */
  #end(client: string): number {
    return this.#past(client) + this.#waiting.get(client)!.length
  }
}
