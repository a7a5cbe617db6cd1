/** Processes of ours that another one of ours started, as handles for `supervise.ts`: ready when they say so over their IPC channel. */

import type { ChildProcess } from 'node:child_process'
import type { Address } from './protocol/address.ts'
import type { ChildMessage } from './run.ts'
import type { Child, ChildExit } from './supervise.ts'

/**
 * @param child with an IPC channel; just started
 * @param onError it could not be started, or not be reached
 */
export function childOf(child: ChildProcess, onError: (error: Error) => void): Child<readonly Address[]> {
  const ready = Promise.withResolvers<readonly Address[]>()
  const exited = Promise.withResolvers<ChildExit>()
  const last = Promise.withResolvers<void>()
  child.on('message', (message: ChildMessage) => {
    if (message.gantry === 'ready') ready.resolve(message.addresses)
    else if (message.gantry === 'last') last.resolve()
  })
  child.on('exit', (code, signal) => exited.resolve({ code, signal }))
  child.on('error', (error) => {
    onError(error)
    // One that runs and cannot be told something ends, or does not, all the same.
    if (child.pid === undefined) exited.resolve({ code: null, signal: null })
  })
  return { ready: ready.promise, exited: exited.promise, last: last.promise, kill: (signal) => void child.kill(signal) }
}

/** `SIGKILL`, `exit code 1`. */
export function describeExit({ code, signal }: ChildExit): string {
  return signal ?? `exit code ${code}`
}
