/** Refuses options with which a container would trust proxies on other hosts without a shared secret. */

import { isIP } from 'node:net'
import { TrustedPeers } from '../protocol/client/peers.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { printAddress, type TcpAddress } from '../protocol/net/address.ts'
import { OptionError } from '../protocol/options/options.ts'
import type { ContainerOptions } from './options.ts'

const loopback = new TrustedPeers(['loopback'])

/**
 * A proxy that this container joins sends requests, and the container trusts what it says about clients: over the
 * network it must be authenticated.
 *
 * @throws OptionError if `--join` names another host and there is no token
 */
export function checkSecrets(options: Pick<ContainerOptions, 'join'>, token: Token | undefined): void {
  if (token !== undefined) return
  for (const address of options.join) {
    if (address.kind === 'unix' || isLoopback(address)) continue
    throw new OptionError(
      'MISSING_OPTION',
      '--join',
      `--join ${printAddress(address)} is on another host, so the proxy must be authenticated: set --token-file FILE, or GANTRY_TOKEN in the environment`,
    )
  }
}

/** An address without a host is this host's. */
function isLoopback({ host }: TcpAddress): boolean {
  return host === '' || (isIP(host) === 0 ? host.toLowerCase() === 'localhost' : loopback.has(host))
}
