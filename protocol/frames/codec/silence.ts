/** Decides which changes of a link's life are logged, for both ends of a link: each silence once, and its end once. */

import { isTrusted, type Life } from './liveness.ts'

/**
 * - `silent`: the peer does not answer.
 * - `answers`: the peer answers again, after `silent`.
 * - `dead`: the link is about to be closed.
 */
export type SilenceNews = 'silent' | 'answers' | 'dead'

/** The logged silence of one link. */
export class Silence {
  /** Whether the present silence was logged. The link may pass other states before the peer answers again (a rival). */
  #isLogged = false

  /** What to log when the link's life becomes `life`. */
  news(life: Life): SilenceNews | undefined {
    if (life === 'dead') return 'dead'
    if (life === 'suspect' && !this.#isLogged) {
      this.#isLogged = true
      return 'silent'
    }
    if (isTrusted(life) && this.#isLogged) {
      this.#isLogged = false
      return 'answers'
    }
    return undefined
  }
}
