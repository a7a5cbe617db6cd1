/** A real fcgiwrap, which runs CGI programs for a FastCGI client such as nginx. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { temporary } from './sockets.ts'

const binary = ['/usr/sbin/fcgiwrap', '/usr/bin/fcgiwrap'].find((path) => existsSync(path))

/** The reason to skip tests with fcgiwrap; undefined if it is installed. */
export const noFcgiwrap: string | undefined = binary ? undefined : 'fcgiwrap is not installed'

export interface Fcgiwrap {
  /** The address for `fastcgi_pass`. */
  readonly socket: string
  stop(): Promise<void>
}

export async function startFcgiwrap(): Promise<Fcgiwrap> {
  const directory = await temporary()
  const socket = join(directory, 'socket')
  const child = spawn(binary!, ['-f', '-c', '4', '-s', `unix:${socket}`], { stdio: 'ignore', detached: true })
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`fcgiwrap ended with ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return {
    socket: `unix:${socket}`,
    async stop() {
      const exited = once(child, 'exit')
      // Its children and the programs that they run end too.
      process.kill(-child.pid!, 'SIGTERM')
      await exited
      await rm(directory, { recursive: true, force: true })
    },
  }
}
