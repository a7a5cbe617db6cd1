/** Servers on the loopback interface and in private directories, which the test closes. */

import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Listening<T> {
  address: T
  /** Closes the server and all of its connections. */
  stop(): Promise<void>
}

function stopper(server: Server): () => Promise<void> {
  const sockets: Set<Socket> = new Set()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await closed
  }
}

/** Listens on a free port of 127.0.0.1. */
export async function listening(server: Server): Promise<Listening<{ port: number }>> {
  const stop = stopper(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return { address: { port: (server.address() as AddressInfo).port }, stop }
}

/** Listens on a Unix socket in a directory of its own. */
export async function listeningOnPath(server: Server): Promise<Listening<{ path: string }>> {
  const stop = stopper(server)
  const directory = await temporary()
  const path = join(directory, 'socket')
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return {
    address: { path },
    async stop() {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A new directory with a short path: the path of a socket has a maximum length. */
export function temporary(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'gantry-'))
}

/** Ports below those that the system assigns (Linux: from 32768), and above those of well-known services. */
const [FIRST, LAST] = [20_000, 32_767]

/**
 * A port of 127.0.0.1 that was free a moment ago. The port is not from the range that the system assigns: the system
 * could assign it next to another server or to a client's end of a connection, of this process or of another test.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST + 1)
    const server = createServer()
    const listens = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      // Checked on every address: another server may listen on one of them.
      server.listen(port, () => resolve(true))
    })
    if (!listens) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
