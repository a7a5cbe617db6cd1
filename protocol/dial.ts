/** Connections to addresses, and the addresses of names, as both processes dial each other. Who dials when is theirs. */

import { lookup } from 'node:dns/promises'
import { Socket } from 'node:net'
import { dialTarget, type TcpAddress, type UnixAddress } from './address.ts'

/** All IPv4 and IPv6 addresses of a name; rejects, or gives none, when there are none to be had. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** What programs on this host see: /etc/hosts, then DNS (getaddrinfo), both families, nothing cached here. */
export const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true, order: 'verbatim' })
  return [...new Set(found.map(({ address }) => address))]
}

/** Node's own, taken before a container replaces it for what its application connects to (container/self-calls.ts). */
const connectNative = Socket.prototype.connect as (this: Socket, options: object) => Socket

/** @param allowHalfOpen as `net.connect`'s: who serves on what it dialled still answers after a FIN */
export function dial(address: UnixAddress | TcpAddress, allowHalfOpen: boolean): Socket {
  const options = {
    ...dialTarget(address),
    allowHalfOpen,
    noDelay: true,
    // A peer whose host is gone says no good-bye, and a link on which nothing is asked never writes.
    keepAlive: true,
    keepAliveInitialDelay: 15_000,
  }
  return connectNative.call(new Socket(options), options)
}
