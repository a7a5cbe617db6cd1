/**
 * Decides which protocol a peer may use on the container's port (`--accept`, `--trusted-peers`, the token).
 * `acceptor.ts` reads the first bytes, closes and logs.
 */

import { TrustedPeers, UNIX_PEER } from '../protocol/client/peers.ts'
import type { Wire } from '../protocol/net/codec/sniff.ts'

/** Protocols that have a gateway here. */
export type ServedWire = 'frames' | 'uwsgi' | 'http'

export interface AcceptRules {
  /** The value of `--accept`; if empty, the default rules apply. */
  readonly accept: readonly ServedWire[]
  /** The peers whose uwsgi variables are trusted. */
  readonly trustedPeers: TrustedPeers
  /** Whether frame links can be authenticated. */
  readonly token: boolean
}

/** What happens to a connection: it is served, or closed for a reason that names the option that would allow it. */
type AcceptDecision = { readonly serve: ServedWire } | { readonly refuse: string }

const loopback = new TrustedPeers(['loopback', 'unix'])

/** Protocols that are recognised but not served, with what to do instead. */
const UNSERVED: Readonly<Record<Exclude<Wire, ServedWire>, string>> = {
  fastcgi: 'FastCGI is not served: use uwsgi_pass or proxy_pass',
  scgi: 'SCGI is not served: use uwsgi_pass or proxy_pass',
  h2c: 'HTTP/2 is not served: speak HTTP/1.1',
  'proxy-v1': 'the PROXY protocol is not served: disable it at the load balancer',
  'proxy-v2': 'the PROXY protocol is not served: disable it at the load balancer',
  tls: 'TLS is not served: terminate it in front of this port',
  unknown: 'the first bytes match no known protocol',
}

/**
 * Decides about one connection.
 *
 * Protocols that trust their peers without proof (frames without a token, uwsgi's variables) are served only to this
 * host and to trusted peers, even if `--accept` names them: any other peer could pretend to be any client, or receive
 * every request.
 *
 * @param peer its IP address, or `UNIX_PEER`; undefined if its socket is already closed
 */
export function decideAccept(wire: Wire, peer: string | undefined, rules: AcceptRules): AcceptDecision {
  if (wire !== 'frames' && wire !== 'uwsgi' && wire !== 'http') return { refuse: UNSERVED[wire] }
  if (rules.accept.length > 0 && !rules.accept.includes(wire)) {
    return { refuse: `${wire} is not accepted: --accept ${[...rules.accept, wire].join(',')} would allow it` }
  }
  switch (wire) {
    case 'frames':
      if (rules.token || loopback.has(peer)) break
      return { refuse: 'frames from another host need a shared secret: --token-file, on both sides, would allow it' }
    case 'uwsgi':
      if (rules.trustedPeers.has(peer)) break
      return { refuse: `uwsgi is for trusted peers: --trusted-peers ${rangeOf(rules, peer)} would allow it` }
  }
  return { serve: wire }
}

function rangeOf({ trustedPeers }: AcceptRules, peer: string | undefined): string {
  const known = trustedPeers.toString()
  const more = peer === UNIX_PEER ? 'unix' : (peer ?? 'ADDRESS')
  return known === 'none' || known === '' ? more : `${known},${more}`
}
