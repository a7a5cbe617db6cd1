/** Which addresses need a shared secret: a proxy connects to them, or containers join there, over the network. */

import { isLoopbackHost } from '../protocol/client/peers.ts'
import type { Address } from '../protocol/net/address.ts'

/**
 * Whether a shared secret is required. Frames over TCP to other hosts are authenticated: a stranger that joins would
 * receive every client's requests, and one that listens in a container's place would answer them.
 *
 * @param dialled true: the proxy connects to the address; false: it listens there
 */
export function needsSecret(address: Address, dialled: boolean): boolean {
  if (address.kind !== 'tcp') return false
  const { host } = address
  // An address without a host means this host if it is dialled, but every interface if it is listened on.
  if (host === '') return !dialled
  return !isLoopbackHost(host)
}
