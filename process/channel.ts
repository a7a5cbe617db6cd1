/**
 * Keeps the IPC channel to the parent process open in a process that also runs an application. On plain Node the
 * application has no such channel that it could close.
 */

/** The part of `process` that is changed. */
export interface ChannelOwner {
  disconnect?(): void
}

/**
 * Ignores `process.disconnect()` calls of the application: this process would take the closed channel for the death of
 * its parent, and drain. Node calls the same function when the parent has gone, so the caller is found on the stack.
 * When in doubt (no stack, an unknown caller) the channel is closed.
 */
export function keepChannel(owner: ChannelOwner): void {
  const { disconnect } = owner
  if (disconnect === undefined) return
  owner.disconnect = () => {
    if (!isCalledByApplication()) disconnect.call(owner)
  }
}

/** Whether the caller of the function that calls this one is a file, and not a module of Node. */
function isCalledByApplication(): boolean {
  // Error; this function; `disconnect`; its caller.
  const { stack } = new Error()
  const caller = typeof stack === 'string' ? stack.split('\n')[3] : undefined
  return caller !== undefined && !caller.includes('node:internal/')
}
