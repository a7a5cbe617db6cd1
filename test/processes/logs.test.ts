/** No log write ends a server or a supervisor, blocks a request, or delays a stop, whatever reads its streams. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { withDirectory } from '../support/directory.ts'
import { freePort } from '../support/sockets.ts'
import { APPLICATION, answered, ask, Command } from './commands.ts'
import { readers } from './readers.ts'

/** Access lines of this length soon fill every pipe and socket. */
const LONG = `/?${'x'.repeat(4_000)}`
const REQUESTS = 120

interface Arrangement {
  /** The names of its processes on standard error, and how many log lines each writes at least for 20 requests. */
  readonly loggers: Readonly<Record<string, number>>
  /** @returns the command lines of the tested process and of a peer that it needs */
  argv(port: number, directory: string): { tested: string[]; peer?: string[] }
  /** One of its processes crashes. */
  crash?(command: Command, port: number): Promise<unknown>
}

const quiet = ['--log-level', 'error', '--access-log', 'off']

const arrangements: Readonly<Record<string, Arrangement>> = {
  container: {
    loggers: { container: 20 },
    argv: (port) => ({ tested: ['container', APPLICATION, '--listen', `127.0.0.1:${port}`] }),
  },
  proxy: {
    loggers: { proxy: 20 },
    argv: (port, directory) => ({
      tested: ['proxy', '--listen', `127.0.0.1:${port}`, '--upstream', `unix:${directory}/socket`],
      peer: ['container', APPLICATION, '--listen', `unix:${directory}/socket`, ...quiet],
    }),
  },
  'proxy --workers': {
    loggers: { proxy: 20 },
    argv: (port, directory) => ({
      tested: ['proxy', '--workers', '2', '--listen', `127.0.0.1:${port}`, '--upstream', `unix:${directory}/socket`],
      peer: ['container', APPLICATION, '--listen', `unix:${directory}/socket`, ...quiet],
    }),
    crash: async (command) => process.kill(command.children[0]!, 'SIGKILL'),
  },
  up: {
    loggers: { proxy: 20, container: 1 },
    argv: (port) => ({ tested: ['up', APPLICATION, '--listen', `127.0.0.1:${port}`] }),
    crash: (_, port) => ask(port, '/crash'),
  },
  'up --dev': {
    loggers: { dev: 20 },
    argv: (port) => ({ tested: ['up', APPLICATION, '--dev', '--listen', `127.0.0.1:${port}`] }),
    crash: (_, port) => ask(port, '/crash'),
  },
}

for (const [reader, make] of Object.entries(readers)) {
  describe(`with ${reader} behind both of its streams`, () => {
    for (const [name, { argv, crash }] of Object.entries(arrangements)) {
      it(`gantry ${name} answers${crash ? ', restarts what crashes' : ''} and stops`, () =>
        withDirectory(async (directory) => {
          const port = await freePort()
          const { tested, peer } = argv(port, directory)
          const container = peer && new Command(peer, 'ignore')
          const [out, err] = [make(directory), make(directory)]
          const command = new Command(tested, ['ignore', out.stdio, err.stdio])
          try {
            await answered(command, port)
            for (let request = 0; request < REQUESTS; request++) assert.ok(await ask(port, LONG))
            for (let request = 0; request < 3; request++) assert.ok(await ask(port, '/talk'))
            if (crash) {
              const before = await answered(command, port)
              await crash(command, port)
              const after = await answered(command, port)
              if (!peer) assert.notEqual(after, before)
              assert.ok(await ask(port, LONG))
            }
            command.process.kill('SIGTERM')
            assert.deepEqual(await command.exited, { code: 0, signal: null })
          } finally {
            await command.end()
            await container?.end()
            out.close()
            err.close()
          }
        }))
    }

    it('gantry health exits with its result', () =>
      withDirectory(async (directory) => {
        const [out, err] = [make(directory), make(directory)]
        const command = new Command(['health', `unix:${join(directory, 'nobody')}`], ['ignore', out.stdio, err.stdio])
        assert.deepEqual(await command.exited, { code: 1, signal: null })
        out.close()
        err.close()
      }))

    it('a wrong command line exits with 1', () =>
      withDirectory(async (directory) => {
        const [out, err] = [make(directory), make(directory)]
        const command = new Command(['proxy', '--nonsense'], ['ignore', out.stdio, err.stdio])
        assert.deepEqual(await command.exited, { code: 1, signal: null })
        out.close()
        err.close()
      }))
  })
}

/** Standard error of a process, read to its end. */
async function textOf(command: Command): Promise<string> {
  let text = ''
  for await (const chunk of command.process.stderr!.setEncoding('utf8')) text += chunk
  return text
}

for (const [reader, isRefused] of [
  ['a full disk (/dev/full)', true],
  ['a pipe whose reader has gone', true],
  ['a full pipe that nobody reads', false],
] as const) {
  const make = readers[reader]!

  describe(`with ${reader} behind standard output alone`, () => {
    for (const [name, { argv, loggers }] of Object.entries(arrangements)) {
      it(`gantry ${name} reports lost log lines on standard error`, () =>
        withDirectory(async (directory) => {
          const port = await freePort()
          const { tested, peer } = argv(port, directory)
          const container = peer && new Command(peer, 'ignore')
          const out = make(directory)
          const command = new Command(tested, ['ignore', out.stdio, 'pipe'])
          const text = textOf(command)
          try {
            await answered(command, port)
            for (let request = 0; request < 20; request++) assert.ok(await ask(port))
            command.process.kill('SIGTERM')
            assert.deepEqual(await command.exited, { code: 0, signal: null })
            const stderr = await text
            for (const [logger, least] of Object.entries(loggers)) {
              const atOnce = new RegExp(
                `^gantry ${logger}: log lines are being lost: standard output cannot be written \\(E`,
                'm',
              )
              if (isRefused) assert.match(stderr, atOnce)
              const atExit = new RegExp(`^gantry ${logger}: (\\d+) log lines were lost: `, 'gm')
              const lost = [...stderr.matchAll(atExit)].reduce((sum, [, count]) => sum + Number(count), 0)
              assert.ok(lost >= least, stderr)
            }
          } finally {
            await command.end()
            await container?.end()
            out.close()
          }
        }))
    }

    it('gantry health prints its result on standard error', () =>
      withDirectory(async (directory) => {
        const out = make(directory)
        const command = new Command(['health', `unix:${join(directory, 'nobody')}`], ['ignore', out.stdio, 'pipe'])
        const text = textOf(command)
        assert.deepEqual(await command.exited, { code: 1, signal: null })
        assert.match(await text, /^gantry health: standard output could not be written: .+\n$/)
        out.close()
      }))
  })
}
