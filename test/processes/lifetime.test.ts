/**
 * Processes with a duty live while their peers are away, and serve when these are back; told to end, they end whatever
 * their peers do.
 */

import assert from 'node:assert/strict'
import type { StdioOptions } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, it } from 'node:test'
import { withDirectory } from '../support/directory.ts'
import { freePort } from '../support/sockets.ts'
import { APPLICATION, answered, ask, Command } from './commands.ts'

interface Pair {
  /** The one that must live. */
  readonly tested: readonly string[]
  readonly peer: readonly string[]
  /** Where requests are answered while both are there. */
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

/** Its log is read, so that it is known when it has started. (An IPC channel would keep it alive.) */
const LOGGED: StdioOptions = ['ignore', 'pipe', 'ignore']

/** Of a peer that was killed. */
async function killed(peer: Command): Promise<void> {
  peer.process.kill('SIGKILL')
  await peer.exited
}

/** A process that has ended and is not yet buried has no such file. */
function runs(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`)
}

for (const [name, make] of Object.entries(pairs)) {
  describe(`gantry ${name}`, () => {
    it('lives while its peer is not there yet, and after it has gone, and serves when it is back', () =>
      withDirectory(async (directory) => {
        const { tested, peer, port } = await make(directory)
        const command = new Command(tested, LOGGED)
        const peers: Command[] = []
        try {
          await command.logged('ready')
          for (let round = 0; round < 3; round++) {
            // Starting takes the peer longer than a first try to reach it takes the other.
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
      it(`ends with 0 when it is told to while its peer is ${state}`, () =>
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
    it(`(gantry ${name}) live when all their children end, and start them again`, () =>
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

    it(`(gantry ${name}) make children go on that were stopped (SIGSTOP), and end with them`, () =>
      withDirectory(async () => {
        const port = await freePort()
        // Without a deadline, so that it is not by force that they end.
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

  it('of workers make them go on that were stopped (SIGSTOP), and end with them', () =>
    withDirectory(async (directory) => {
      const { tested, port } = await pairs['proxy --workers 2']!(directory)
      const command = new Command([...tested, '--queue-timeout', '10ms', '--drain-timeout', 'none'], 'ignore')
      try {
        // 503: it listens.
        while (command.children.length < 2) await ask(port)
        const { children } = command
        for (const child of children) process.kill(child, 'SIGSTOP')
        command.process.kill('SIGTERM')
        assert.deepEqual(await command.exited, { code: 0, signal: null })
        assert.deepEqual(children.filter(runs), [])
      } finally {
        await command.end()
      }
    }))
})
