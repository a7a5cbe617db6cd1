/** A container and a proxy before one `http.Server`, in this process, over frames on a Unix socket. */

import { AsyncResource } from 'node:async_hooks'
import { lookup } from 'node:dns/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serverApplication } from '../../../container/interfaces/server-application.ts'
import { containerOptions } from '../../../container/options.ts'
import { serveContainer } from '../../../container/serve.ts'
import { printAddress } from '../../../protocol/address.ts'
import { ListenError } from '../../../protocol/listen.ts'
import { silent } from '../../../protocol/log.ts'
import { parseOptions } from '../../../protocol/options.ts'
import { proxyOptions } from '../../../proxy/options.ts'
import { serveProxy } from '../../../proxy/serve.ts'

export interface Hop {
  readonly address: AddressInfo | string
  /** Ends what runs. */
  cut(): void
  stop(): Promise<void>
}

/** How long a stop waits for what runs: suites close servers with requests that never end. */
const DRAIN = '1s'

/** @throws what `listen` says; an address that is taken has node's code */
export async function startHop(
  server: Server,
  asked: { port?: number | string; host?: string | undefined; path?: string },
): Promise<Hop> {
  // That of the caller's `listen()`.
  const scope = new AsyncResource('HTTPSERVER')
  const directory = mkdtempSync(join(tmpdir(), 'gantry-'))
  const socket = `unix:${join(directory, 'socket')}`
  const argv = ['--listen', socket, '--drain-timeout', DRAIN]
  const container = await serveContainer(parseOptions(containerOptions, [...argv, 'none.ts']).values, {
    log: silent,
    application: serverApplication(server, () => scope),
  })
  const host = await hostOf(asked.host)
  const listen =
    asked.path === undefined ? printAddress({ kind: 'tcp', host, port: Number(asked.port ?? 0) }) : `unix:${asked.path}`
  const front = ['--listen', listen, '--upstream', socket, '--drain-timeout', DRAIN]
  const stop = async (): Promise<void> => {
    await container.drain()
    rmSync(directory, { recursive: true, force: true })
  }
  let proxy: Awaited<ReturnType<typeof serveProxy>>
  try {
    proxy = await serveProxy(parseOptions(proxyOptions, front).values, { log: silent })
  } catch (error) {
    await stop()
    if (error instanceof ListenError && error.code === 'ADDRESS_IN_USE')
      throw Object.assign(error, { code: 'EADDRINUSE' })
    throw error
  }
  const tcp = proxy.addresses.find((one) => one.kind === 'tcp')
  const address = tcp
    ? { address: tcp.host, family: isIP(tcp.host) === 6 ? 'IPv6' : 'IPv4', port: tcp.port }
    : (asked.path ?? '')
  return {
    address,
    cut: () => void proxy.drain(),
    async stop() {
      await proxy.drain()
      await stop()
    },
  }
}

/** What node's own `listen` makes of a host. */
async function hostOf(host: string | undefined): Promise<string> {
  if (host === undefined || host === '') return '::'
  return isIP(host) === 0 ? (await lookup(host)).address : host
}
