/**
 * Listens for containers that join (`--join-listen`): each connection is a link, and a member of the pool while it
 * lasts.
 */

import type { Socket } from 'node:net'
import { FramesUpstream, type LinkOptions } from '../../pool/frames-upstream.ts'
import type { Pool } from '../../pool/pool.ts'
import { UnauthenticatedSockets } from '../../protocol/frames/unauthenticated.ts'
import { LoggedOnce } from '../../protocol/log/logged-once.ts'
import { printAddress, type TcpAddress, type UnixAddress } from '../../protocol/net/address.ts'
import { type Listener, listen } from '../../protocol/net/listen.ts'
import { whyUnreachable } from '../../protocol/net/unreachable.ts'

interface JoinOptions extends LinkOptions {
  readonly pool: Pool
  /** Permissions of a Unix socket. */
  readonly mode?: number | undefined
}

/**
 * Adds a member to the pool for each container that connects.
 *
 * @throws ListenError if the address is in use or cannot be listened on
 */
export function listenForContainers(address: UnixAddress | TcpAddress, options: JoinOptions): Promise<Listener> {
  const failing = new LoggedOnce()
  const unproven = new UnauthenticatedSockets()
  return listen(address, { log: options.log, mode: options.mode }, (socket) => {
    unproven.add(socket)
    join(socket, address, options, failing, unproven)
  })
}

/** @param failing hosts whose handshake fails: each reason is logged once, until a handshake succeeds */
function join(
  socket: Socket,
  address: UnixAddress | TcpAddress,
  options: JoinOptions,
  failing: LoggedOnce,
  unproven: UnauthenticatedSockets,
): void {
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
      unproven.authenticated(socket)
      failing.forget(host)
    },
    onClosed: (error) => {
      // The pool does not log a member that never became ready.
      if (!ready && failing.isFirst(host, error?.message))
        options.log.warn(
          { address: peer, ...(error && whyUnreachable(error, 'handshake')) },
          "a container's connection was closed before it joined",
        )
    },
  })
  options.pool.add(link)
}
