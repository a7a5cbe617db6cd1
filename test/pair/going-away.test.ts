/**
 * What is still open when a drain times out, in every arrangement: which close code both ends of a WebSocket see, and
 * that the application hears the end of everything else before its process exits.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { repositoryFile, TestChild } from '../support/child.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { temporary } from '../support/sockets.ts'

const GOODBYE = repositoryFile('test/apps/listening/goodbye.ts')
const ENDINGS = repositoryFile('test/apps/listening/endings.ts')
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

interface Pair {
  module: string
  proxy: string[]
  container: string[]
}

async function dialled(options: Pair): Promise<[Gantry, Gantry]> {
  const address = await socketPath()
  const container = await start([
    'container',
    options.module,
    '--interface',
    'node',
    '--listen',
    address,
    ...options.container,
  ])
  const proxy = await start(['proxy', '--listen', '127.0.0.1:0', '--upstream', address, ...options.proxy])
  return [proxy, container]
}

async function joined(options: Pair): Promise<[Gantry, Gantry]> {
  const address = await socketPath()
  const proxy = await start(['proxy', '--listen', '127.0.0.1:0', '--join-listen', address, ...options.proxy])
  const container = await start([
    'container',
    options.module,
    '--interface',
    'node',
    '--join',
    address,
    ...options.container,
  ])
  return [proxy, container]
}

const arrangements: Record<string, (module: string) => Promise<Arranged>> = {
  "a container's own port": async (module) => {
    const argv = ['container', module, '--interface', 'node', '--listen', '127.0.0.1:0', ...QUIET]
    const { child, port } = await start(argv)
    return { port, stops: child, application: child }
  },
  'a dialled container that stops behind a proxy that lives on': async (module) => {
    const [proxy, container] = await dialled({ module, proxy: PATIENT, container: QUIET })
    return { port: proxy.port, stops: container.child, application: container.child }
  },
  'a proxy that stops before a dialled container that lives on': async (module) => {
    const [proxy, container] = await dialled({ module, proxy: QUIET, container: PATIENT })
    return { port: proxy.port, stops: proxy.child, application: container.child }
  },
  'a joined container that stops behind a proxy that lives on': async (module) => {
    const [proxy, container] = await joined({ module, proxy: PATIENT, container: QUIET })
    return { port: proxy.port, stops: container.child, application: container.child }
  },
  'a proxy that stops before a joined container that lives on': async (module) => {
    const [proxy, container] = await joined({ module, proxy: QUIET, container: PATIENT })
    return { port: proxy.port, stops: proxy.child, application: container.child }
  },
  'gantry up': async (module) => {
    const argv = ['up', module, '--interface', 'node', '--listen', '127.0.0.1:0', ...QUIET]
    const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv])
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
      const { port, stops, application } = await arrange(GOODBYE)
      const clients = [await client(port, '/one'), await client(port, '/two')]
      stops.process.kill('SIGTERM')
      assert.deepEqual(await Promise.all(clients.map(({ closed }) => closed)), [1001, 1001])
      assert.equal((await stops.exited).code, 0)
      for (const path of ['/one', '/two']) {
        await application?.until(() => new RegExp(`^${path} closed 1001$`, 'm').test(application.stderr))
      }
    })
  }

  it('gets no close frame inside another frame, and still ends', async () => {
    const { port, stops } = await arrangements["a container's own port"]!(GOODBYE)
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
      const { port, stops } = await arrangements[name]!(GOODBYE)
      const own = await client(port, '/own')
      const other = await client(port, '/one')
      stops.process.kill('SIGTERM')
      assert.deepEqual([await own.closed, await other.closed], [4001, 1001])
      assert.equal((await stops.exited).code, 0)
    })
  }

  it('closes its event streams too, over gantry up', async () => {
    const { port, stops } = await arrangements['gantry up']!(GOODBYE)
    const response = await fetch(`http://127.0.0.1:${port}/`)
    stops.process.kill('SIGTERM')
    assert.equal(await response.text(), 'event the end')
    assert.equal((await stops.exited).code, 0)
  })
})

/** A client that has received `hello`, and stays. */
async function streaming(port: number, head: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('error', () => {})
  const began = Promise.withResolvers<void>()
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
    if (received.includes('hello')) began.resolve()
  })
  socket.write(head)
  await began.promise
  return socket
}

describe('an application whose process is stopped by a drain timeout', () => {
  const requests: Record<string, { head: string; says: readonly string[] }> = {
    'an event stream': { head: 'GET /stream HTTP/1.1\r\nHost: a\r\n\r\n', says: ['/stream finally'] },
    'an upload': {
      head: 'POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc',
      says: ['/upload failed ECONNRESET', '/upload finally'],
    },
    'an upgraded socket': {
      head: 'GET /raw HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n',
      says: ['/raw closed'],
    },
  }
  for (const name of [
    "a container's own port",
    'a dialled container that stops behind a proxy that lives on',
    'a joined container that stops behind a proxy that lives on',
    'gantry up',
  ]) {
    // One at a time: an end that takes longer would give the others their time.
    for (const [what, { head, says }] of Object.entries(requests)) {
      it(`sees the end of ${what} over ${name}`, async () => {
        const { port, stops, application } = await arrangements[name]!(ENDINGS)
        const socket = await streaming(port, head)
        assert.equal((await stops.stop()).code, 0)
        const said = application!.stderr
          .split('\n')
          .filter((line) => line.startsWith('/') && !line.includes('is served'))
        assert.deepEqual(said.sort(), says)
        socket.destroy()
      })
    }
  }
})
