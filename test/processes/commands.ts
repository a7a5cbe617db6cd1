/** Each server command as a process, with peers and streams under the test's control. */

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { repositoryFile } from '../support/child.ts'

export const APPLICATION: string = repositoryFile('test/processes/app.ts')
const GANTRY = repositoryFile('cli/gantry.ts')

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

/** After this time a process that should have ended is killed, so that its test fails instead of hanging, ms. */
const PATIENCE = 90_000

/** Starts `gantry ARGV` without any variable of this process that would be an option. */
export class Command {
  readonly process: ChildProcess
  readonly exited: Promise<Exit>
  /** Its standard output so far, if that is a pipe that is read. */
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
   * Resolves when its log has a line whose message begins so, if its standard output is a pipe; rejects if it ends
   * before.
   *
   * @param pid the process that logs it, where others write to the same pipe
   */
  async logged(message: string, pid?: number): Promise<void> {
    const { stdout } = this.process
    if (stdout?.listenerCount('data') === 0) stdout.setEncoding('utf8').on('data', (text) => (this.#output += text))
    const words = [`"msg":"${message}`, ...(pid === undefined ? [] : [`"pid":${pid},`])]
    const found = (): boolean => this.#output.split('\n').some((line) => words.every((word) => line.includes(word)))
    while (!found()) {
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
    // The process has ended meanwhile.
  }
}

/** One request on its own connection: the body of a response with status 200, else undefined. */
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

/** Repeats the request until it gets a response; fails if `command` has ended. */
export async function answered(command: Command, port: number, path = '/'): Promise<string> {
  for (;;) {
    const text = await ask(port, path)
    if (text !== undefined) return text
    if (!command.running) throw new Error(`the process ended: ${JSON.stringify(await command.exited)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
