/**
 * Applications whose child process listens in their place: which processes count as such a child, and what is logged
 * meanwhile.
 */

import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { channel } from 'node:diagnostics_channel'
import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import {
  ChildServers,
  type PortFindings,
  type PortOwner,
  portOwner,
} from '../../../container/application/child-servers.ts'
import { ListenTakeover } from '../../../container/application/listen-takeover.ts'
import { type ListeningPorts, listeningPorts } from '../../../container/application/listening-ports.ts'
import { repositoryFile } from '../../support/child.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'

const PORT = 3000
/** No port was given. */
const UNSET = 0
const URL_OF_CHILD = `http://127.0.0.1:${PORT}/`

function ports(which: Partial<Record<keyof ListeningPorts, number[]>>): ListeningPorts {
  const { own = [], descendants = [], all = [...own, ...descendants] } = which
  return { all: new Set(all), own: new Set(own), descendants: new Set(descendants) }
}

describe('portOwner', () => {
  const free: PortFindings = { port: PORT, accepts: false, wasOpenBefore: false, isOwn: false, ports: undefined }
  const open: PortFindings = { ...free, accepts: true }
  const cases: readonly [what: string, findings: PortFindings, owner: PortOwner][] = [
    ['the port refuses connections', free, 'none'],
    [
      'the port refuses connections, although a child listens on another address',
      { ...free, ports: ports({ descendants: [PORT] }) },
      'none',
    ],
    ['the system reports a child', { ...open, ports: ports({ descendants: [PORT] }) }, 'child'],
    [
      'the system reports a child, although another process used the port before',
      { ...open, wasOpenBefore: true, ports: ports({ descendants: [PORT] }) },
      'child',
    ],
    ['the system reports another process', { ...open, ports: ports({ all: [PORT] }) }, 'other'],
    ['the listener has closed meanwhile', { ...open, ports: ports({}) }, 'none'],
    ['the system reports this process', { ...open, ports: ports({ own: [PORT], descendants: [PORT] }) }, 'self'],
    ['a server of this process listens', { ...open, isOwn: true }, 'self'],
    ['the system reports nothing and the port was free', open, 'child'],
    ['the system reports nothing and the port was in use', { ...open, wasOpenBefore: true }, 'other'],
  ]
  for (const [what, findings, owner] of cases) {
    it(`is ${owner}: ${what}`, () => assert.equal(portOwner(findings), owner))
  }
})

/** Watches `child` on a simulated system with a port that opens. */
class World {
  readonly clock = new FakeClock()
  readonly log = new RecordingLog()
  isOpen = false
  isOwn = false
  ports: ListeningPorts | undefined
  tries = 0
  found: string | undefined
  readonly child: ChildProcess = Object.assign(new EventEmitter(), {
    pid: 1,
    exitCode: null,
    signalCode: null,
  }) as unknown as ChildProcess
  readonly kills: string[] = []
  readonly servers: ChildServers

  constructor(port: number | undefined) {
    this.servers = new ChildServers({
      log: this.log,
      clock: this.clock,
      port,
      isOwn: () => this.isOwn,
      reachableUrl: async () => {
        this.tries++
        return this.isOpen ? URL_OF_CHILD : undefined
      },
      listening: () => this.ports,
      processes: {
        table: () => undefined,
        kill: (_pid, signal) => this.kills.push(signal),
        self: new EventEmitter(),
      },
    })
    this.servers.found.catch(({ url }: { url: string }) => {
      this.found = url
    })
  }

  async start(): Promise<this> {
    await this.servers.start()
    this.tries = 0
    return this
  }

  fork(): void {
    channel('child_process').publish({ process: this.child })
  }

  exit(code: number = 0): void {
    Object.assign(this.child, { exitCode: code })
    this.child.emit('exit', code, null)
  }

