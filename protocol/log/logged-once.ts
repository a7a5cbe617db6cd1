/**
 * Remembers what was logged, so that a peer that connects all day, or a scan of all addresses, does not fill the log.
 * The memory is bounded: the oldest key is forgotten first.
 */

const REMEMBERED = 1_000
/** The most texts of one key. The peer may choose the text of a fault, and may send another one each time. */
const DETAILS = 8

/** Decides which messages are logged. */
export class LoggedOnce {
  readonly #keys: Map<string, Set<string>> = new Map()

  /** True for the first call with this key and text. Numbers in the text are ignored (`not done after 5250 ms`). */
  isFirst(key: string, text: string = ''): boolean {
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

  /** Forgets a key whose state has changed: its next texts are logged again. */
  forget(key: string): void {
    this.#keys.delete(key)
  }
}
