/** Decides which state changes of a link are logged, at both ends: the start of each silence once, and its end once. */

import { isAnswering, type Life } from './liveness.ts'

/**
 * - `silent`: the peer does not answer.
 * - `answers`: the peer answers again, after `silent`.
 * - `dead`: the link is about to be closed.
 */
type SilenceNews = 'silent' | 'answers' | 'dead'

/** The logged silence of one link. */
export class Silence {
  /** Whether the present silence was logged. Because of a rival, other states may follow before the peer answers. */
  #isLogged = false

  /** What to log when the link enters the state `life`; undefined: nothing. */
  news(life: Life): SilenceNews | undefined {
    if (life === 'dead') return 'dead'
    if (life === 'suspect' && !this.#isLogged) {
      this.#isLogged = true
      return 'silent'
    }
    if (isAnswering(life) && this.#isLogged) {
      this.#isLogged = false
      return 'answers'
    }
    return undefined
  }
}
