/**
 * Keys whose responses cannot be shared, each for a limited time (Varnish calls this hit-for-miss): requests for such a
 * key do not wait for each other. The oldest key is forgotten first.
 */

export class UncacheableKeys {
  /** The end of each key's time, on the clock's `now()`. */
  readonly #until: Map<string, number> = new Map()
  #characters = 0
  /** Limit on the characters of all keys: a client that scans addresses must not fill memory. */
  static readonly MAX: number = 1024 * 1024

  has(key: string, now: number): boolean {
    const until = this.#until.get(key)
    if (until === undefined) return false
    if (until > now) return true
    this.delete(key)
    return false
  }

  set(key: string, until: number): void {
    this.delete(key)
    this.#until.set(key, until)
    this.#characters += key.length
    while (this.#characters > UncacheableKeys.MAX) this.delete(this.#until.keys().next().value!)
  }

  delete(key: string): void {
    if (this.#until.delete(key)) this.#characters -= key.length
  }

  clear(): void {
    this.#until.clear()
    this.#characters = 0
  }
}
