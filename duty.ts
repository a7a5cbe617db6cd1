/**
 * What keeps a process that has a duty. Timers and connections of Gantry keep none: a server whose peers are all gone has neither a
 * connection nor a timer that counts, and must be there when they are back. Knows nothing of what the duty is.
 */

export interface Duty {
  /** The process may end when nothing else is left to do. */
  done(): void
}

/** From now on the process lives, with or without anything to do. */
export function holdDuty(): Duty {
  // The longest interval that Node's timers have; it does nothing.
  const handle = setInterval(() => {}, 2 ** 31 - 1)
  return { done: () => clearInterval(handle) }
}

/**
 * From the end of its drain timeout until a process that was told to stop is ended by force, ms: aborted applications have 5 s to settle
 * (`CLOSE_GRACE`), the process a second to be done with them (run.ts), its log a second to be written, and a busy machine one more.
 */
export const STOP_GRACE_MILLISECONDS = 8_000
