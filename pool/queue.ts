/**
 * Requests that wait for a slot, oldest first, as a linked list: a cancelled request is removed from the middle
 * immediately, and a refused request returns to its old place. Knows neither slots nor time.
 */

/** An item of the queue. Only the queue sets `next`, `previous` and `queued`. */
export interface Waiting {
  /** Order of arrival; a lower number goes first. */
  readonly arrival: number
  next: Waiting | undefined
  previous: Waiting | undefined
  queued: boolean
}

export class Queue<T extends Waiting> {
  #first: T | undefined
  #last: T | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  get first(): T | undefined {
    return this.#first
  }

  get last(): T | undefined {
    return this.#last
  }

  after(item: T): T | undefined {
    return item.next as T | undefined
  }

  before(item: T): T | undefined {
    return item.previous as T | undefined
  }

  /**
   * Inserts by arrival. A new request is appended in constant time; the place of a returning request, which is older
   * than most, is searched from the front.
   */
  add(item: T): void {
    if (item.queued) throw new TypeError('the request waits already')
    let before: T | undefined // the item that will follow `item`
    if (this.#last !== undefined && this.#last.arrival > item.arrival) {
      before = this.#first
      while (before !== undefined && before.arrival < item.arrival) before = before.next as T | undefined
    }
    const previous = before === undefined ? this.#last : (before.previous as T | undefined)
    item.next = before
    item.previous = previous
    if (before === undefined) this.#last = item
    else before.previous = item
    if (previous === undefined) this.#first = item
    else previous.next = item
    item.queued = true
    this.#size++
  }

  /** Has no effect if the request does not wait. */
  delete(item: T): void {
    if (!item.queued) return
    const { next, previous } = item
    if (previous === undefined) this.#first = next as T | undefined
    else previous.next = next
    if (next === undefined) this.#last = previous as T | undefined
    else next.previous = previous
    item.next = undefined
    item.previous = undefined
    item.queued = false
    this.#size--
  }
}
