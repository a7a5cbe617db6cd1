/**
 * The application's process in development: the files that it imports, why it failed, and its end, together with the
 * processes that it started. `reloader.ts` decides when it is started and ended.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { NOT_STARTED, started } from '../process/children.ts'
import { endGroup, signalGroup } from '../process/process-group.ts'
import { childMessageOf } from '../process/run.ts'
import type { StopSignal } from '../process/signals.ts'
import type { Child, ChildExit } from '../process/supervise.ts'
import type { Address } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { devMessageOf, type Failure, type ImportsMessage } from './messages.ts'

interface DevChildOptions {
  /** Arguments of Node: its own options, the file to run, and the file's arguments. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly onImports: (child: DevChild, message: ImportsMessage) => void
}

/** How long messages of a process may take to arrive after its end, ms. */
const MESSAGE_GRACE_MILLISECONDS = 500

export class DevChild implements Child<readonly Address[]> {
  readonly ready: Promise<readonly Address[]>
  readonly exited: Promise<ChildExit>
  /** The error that the process has reported. */
  failure: Failure | undefined
  /** The files that the process has imported. */
  readonly files: Set<string> = new Set()
  readonly #process: ChildProcess | undefined

  constructor({ argv, env, onImports }: DevChildOptions) {
    const ready = Promise.withResolvers<readonly Address[]>()
    const exited = Promise.withResolvers<ChildExit>()
    this.ready = ready.promise
    this.exited = exited.promise
    // With its own process group, Ctrl-C in a terminal reaches only the parent, and the processes that the child starts
    // can be ended with it.
    const child = started(() =>
      spawn(process.execPath, argv, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true, env }),
    )
    const failed = (error: Error): void => {
      this.failure = { name: error.name, message: error.message, stack: error.stack }
      exited.resolve(NOT_STARTED)
    }
    if (child instanceof Error) {
      failed(child)
      return
    }
    this.#process = child
    child.on('message', (sent) => {
      const message = devMessageOf(sent) ?? childMessageOf(sent)
      if (message?.gantry === 'ready') ready.resolve(message.addresses)
      else if (message?.gantry === 'failed') this.failure = message.failure
      else if (message?.gantry === 'imports') {
        for (const { file } of message.imported) this.files.add(file)
        onImports(this, message)
      }
    })
    // Messages may arrive after the exit: 'disconnect' follows the last one.
    const received = Promise.withResolvers<void>()
    child.on('disconnect', received.resolve)
    child.on('exit', async (code, signal) => {
      if (!child.connected) received.resolve()
      // A process that inherited the channel may keep it open, but sends nothing.
      setTimeout(received.resolve, MESSAGE_GRACE_MILLISECONDS).unref()
      // A process that the child has left running may hold the port that the next child needs.
      await Promise.all([received.promise, endGroup(child.pid!, systemClock)])
      exited.resolve({ code, signal })
    })
    child.on('error', (error) => {
      // The child runs, and a message could not be sent to it.
      if (child.pid === undefined) failed(error)
    })
  }

  kill(signal: StopSignal | 'SIGKILL'): void {
    if (signal === 'SIGKILL') this.#killGroup(signal)
    else {
      this.#process?.kill(signal)
      // See children.ts.
      this.#process?.kill('SIGCONT')
    }
  }

  /** Kills the process, and the processes that it has started and left running. */
  #killGroup(signal: NodeJS.Signals): void {
    const pid = this.#process?.pid
    if (pid === undefined) return
    signalGroup(pid, signal)
  }
}
