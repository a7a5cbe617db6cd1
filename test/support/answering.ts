/** Web servers that do not report when they listen: waits until one accepts connections, and ends it. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'

/** Repeats a request until `child` accepts connections. @throws Error if the process ends first */
export async function answering(child: ChildProcess, port: number): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    const socket = connect(port, '127.0.0.1')
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (answered) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Kills a server that a test has started, and removes its directory. */
export async function endServer(child: ChildProcess, directory: string): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
  await rm(directory, { recursive: true, force: true })
}
