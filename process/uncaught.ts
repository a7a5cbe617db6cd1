/** Uncaught exceptions end a server process, as they end a plain Node process, unless the application has a handler. */

/**
 * Calls `fatal` for each uncaught exception, or unhandled rejection, that would end a plain Node process.
 *
 * A listener of 'uncaughtException' is added only when an exception occurs: crash reporters (Sentry) count the
 * listeners, and do not end the process if there is another one.
 *
 * @param fatal ends the process
 * @param handled called if the application has a handler, which decides what follows
 */
export function onUncaught(fatal: (error: unknown) => void, handled: (error: unknown) => void): void {
  process.on('uncaughtExceptionMonitor', (error: unknown) => {
    if (process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback()) handled(error)
    // Not immediately: the application's own monitors run first.
    else process.once('uncaughtException', fatal)
  })
}
