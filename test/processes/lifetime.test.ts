/**
 * Server processes run while their peers are away, and serve when these return; after a signal they exit, whatever
 * their peers do.
 */

import assert from 'node:assert/strict'
import type { StdioOptions } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, it } from 'node:test'
import { withDirectory } from '../support/directory.ts'
import { freePort } from '../support/sockets.ts'
import { APPLICATION, answered, Command } from './commands.ts'

interface Pair {
  /** The process that must keep running. */
  readonly tested: readonly string[]
  readonly peer: readonly string[]
  /** The address at which requests are served while both run. */
  readonly port: number
}

/** @param directory for sockets */
type MakePair = (directory: string) => Promise<Pair>

const front = async (): Promise<{ port: number; listen: string[] }> => {
  const port = await freePort()
  return { port, listen: ['--listen', `127.0.0.1:${port}`] }
}

const pairs: Readonly<Record<string, MakePair>> = {
  'container --join': async (directory) => {
    const { port, listen } = await front()
    const socket = `unix:${directory}/join`
    return {
      port,
      tested: ['container', APPLICATION, '--join', socket],
      peer: ['proxy', ...listen, '--join-listen', socket],
    }
  },
  'container --join, over TCP,': async () => {
    const { port, listen } = await front()
    const address = `127.0.0.1:${await freePort()}`
    return {
      port,
      tested: ['container', APPLICATION, '--join', address],
      peer: ['proxy', ...listen, '--join-listen', address],
    }
  },
  'container --listen': async (directory) => {
    const { port, listen } = await front()
    const socket = `unix:${directory}/container`
    return {
      port,
      tested: ['container', APPLICATION, '--listen', socket],
      peer: ['proxy', ...listen, '--upstream', socket],
    }
  },
  'proxy --upstream': async (directory) => {
    const { port, listen } = await front()
    const socket = `unix:${directory}/container`
    return {
      port,
      tested: ['proxy', ...listen, '--upstream', socket],
      peer: ['container', APPLICATION, '--listen', socket],
    }
  },
  'proxy --upstream of a directory': async (directory) => {
    const { port, listen } = await front()
    return {
      port,
      tested: ['proxy', ...listen, '--upstream', `unix:${directory}/`],
      peer: ['container', APPLICATION, '--listen', `unix:${directory}/`],
    }
  },
  'proxy --join-listen': async (directory) => {
    const { port, listen } = await front()
    const socket = `unix:${directory}/join`
    return {
      port,
      tested: ['proxy', ...listen, '--join-listen', socket],
      peer: ['container', APPLICATION, '--join', socket],
    }
  },
  'proxy --workers 2': async (directory) => {
    const { port, listen } = await front()
    const socket = `unix:${directory}/container`
    return {
      port,
      tested: ['proxy', '--workers', '2', ...listen, '--upstream', socket],
      peer: ['container', APPLICATION, '--listen', socket],
    }
  },
}

/** Its log is read, to know when it has started. (An IPC channel would keep it alive.) */
const LOGGED: StdioOptions = ['ignore', 'pipe', 'ignore']

/** The address of a peer that was killed. */
async function killed(peer: Command): Promise<void> {
  peer.process.kill('SIGKILL')
  await peer.exited
}

/** A process that has exited and was not reaped yet has no such file. */
function runs(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`)
}

for (const [name, make] of Object.entries(pairs)) {
  describe(`gantry ${name}`, () => {
    it('keeps running before its peer starts and after it has exited, and serves when it returns', () =>
      withDirectory(async (directory) => {
        const { tested, peer, port } = await make(directory)
        const command = new Command(tested, LOGGED)
        const peers: Command[] = []
        try {
          await command.logged('ready')
          for (let round = 0; round < 3; round++) {
            // The peer takes longer to start than the first dial takes.
            const next = new Command(peer, 'ignore')
            peers.push(next)
            await Promise.race([answered(next, port), command.exited])
            assert.ok(command.running, 'the process has ended')
            await killed(next)
          }
        } finally {
          for (const one of peers) await one.end()
          await command.end()
        }
      }))

    for (const state of ['absent', 'gone', 'stopped'] as const) {
      it(`exits with 0 at SIGTERM while its peer is ${state}`, () =>
        withDirectory(async (directory) => {
          const { tested, peer, port } = await make(directory)
          const command = new Command(tested, LOGGED)
          const other = state === 'absent' ? undefined : new Command(peer, 'ignore')
          try {
            await command.logged('ready')
            if (other) {
              assert.ok(await Promise.race([answered(other, port), command.exited]))
              if (state === 'gone') await killed(other)
              else other.process.kill('SIGSTOP')
            }
            command.process.kill('SIGTERM')
            assert.deepEqual(await command.exited, { code: 0, signal: null })
          } finally {
            await other?.end()
            await command.end()
          }
        }))
    }
  })
}

describe('supervisors', () => {
  for (const [name, argv] of Object.entries({
    up: (port: number) => ['up', APPLICATION, '--listen', `127.0.0.1:${port}`],
    'up --dev': (port: number) => ['up', APPLICATION, '--dev', '--listen', `127.0.0.1:${port}`],
  })) {
    it(`(gantry ${name}) keep running when all their children exit, and restart them`, () =>
      withDirectory(async () => {
        const port = await freePort()
        const command = new Command(argv(port), 'ignore')
        try {
          for (let round = 0; round < 3; round++) {
            await answered(command, port)
            for (const child of command.children) process.kill(child, 'SIGKILL')
          }
          await answered(command, port)
          command.process.kill('SIGTERM')
          assert.deepEqual(await command.exited, { code: 0, signal: null })
        } finally {
          await command.end()
        }
      }))

    it(`(gantry ${name}) continue stopped children (SIGSTOP), and exit with them`, () =>
      withDirectory(async () => {
        const port = await freePort()
        // Without a deadline, so that the children are not killed.
        const command = new Command([...argv(port), '--drain-timeout', 'none'], 'ignore')
        try {
          await answered(command, port)
          const { children } = command
          for (const child of children) process.kill(child, 'SIGSTOP')
          command.process.kill('SIGTERM')
          assert.deepEqual(await command.exited, { code: 0, signal: null })
          assert.deepEqual(children.filter(runs), [])
        } finally {
          await command.end()
        }
      }))
  }

  it('of workers continue stopped workers (SIGSTOP), and exit with them', () =>
    withDirectory(async (directory) => {
      const { tested } = await pairs['proxy --workers 2']!(directory)
      const command = new Command([...tested, '--drain-timeout', 'none'], LOGGED)
      try {
        // Not earlier: a child that is stopped between fork and exec blocks its parent.
        await command.logged('ready', command.process.pid)
        const { children } = command
        assert.equal(children.length, 2)
        for (const child of children) process.kill(child, 'SIGSTOP')
        command.process.kill('SIGTERM')
        assert.deepEqual(await command.exited, { code: 0, signal: null })
        assert.deepEqual(children.filter(runs), [])
      } finally {
        await command.end()
      }
    }))
})
