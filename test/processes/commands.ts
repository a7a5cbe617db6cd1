/** Each server command as a process of a test's own, whose peers and streams the test decides about. */

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { repositoryFile } from '../support/child.ts'

export const APPLICATION: string = repositoryFile('test/processes/app.ts')
const GANTRY = repositoryFile('gantry.ts')

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

/** Past this a process that should have ended is killed, so that its test fails instead of hanging, ms. */
const PATIENCE = 90_000

/** `gantry ARGV`, with no variable of this process's that would be an option. */
export class Command {
  readonly process: ChildProcess
  readonly exited: Promise<Exit>
  /** Its standard output so far, where that is a pipe that is read. */
  #output = ''

  constructor(argv: readonly string[], stdio: StdioOptions, descriptors?: number) {
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('GANTRY_') && name !== 'NODE_TEST_CONTEXT'),
    )
    const command = [process.execPath, GANTRY, ...argv]
    const cache = { NODE_COMPILE_CACHE: repositoryFile('node_modules/.cache/compiled') }
    this.process =
      descriptors === undefined
        ? spawn(command[0]!, command.slice(1), { stdio, env: { ...cache, ...env } })
        : spawn('/bin/sh', ['-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...command], {
            stdio,
            env: { ...cache, ...env },
          })
    const impatience = setTimeout(() => this.process.kill('SIGKILL'), PATIENCE)
    this.exited = once(this.process, 'exit').then(([code, signal]) => {
      clearTimeout(impatience)
      return { code, signal } as Exit
    })
  }

  /**
   * Resolves once its log has a line whose message begins so, for one whose standard output is a pipe; rejects when it
   * has ended before.
   */
  async logged(message: string): Promise<void> {
    const { stdout } = this.process
    if (stdout?.listenerCount('data') === 0) stdout.setEncoding('utf8').on('data', (text) => (this.#output += text))
    while (!this.#output.includes(`"msg":"${message}`)) {
      if (!this.running) throw new Error(`the process ended: ${this.#output}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** Processes that it has started, oldest first. */
  get children(): number[] {
    const { pid } = this.process
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
  }

  async end(): Promise<void> {
    if (this.running) {
      for (const child of this.children) kill(child)
      this.process.kill('SIGKILL')
    }
    await this.exited
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

/** One request on a connection of its own: its body with status 200, else undefined. */
export function ask(port: number, path = '/'): Promise<string | undefined> {
  return new Promise((resolve) => {
    const sent = request({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve(response.statusCode === 200 ? text : undefined))
      response.on('error', () => resolve(undefined))
    })
    sent.on('error', () => resolve(undefined))
    sent.end()
  })
}

/** Asks until it is answered; gives up when `command` has ended. */
export async function answered(command: Command, port: number, path = '/'): Promise<string> {
  for (;;) {
    const text = await ask(port, path)
    if (text !== undefined) return text
    if (!command.running) throw new Error(`the process ended: ${JSON.stringify(await command.exited)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
