/**
 * A container and a proxy in front of one `http.Server`, in this process, over frames on a Unix socket. It receives its
 * clients' sockets.
 */

import { AsyncResource } from 'node:async_hooks'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { containerOptions } from '../../../container/options.ts'
import { serveContainer } from '../../../container/serve.ts'
import { fromServer } from '../../../interfaces/node/from-node.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { parseOptions } from '../../../protocol/options/options.ts'
import { proxyOptions } from '../../../proxy/options.ts'
import { serveProxy } from '../../../proxy/serve.ts'

export interface Hop {
  /** Serves a client. */
  accept(socket: Socket): void
  /** Ends the running requests. */
  cut(): void
  stop(): Promise<void>
}

/** How long a stop waits for running requests: suites close servers with requests that never end. */
const DRAIN = '1s'

/** Servers that have begun to listen: a proxy does not expose its own. */
const listeners: Set<WeakRef<NetServer>> = new Set()
const listen = NetServer.prototype.listen
NetServer.prototype.listen = function (this: NetServer, ...given: Parameters<typeof listen>): NetServer {
  listeners.add(new WeakRef(this))
  return listen.apply(this, given)
} as typeof listen

function listenerOn(port: number): NetServer {
  for (const reference of listeners) {
    const server = reference.deref()
    const address = server?.address()
    if (typeof address === 'object' && address?.port === port) return server!
    if (!server) listeners.delete(reference)
  }
  throw new Error(`nothing listens on port ${port}`)
}

export async function startHop(server: Server): Promise<Hop> {
  // The async context of the caller's `listen()`.
  const scope = new AsyncResource('HTTPSERVER')
  const directory = mkdtempSync(join(tmpdir(), 'gantry-'))
  const socket = `unix:${join(directory, 'socket')}`
  const argv = ['--listen', socket, '--drain-timeout', DRAIN]
  const container = await serveContainer(parseOptions(containerOptions, [...argv, 'none.ts']).values, {
    log: silent,
    application: fromServer(server, { scope: () => scope }),
  })
  const front = ['--listen', '127.0.0.1:0', '--upstream', socket, '--drain-timeout', DRAIN]
  const proxy = await serveProxy(parseOptions(proxyOptions, front).values, { log: silent })
  const [address] = proxy.addresses
  const listener = listenerOn(address?.kind === 'tcp' ? address.port : 0)
  return {
    accept: (client) => void listener.emit('connection', client),
    cut: () => void proxy.drain(),
    async stop() {
      await proxy.drain()
      await container.drain()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
