/** Servers on loopback and in private directories, that end when they are told. */

import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Listening<T> {
  address: T
  /** Closes the server and every connection of it. */
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

/** A new directory; short, for the length that a socket's path may have. */
export function temporary(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'gantry-'))
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const { address, stop } = await listening(createServer())
  await stop()
  return address.port
}
