/** A real HAProxy in a directory of its own, as one process in the foreground. */

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { answering, endServer } from './answering.ts'
import { freePort, temporary } from './sockets.ts'

const haproxy = ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'].find((path) => existsSync(path))

/** The reason to skip tests with HAProxy; undefined if it is installed. */
export const noHaproxy: string | undefined = haproxy ? undefined : 'HAProxy is not installed'

export interface Haproxy {
  readonly port: number
  stop(): Promise<void>
}

/**
 * @param server `HOST:PORT` behind it
 * @param lines of the section `defaults`
 */
export async function startHaproxy(server: string, lines: readonly string[]): Promise<Haproxy> {
  const directory = await temporary()
  const port = await freePort()
  const config = `
global
  maxconn 500
  nbthread 1
  # Heads of 64 KiB, which the suite sends and which Gantry accepts.
  tune.bufsize 131072
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
${lines.map((line) => `  ${line}`).join('\n')}
listen front
  bind 127.0.0.1:${port}
  server container ${server}
`
  const file = join(directory, 'haproxy.cfg')
  await writeFile(file, config)
  const child = spawn(haproxy!, ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  const said = text(child.stderr)
  try {
    await answering(child, port)
  } catch (error) {
    throw new Error(`HAProxy did not start: ${await said}`, { cause: error })
  }
  return {
    port,
    stop: () => endServer(child, directory),
  }
}
