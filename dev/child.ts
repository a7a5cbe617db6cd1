/**
 * The application's process as the development server sees it: what it imports, what it failed of, and its end, together with all that it started
 * itself. When it is started and ended is not known here.
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

export interface DevChildOptions {
  /** For Node: its own options, the file to run, and that file's arguments. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly onImports: (child: DevChild, message: ImportsMessage) => void
}

/** For what it has said to arrive once it has ended. */
const LAST_WORDS_MILLISECONDS = 500

export class DevChild implements Child<readonly Address[]> {
  readonly ready: Promise<readonly Address[]>
  readonly exited: Promise<ChildExit>
  /** What it said that it failed of. */
  failure: Failure | undefined
  /** Files that it has imported. */
  readonly files: Set<string> = new Set()
  readonly #process: ChildProcess | undefined

  constructor({ argv, env, onImports }: DevChildOptions) {
    const ready = Promise.withResolvers<readonly Address[]>()
    const exited = Promise.withResolvers<ChildExit>()
    this.ready = ready.promise
    this.exited = exited.promise
    // A process group of its own: Ctrl-C in a terminal is for its parent alone, and what it starts itself can be ended with it.
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
    // Its last words may come after its end: the channel is closed once all are read.
    const said = Promise.withResolvers<void>()
    child.on('disconnect', said.resolve)
    child.on('exit', async (code, signal) => {
      if (!child.connected) said.resolve()
      // Whoever has its end of the channel now keeps it open, but says nothing more.
      setTimeout(said.resolve, LAST_WORDS_MILLISECONDS).unref()
      // A process that the child has left running may hold the port that the next child needs.
      await Promise.all([said.promise, endGroup(child.pid!, systemClock)])
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

  /** It, and what it has started and left running. */
  #killGroup(signal: NodeJS.Signals): void {
    const pid = this.#process?.pid
    if (pid === undefined) return
    signalGroup(pid, signal)
  }
}
