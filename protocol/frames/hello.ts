/**
 * The first frames of a link: who each side is, what it can take, and proof that both hold the same secret.
 * Pure functions over bytes; nonces are arguments. Does not know sockets, streams or when to answer.
 */

/** Who a peer says it is. What it says is believed only after authentication, and is never used as a path or a key. */
export interface Identity {
  /** The container's (or proxy's) id: stable for one process group, unique among those that meet. */
  id: string
  /** Index of this worker among `workers`, from 0. */
  worker: number
  workers: number
  /** How many requests this worker runs at once, over all its links; 0 for a caller. */
  slots: number
  /** Limits a caller may want to know, by name (bytes or milliseconds as the name says). */
  limits: Record<string, number>
}

export const NOBODY: Identity = { id: '', worker: 0, workers: 1, slots: 0, limits: {} }