  async pass(milliseconds: number): Promise<void> {
    for (let left = milliseconds; left > 0; left -= 50) {
      this.clock.advance(50)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

async function within(body: (world: World) => Promise<void>, port: number = PORT): Promise<void> {
  const world = new World(port === UNSET ? undefined : port)
  try {
    await body(world)
  } finally {
    world.exit()
    await world.servers.end()
  }
}

describe('an application that forks', () => {
  it('is found once its child accepts connections', () =>
    within(async (world) => {
      await world.start()
      world.fork()
      await world.pass(500)
      assert.equal(world.found, undefined)
      world.isOpen = true
      world.ports = ports({ descendants: [PORT] })
      await world.pass(1_000)
      assert.equal(world.found, URL_OF_CHILD)
      const { tries } = world
      await world.pass(5_000)
      assert.equal(world.tries, tries)
      assert.deepEqual(world.log.messages(), [])
    }))

  it('is found without help of the system once two probes find the port open', () =>
    within(async (world) => {
      await world.start()
      world.fork()
      world.isOpen = true
      await world.pass(50)
      assert.equal(world.tries, 1)
      assert.equal(world.found, undefined)
      await world.pass(100)
      assert.equal(world.found, URL_OF_CHILD)
    }))

  it('is not found, and no port is probed, while it has no child process', () =>
    within(async (world) => {
      await world.start()
      world.isOpen = true
      await world.pass(10_000)
      assert.equal(world.tries, 0)
      world.fork()
      world.exit()
      await world.pass(10_000)
      assert.equal(world.tries, 0)
      assert.equal(world.found, undefined)
      assert.deepEqual(world.log.messages(), [])
    }))

  it('is not mistaken for another process on its port, which is logged once', () =>
    within(async (world) => {
      world.isOpen = true
      await world.start()
      world.fork()
      await world.pass(20_000)
      assert.equal(world.found, undefined)
      assert.deepEqual(world.log.messages('warn'), [
        'the application does not listen yet; it runs child processes, and port 3000 is in use by another process (port 3000 is expected): set PORT to a free port',
      ])
      // The parent closes the port, and the child listens on it.
      world.isOpen = false
      await world.pass(2_000)
      world.isOpen = true
      await world.pass(3_000)
      assert.equal(world.found, URL_OF_CHILD)
    }))

  it('is not mistaken for a server of its own process', () =>
    within(async (world) => {
      await world.start()
      world.fork()
      Object.assign(world, { isOpen: true, isOwn: true })
      await world.pass(4_000)
      assert.equal(world.found, undefined)
      assert.deepEqual(world.log.messages(), [])
    }))

  it('gets a warning after 5 s that names the port on which its child listens', () =>
    within(async (world) => {
      await world.start()
      world.fork()
      world.ports = ports({ descendants: [5173] })
      await world.pass(4_900)
      assert.deepEqual(world.log.messages(), [])
      await world.pass(200)
      const [message] = world.log.messages('warn')
      assert.match(message ?? '', /listens on port 5173 and not on 3000; --app-port 5173 would serve it/)
      assert.match(message ?? '', /PORT is not set, so that port 3000 is expected/)
      assert.ok(message?.endsWith(world.servers.advice))
    }, UNSET))

  it('reports the failure of its child process in the message that nothing listens', () =>
    within(async (world) => {
      await world.start()
      assert.equal(world.servers.advice, '')
      world.fork()
      world.exit()
      assert.equal(world.servers.advice, '')
      world.fork()
      world.exit(3)
      assert.equal(world.servers.advice, '; its child process 1 ended with exit code 3 before it listened')
    }))

  it('is probed less and less often', () =>
    within(async (world) => {
      await world.start()
      world.fork()
      await world.pass(1_000)
      const first = world.tries
      assert.ok(first >= 4, `${first} tries in the first second`)
      await world.pass(9_000)
      world.tries = 0
      await world.pass(10_000)
      assert.ok(world.tries >= 8 && world.tries <= 11, `${world.tries} tries in ten seconds`)
    }))

  it('has its child processes ended if it is not served, with SIGKILL if they ignore SIGTERM', async () => {
    const world = await new World(PORT).start()
    world.fork()
    const ended = world.servers.end()
    assert.deepEqual(world.kills, ['SIGTERM'])
    await world.pass(2_000)
    assert.deepEqual(world.kills, ['SIGTERM', 'SIGKILL'])
    world.exit()
    await world.pass(50)
    await ended
  })
})

describe('a server that a module starts itself', () => {
  it('counts as a server of this process only while it listens', async () => {
    const takeover = new ListenTakeover(new RecordingLog(), { value: 1, from: 'PORT' }).install()
    try {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      assert.equal(takeover.binds(port), true)
      server.close()
      assert.equal(takeover.binds(port), false)
    } finally {
      takeover.restore()
    }
  })
})

describe('listeningPorts', { skip: process.platform !== 'linux' && 'only Linux reports them' }, () => {
  it('distinguishes ports of this process, of its descendants, and of others', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port: own } = server.address() as AddressInfo
    // A grandchild: the launcher is the child.
    const launcher = fork(repositoryFile('test/apps/listening/launcher.ts'), ['elsewhere'], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let text = ''
    launcher.stderr!.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    try {
      while (!/listens on (\d+)/.test(text)) await once(launcher.stderr!, 'data')
      const theirs = Number(/listens on (\d+)/.exec(text)![1])
      const found = listeningPorts()!
      assert.deepEqual([...found.own].includes(own), true)
      assert.deepEqual([...found.descendants], [theirs])
      assert.ok(found.all.has(own) && found.all.has(theirs))
      const seen = listeningPorts(launcher.pid)!
      assert.equal(seen.own.has(own), false)
      assert.deepEqual([...seen.descendants], [theirs])
    } finally {
      const gone = once(launcher, 'exit')
      // The launcher ends with the grandchild.
      process.kill(Number(/forked (\d+)/.exec(text)![1]), 'SIGKILL')
      await gone
      server.close()
    }
  })
})
