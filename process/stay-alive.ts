/**
 * Keeps a server process alive. Gantry's timers are unref'd, so without a connection or a listener the event loop of a
 * server is empty, but the server must still run when its peers return.
 */

export interface KeepAlive {
  /** From now on Node ends the process when the event loop is otherwise empty. */
  unref(): void
  /** Keeps the process alive again. */
  ref(): void
}

/** Keeps the process alive although its event loop is empty. */
export function keepProcessAlive(): KeepAlive {
  // A timer that does nothing, with the longest interval that Node allows.
  return setInterval(() => {}, 2 ** 31 - 1)
}

/**
 * Time from the end of a child's drain timeout until it is killed, ms: aborted applications have 5 s to settle
 * (`CLOSE_GRACE`), the process has 1 s to close (run.ts) and 1 s to write its log; 1 s more for a busy machine.
 */
export const STOP_GRACE_MILLISECONDS = 8_000
