/** Exceptions that nobody caught: they end a process of ours as they end one of Node's, unless a handler of the application's takes them. */

/**
 * Calls `fatal` for each uncaught exception, or unhandled rejection, that would end a plain Node process.
 *
 * It adds no listener of 'uncaughtException' before there is such an exception: crash reporters (Sentry) count those, and leave the end of the
 * process to others if there are any.
 *
 * @param fatal ends the process
 * @param left the application has a handler, which decides
 */
export function onUncaught(fatal: (error: unknown) => void, left: (error: unknown) => void): void {
  process.on('uncaughtExceptionMonitor', (error: unknown) => {
    if (process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback()) left(error)
    // Not at once: the application may have monitors too, which come first.
    else process.once('uncaughtException', fatal)
  })
}
