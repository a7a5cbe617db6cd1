/**
 * More clients than a process has file descriptors: links, health and the listener keep theirs. Each process runs with
 * a small `ulimit -n`.
 */

import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { Frame } from '../../protocol/frames/codec/constants.ts'
import type { Answer } from '../support/client.ts'
import { withDirectory } from '../support/directory.ts'
import { HttpClient } from '../support/http-client.ts'
import { freePort } from '../support/sockets.ts'
import { APPLICATION, answered, Command } from './commands.ts'

/** Descriptors of the process: Node takes some 25 of them itself. */
const DESCRIPTORS = 96
const CLIENTS = 200

const quiet = ['--access-log', 'off', '--log-level', 'error']

type Make = (directory: string, port: number) => { tested: string[]; peer: string[] }

const makers: Readonly<Record<string, Make>> = {
  'a proxy': (directory, port) => ({
    tested: ['proxy', '--listen', `127.0.0.1:${port}`, '--upstream', `unix:${directory}/socket`],
    peer: ['container', APPLICATION, '--listen', `unix:${directory}/socket`],
  }),
  'a proxy that containers join': (directory, port) => ({
    tested: ['proxy', '--listen', `127.0.0.1:${port}`, '--join-listen', `unix:${directory}/socket`],
    peer: ['container', APPLICATION, '--join', `unix:${directory}/socket`],
  }),
}

async function withPair(
  make: Make,
  body: (pair: {
    port: number
    tested: Command
    peer(): Promise<Command>
    healthy(): Promise<boolean>
  }) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const port = await freePort()
    const { tested: argv, peer: peerArgv } = make(directory, port)
    const lane = `unix:${directory}/health`
    const tested = new Command([...argv, '--health-listen', lane, ...quiet], 'ignore', DESCRIPTORS)
    const peers: Command[] = []
    try {
      await body({
        port,
        tested,
        peer: async () => {
          const peer = new Command([...peerArgv, ...quiet], 'ignore')
          peers.push(peer)
          return peer
        },
        healthy: async () => (await new Command(['health', lane, '--live'], 'ignore').exited).code === 0,
      })
    } finally {
      for (const peer of peers) await peer.end()
      await tested.end()
    }
  })
}

/** Connections that send nothing, or what is given. */
async function flood(port: number, sends: string | Uint8Array = ''): Promise<{ open: Set<Socket>; end(): void }> {
  const open: Set<Socket> = new Set()
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const socket = connect(port, '127.0.0.1')
      open.add(socket)
      socket.on('error', () => {}).on('close', () => open.delete(socket))
      await new Promise<void>((resolve) => socket.once('connect', resolve).once('close', resolve))
      socket.resume()
      if (sends.length > 0) socket.write(sends)
    }),
  )
  return {
    open,
    end: () => {
      for (const socket of open) socket.destroy()
    },
  }
}

/**
 * The response to a client without room. Until all others are busy there may be room, and of many at once not all get a
 * response.
 */
async function refused(port: number): Promise<Answer> {
  for (;;) {
    const client = await HttpClient.connect({ host: '127.0.0.1', port })
    const answer = await client.fetch({ target: '/' })
    client.destroy()
    assert.ok([0, 200, 503].includes(answer.status), String(answer.status))
    if (answer.status === 503) return answer
  }
}

