/**
 * What was said once and need not be said again: a bounded memory, so that a peer that knocks all day (or a scan of all addresses)
 * fills neither the log nor this table. The oldest is forgotten first.
 */

const REMEMBERED = 1_000

export class SaidOnce {
  readonly #keys: Set<string> = new Set()

  /** True the first time. */
  say(key: string): boolean {
    if (this.#keys.has(key)) return false
    if (this.#keys.size >= REMEMBERED) this.#keys.delete(this.#keys.values().next().value!)
    this.#keys.add(key)
    return true
  }

  /** It has changed: the next time counts as the first again. */
  forget(key: string): void {
    this.#keys.delete(key)
  }
}
