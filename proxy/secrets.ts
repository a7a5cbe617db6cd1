/** Which addresses a proxy may not speak frames to, or be joined at, without a shared secret. */

import { isIP } from 'node:net'
import { TrustedPeers } from '../protocol/client/peers.ts'
import type { Address } from '../protocol/net/address.ts'

const loopback = new TrustedPeers(['loopback'])

/**
 * Frames over TCP are authenticated wherever they leave this host: a stranger that joins would be sent every client's
 * requests, and one that answers in a container's place would answer them.
 *
 * @param dialled or listened on
 */
export function needsSecret(address: Address, dialled: boolean): boolean {
  if (address.kind !== 'tcp') return false
  const { host } = address
  // Without a host, this host is dialled, but every interface is listened on.
  if (host === '') return !dialled
  return !(isIP(host) === 0 ? host.toLowerCase() === 'localhost' : loopback.has(host))
}
