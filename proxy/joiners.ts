/** Where containers dial in and register (`--join-listen`): each connection is a link, and a member for as long as it lasts. */

import type { Socket } from 'node:net'
import { printAddress, type TcpAddress, type UnixAddress } from '../protocol/address.ts'
import { type Listener, listen } from '../protocol/listen.ts'
import { SaidOnce } from '../protocol/said-once.ts'
import type { Pool } from './pool.ts'
import { FramesUpstream, type LinkOptions } from './upstreams/frames.ts'

export interface JoinOptions extends LinkOptions {
  readonly pool: Pool
  /** Permissions of a Unix socket. */
  readonly mode?: number | undefined
}

/** @throws ListenError */
export function listenForJoiners(address: UnixAddress | TcpAddress, options: JoinOptions): Promise<Listener> {
  const failing = new SaidOnce()
  return listen(address, { log: options.log, mode: options.mode }, (socket) => join(socket, address, options, failing))
}

/** @param failing hosts that do not get as far as registering: each is told of once, until it does */
function join(socket: Socket, address: UnixAddress | TcpAddress, options: JoinOptions, failing: SaidOnce): void {
  const peer =
    address.kind === 'unix'
      ? printAddress(address)
      : printAddress({ kind: 'tcp', host: socket.remoteAddress ?? 'unknown', port: socket.remotePort ?? 0 })
  if (address.kind === 'tcp') socket.setKeepAlive(true, 15_000)
  const host = socket.remoteAddress ?? peer
  let ready = false
  const link = new FramesUpstream(socket, options, {
    address: peer,
    dialled: false,
    authenticated: address.kind === 'tcp',
    onReady: () => {
      ready = true
      failing.forget(host)
    },
    onClosed: (error) => {
      // Who never registered is no member, and its failure nobody else's to tell.
      if (!ready && failing.say(host))
        options.log.warn({ address: peer, error: error?.message }, 'a connection to join was closed before it had')
    },
  })
  options.pool.add(link)
}
