/** Refuses options with which a container would trust proxies on other hosts without a shared secret. */

import { isLoopbackHost } from '../protocol/client/peers.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { printAddress } from '../protocol/net/address.ts'
import { OptionError } from '../protocol/options/option-table.ts'
import type { ContainerOptions } from './options.ts'

/**
 * A proxy that this container joins sends requests, and the container trusts what it says about clients: over the
 * network it must be authenticated.
 *
 * @throws OptionError if `--join` names another host and there is no token
 */
export function checkSecrets(options: Pick<ContainerOptions, 'join'>, token: Token | undefined): void {
  if (token !== undefined) return
  for (const address of options.join) {
    // An address without a host means this host.
    if (address.kind === 'unix' || address.host === '' || isLoopbackHost(address.host)) continue
    throw new OptionError(
      'MISSING_OPTION',
      '--join',
      `--join ${printAddress(address)} is on another host, and proxies there must be authenticated: set --token-file FILE, or GANTRY_TOKEN in the environment`,
    )
  }
}