for (const [name, make] of Object.entries(makers)) {
  describe(name, () => {
    for (const [kind, sends] of [
      ['that send nothing', ''],
      ['that send half a head', 'GET / HTTP/1.1\r\nHost: a\r\n'],
      ['that are idle after a request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ] as const) {
      it(`answers other clients, health, and a joining container, beside too many clients ${kind}`, () =>
        withPair(make, async ({ port, tested, peer, healthy }) => {
          const first = await peer()
          await answered(tested, port)
          const clients = await flood(port, sends)
          // Repeated while all connections that could make room are new.
          for (let client = 0; client < 10; client++) await answered(tested, port)
          assert.equal(await healthy(), true)
          // A link is dialled or accepted again.
          const before = await answered(tested, port)
          first.process.kill('SIGKILL')
          await first.exited
          await peer()
          assert.notEqual(await answered(tested, port), before)
          clients.end()
          assert.ok(await answered(tested, port))
        }))
    }
  })
}

describe('when every connection is busy', () => {
  it('a proxy refuses another client with 503, keeps health and its link, and serves clients again later', () =>
    withDirectory(async (directory) => {
      const port = await freePort()
      const [socket, lane] = [`unix:${directory}/socket`, `unix:${directory}/health`]
      const container = new Command(['container', APPLICATION, '--listen', socket, ...quiet], 'ignore')
      const argv = ['proxy', '--listen', `127.0.0.1:${port}`, '--upstream', socket, '--health-listen', lane, ...quiet]
      const proxy = new Command(argv, 'ignore', DESCRIPTORS)
      try {
        await answered(proxy, port)
        const clients = await flood(port, 'GET /never HTTP/1.1\r\nHost: a\r\n\r\n')
        const answer = await refused(port)
        assert.ok(answer.headers.some(([field, value]) => field === 'Retry-After' && value === '1'))
        assert.ok(answer.headers.some(([field, value]) => field === 'Connection' && value === 'close'))
        assert.equal((await new Command(['health', lane, '--live'], 'ignore').exited).code, 0)
        clients.end()
        assert.ok(await answered(proxy, port))
        proxy.process.kill('SIGTERM')
        assert.deepEqual(await proxy.exited, { code: 0, signal: null })
      } finally {
        await proxy.end()
        await container.end()
      }
    }))

  it('a container refuses another client with 503, and still accepts the link of a proxy', () =>
    withDirectory(async (directory) => {
      const [port, front] = [await freePort(), await freePort()]
      const lane = `unix:${directory}/health`
      const listen = ['--listen', `127.0.0.1:${port}`, '--health-listen', lane]
      const container = new Command(['container', APPLICATION, ...listen, ...quiet], 'ignore', DESCRIPTORS)
      const proxy = (): Command =>
        new Command(['proxy', '--listen', `127.0.0.1:${front}`, '--upstream', `127.0.0.1:${port}`, ...quiet], 'ignore')
      let one: Command | undefined
      try {
        await answered(container, port)
        const clients = await flood(port, 'GET /never HTTP/1.1\r\nHost: a\r\n\r\n')
        await refused(port)
        assert.equal((await new Command(['health', lane], 'ignore').exited).code, 0)
        one = proxy()
        assert.ok(await answered(one, front))
        clients.end()
        assert.ok(await answered(container, port))
      } finally {
        await one?.end()
        await container.end()
      }
    }))
})

describe('where connections begin a handshake of frames and do not go on', () => {
  it('a container has descriptors left for health and for the link of a proxy', () =>
    withDirectory(async (directory) => {
      const [port, front] = [await freePort(), await freePort()]
      const lane = `unix:${directory}/health`
      const listen = ['--listen', `127.0.0.1:${port}`, '--health-listen', lane]
      const container = new Command(['container', APPLICATION, ...listen, ...quiet], 'ignore', DESCRIPTORS)
      const argv = ['proxy', '--listen', `127.0.0.1:${front}`, '--upstream', `127.0.0.1:${port}`, ...quiet]
      let proxy: Command | undefined
      try {
        await answered(container, port)
        const strangers = await flood(port, Uint8Array.of(Frame.HELLO, 0, 0, 0, 200, 0, 0, 0, 0))
        assert.equal((await new Command(['health', lane], 'ignore').exited).code, 0)
        proxy = new Command(argv, 'ignore')
        assert.ok(await answered(proxy, front))
        // Half of what is free is kept back, and these have their share of that alone. Those that were closed may be
        // seen to be a little later.
        for (let look = 0; strangers.open.size > DESCRIPTORS / 4 && look < 100; look++) await answered(proxy, front)
        assert.ok(strangers.open.size <= DESCRIPTORS / 4, `${strangers.open.size} are open`)
        strangers.end()
      } finally {
        await proxy?.end()
        await container.end()
      }
    }))
})

describe('an application that takes every file descriptor', () => {
  it('is logged once, and once when descriptors are free again; its container keeps serving', () =>
    withDirectory(async (directory) => {
      const path = `${directory}/socket`
      const argv = ['container', APPLICATION, '--listen', `unix:${path}`, '--access-log', 'off']
      const container = new Command(argv, ['ignore', 'pipe', 'ignore'], DESCRIPTORS)
      try {
        await container.logged('ready')
        const client = await HttpClient.connect({ path })
        assert.equal((await client.fetch({ target: '/leak' })).status, 200)
        await container.logged('out of file descriptors (EMFILE): ')
        assert.equal((await client.fetch({ target: '/free' })).status, 200)
        await container.logged('file descriptors are available again')
        client.destroy()
        const other = await HttpClient.connect({ path })
        assert.equal((await other.fetch({ target: '/' })).status, 200)
        other.destroy()
        container.process.kill('SIGTERM')
        assert.deepEqual(await container.exited, { code: 0, signal: null })
      } finally {
        await container.end()
      }
    }))
})

describe('the health lane', () => {
  it('answers beside any number of silent connections', () =>
    withDirectory(async () => {
      const [port, lane] = [await freePort(), await freePort()]
      const argv = ['container', APPLICATION, '--listen', `127.0.0.1:${port}`, '--health-listen', `127.0.0.1:${lane}`]
      const container = new Command([...argv, ...quiet], 'ignore', DESCRIPTORS)
      try {
        await answered(container, port)
        const clients = await flood(lane)
        assert.match(await answered(container, lane, '/ready'), /"ready":true/)
        assert.ok(await answered(container, port))
        clients.end()
      } finally {
        await container.end()
      }
    }))
})
