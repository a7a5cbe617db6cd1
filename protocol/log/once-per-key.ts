/**
 * What was said once and need not be said again: a bounded memory, so that a peer that knocks all day (or a scan of all addresses)
 * fills neither the log nor this table. The oldest is forgotten first.
 */

const REMEMBERED = 1_000
/** Of one key: the text of a fault can be the peer's own, which may send another one each time. */
const DETAILS = 8

export class SaidOnce {
  readonly #keys: Map<string, Set<string>> = new Map()

  /**
   * True the first time that `key` is given with this text. Numbers in the text are ignored: `not done after 5250 ms`.
   */
  say(key: string, text: string = ''): boolean {
    const detail = text.replace(/\d+/g, '0')
    let details = this.#keys.get(key)
    if (details === undefined) {
      if (this.#keys.size >= REMEMBERED) this.#keys.delete(this.#keys.keys().next().value!)
      this.#keys.set(key, (details = new Set()))
    }
    if (details.has(detail) || details.size >= DETAILS) return false
    details.add(detail)
    return true
  }

  /** It has changed: the next time counts as the first again, with every detail. */
  forget(key: string): void {
    this.#keys.delete(key)
  }
}
