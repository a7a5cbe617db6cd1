/**
 * Keeps a process alive while it has a duty. Gantry's timers are unref'd: without a connection or a listener the event loop of a server is
 * empty, and the server must still be there when its peers are back.
 */

export interface Duty {
  /** From now on Node ends the process when nothing else is left in its event loop. */
  unref(): void
  /** It does not any more. */
  ref(): void
}

/** From now on an empty event loop does not end the process. */
export function holdDuty(): Duty {
  // The longest interval that Node's timers have; it does nothing.
  return setInterval(() => {}, 2 ** 31 - 1)
}

/**
 * Time from the end of a child's drain timeout until it is killed, ms: aborted applications have 5 s to settle (`CLOSE_GRACE`), the process
 * has 1 s to close (run.ts) and 1 s to write its log, and a busy machine needs 1 s more.
 */
export const STOP_GRACE_MILLISECONDS = 8_000
