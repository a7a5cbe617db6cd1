/** Terminals that are paused (Ctrl-S) or closed, created by script(1) for its command. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { freePort } from '../support/sockets.ts'
import { APPLICATION, ask } from './commands.ts'
import { Pipe } from './readers.ts'

const script = ['/usr/bin/script', '/bin/script'].find((path) => existsSync(path))
const skip = script === undefined && process.env['CI'] !== 'true' ? 'script(1) is not installed' : false

/** After this time a process that should have ended is killed, so that its test fails, ms. */
const PATIENCE = 60_000

class Terminal {
  readonly script: ChildProcess

  constructor(argv: readonly string[], output: number | 'ignore') {
    const command = `exec ${process.execPath} ${repositoryFile('cli/gantry.ts')} ${argv.join(' ')}`
    // script reads nothing more from the terminal while its own output is blocked.
    this.script = spawn(script!, ['-q', '-c', command, '/dev/null'], { stdio: ['ignore', output, 'ignore'] })
  }

  /** The command's process. */
  get pid(): number {
    const { pid } = this.script
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
  }
}

/** Resolves when the process has exited by itself. */
async function ended(pid: number): Promise<void> {
  const late = Date.now() + PATIENCE
  while (existsSync(`/proc/${pid}/exe`)) {
    if (Date.now() > late) {
      process.kill(pid, 'SIGKILL')
      throw new Error('the process had to be killed')
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const commands: Readonly<Record<string, (port: number) => string[]>> = {
  container: (port) => ['container', APPLICATION, '--listen', `127.0.0.1:${port}`],
  'up --dev': (port) => ['up', APPLICATION, '--dev', '--listen', `127.0.0.1:${port}`],
  up: (port) => ['up', APPLICATION, '--listen', `127.0.0.1:${port}`],
}

describe('terminals', { skip }, () => {
  for (const [name, argv] of Object.entries(commands)) {
    it(`that are paused prevent gantry ${name} neither from answering nor from stopping`, () =>
      withDirectory(async (directory) => {
        const port = await freePort()
        const pipe = new Pipe(directory)
        const terminal = new Terminal(argv(port), pipe.stdio)
        while (!(await ask(port))) await new Promise((resolve) => setTimeout(resolve, 20))
        const { pid } = terminal
        for (let request = 0; request < 40; request++) assert.ok(await ask(port, `/?${'x'.repeat(4_000)}`))
        process.kill(pid, 'SIGTERM')
        await ended(pid)
        terminal.script.kill('SIGKILL')
        pipe.close()
        pipe.leave()
      }))

    it(`that are closed end gantry ${name}, and leave no process of it`, () =>
      withDirectory(async () => {
        const port = await freePort()
        const terminal = new Terminal(argv(port), 'ignore')
        while (!(await ask(port))) await new Promise((resolve) => setTimeout(resolve, 20))
        const { pid } = terminal
        const serving = Number(await ask(port))
        terminal.script.kill('SIGKILL')
        await ended(pid)
        await ended(serving)
      }))
  }
})
