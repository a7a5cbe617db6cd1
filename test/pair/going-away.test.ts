/** WebSockets that are still open when a drain times out, in every arrangement: which close code both ends see. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { repositoryFile, TestChild } from '../support/child.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { temporary } from '../support/sockets.ts'

const MODULE = repositoryFile('test/apps/listening/goodbye.ts')
const QUIET = ['--access-log', 'off', '--drain-timeout', '300ms']
/** Drain timeout of the process that is not stopped: its own drain must not end the connection. */
const PATIENT = ['--access-log', 'off', '--drain-timeout', '60s']

const children: TestChild[] = []
const directories: string[] = []
after(async () => {
  await Promise.all(children.map((child) => child.end()))
  await Promise.all(directories.map((directory) => rm(directory, { recursive: true, force: true })))
})

interface Arranged {
  port: number
  /** The process that is stopped. */
  stops: TestChild
  /** The process that runs the application. */
  application?: TestChild
}

async function start(argv: string[]): Promise<Gantry> {
  const gantry = await startGantry(argv)
  children.push(gantry.child)
  return gantry
}

async function socketPath(): Promise<string> {
  const directory = await temporary()
  directories.push(directory)
  return `unix:${join(directory, 'socket')}`
}

async function dialled(options: { proxy: string[]; container: string[] }): Promise<[Gantry, Gantry]> {
  const address = await socketPath()
  const container = await start(['container', MODULE, '--interface', 'node', '--listen', address, ...options.container])
  const proxy = await start(['proxy', '--listen', '127.0.0.1:0', '--upstream', address, ...options.proxy])
  return [proxy, container]
}

async function joined(options: { proxy: string[]; container: string[] }): Promise<[Gantry, Gantry]> {
  const address = await socketPath()
  const proxy = await start(['proxy', '--listen', '127.0.0.1:0', '--join-listen', address, ...options.proxy])
  const container = await start(['container', MODULE, '--interface', 'node', '--join', address, ...options.container])
  return [proxy, container]
}

const arrangements: Record<string, () => Promise<Arranged>> = {
  "a container's own port": async () => {
    const argv = ['container', MODULE, '--interface', 'node', '--listen', '127.0.0.1:0', ...QUIET]
    const { child, port } = await start(argv)
    return { port, stops: child, application: child }
  },
  'a dialled container that stops behind a proxy that lives on': async () => {
    const [proxy, container] = await dialled({ proxy: PATIENT, container: QUIET })
    return { port: proxy.port, stops: container.child, application: container.child }
  },
  'a proxy that stops before a dialled container that lives on': async () => {
    const [proxy, container] = await dialled({ proxy: QUIET, container: PATIENT })
    return { port: proxy.port, stops: proxy.child, application: container.child }
  },
  'a joined container that stops behind a proxy that lives on': async () => {
    const [proxy, container] = await joined({ proxy: PATIENT, container: QUIET })
    return { port: proxy.port, stops: container.child, application: container.child }
  },
  'a proxy that stops before a joined container that lives on': async () => {
    const [proxy, container] = await joined({ proxy: QUIET, container: PATIENT })
    return { port: proxy.port, stops: proxy.child, application: container.child }
  },
  'gantry up': async () => {
    const argv = ['up', MODULE, '--interface', 'node', '--listen', '127.0.0.1:0', ...QUIET]
    const child = new TestChild([repositoryFile('gantry.ts'), ...argv])
    children.push(child)
    const served = /is served at http:\/\/127\.0\.0\.1:(\d+)\//
    await child.until(() => served.test(child.stderr))
    return { port: Number(served.exec(child.stderr)![1]), stops: child, application: child }
  },
  'a proxy that stops before an HTTP server': async () => {
    const server = createServer()
    const codes: number[] = []
    new WebSocketServer({ server }).on('connection', (socket) => {
      socket.send('hello')
      socket.on('close', (code) => codes.push(code))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    after(() => server.close())
    const { port } = server.address() as AddressInfo
    const proxy = await start(['proxy', '--listen', '127.0.0.1:0', '--upstream', `http://127.0.0.1:${port}`, ...QUIET])
    return { port: proxy.port, stops: proxy.child }
  },
}

/** A client that has received the application's first message, and the code with which it is closed. */
async function client(port: number, path: string): Promise<{ socket: WebSocket; closed: Promise<number> }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`)
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.on('error', () => {})
  await once(socket, 'message')
  return { socket, closed }
}

describe('a WebSocket that is open when the drain times out', () => {
  for (const [name, arrange] of Object.entries(arrangements)) {
    it(`is closed with 1001 over ${name}, and the application sees that too`, async () => {
      const { port, stops, application } = await arrange()
      const clients = [await client(port, '/one'), await client(port, '/two')]
      stops.process.kill('SIGTERM')
      assert.deepEqual(await Promise.all(clients.map(({ closed }) => closed)), [1001, 1001])
      assert.equal((await stops.exited).code, 0)
      for (const path of ['/one', '/two']) {
        await application?.until(() => new RegExp(`^${path} closed 1001$`, 'm').test(application.stderr))
      }
    })
  }

  it('gets no close frame within another frame, and ends all the same', async () => {
    const { port, stops } = await arrangements["a container's own port"]!()
    const socket = connect(port, '127.0.0.1')
    const lines = [
      'GET /unfinished HTTP/1.1',
      'Host: a',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==',
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    let received = Buffer.alloc(0)
    const began = Promise.withResolvers<void>()
    const frame = (): Buffer => received.subarray(received.indexOf('\r\n\r\n') + 4)
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      if (received.includes('\r\n\r\n') && frame().length === 5) began.resolve()
    })
    await began.promise
    stops.process.kill('SIGTERM')
    await once(socket, 'close')
    assert.deepEqual(frame(), Buffer.of(0x82, 100, 1, 2, 3))
    assert.equal((await stops.exited).code, 0)
  })
})

describe('an application that closes its WebSockets at SIGTERM', () => {
  for (const name of [
    "a container's own port",
    'a dialled container that stops behind a proxy that lives on',
    'a joined container that stops behind a proxy that lives on',
    'gantry up',
  ]) {
    it(`chooses the close code over ${name}`, async () => {
      const { port, stops } = await arrangements[name]!()
      const own = await client(port, '/own')
      const other = await client(port, '/one')
      stops.process.kill('SIGTERM')
      assert.deepEqual([await own.closed, await other.closed], [4001, 1001])
      assert.equal((await stops.exited).code, 0)
    })
  }

  it('closes its event streams too, over gantry up', async () => {
    const { port, stops } = await arrangements['gantry up']!()
    const response = await fetch(`http://127.0.0.1:${port}/`)
    stops.process.kill('SIGTERM')
    assert.equal(await response.text(), 'event the end')
    assert.equal((await stops.exited).code, 0)
  })
})
