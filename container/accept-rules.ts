/**
 * Which wire a peer may speak on the container's port (`--accept`, `--trusted-peers`, the token). Decides only; who looks
 * at the first bytes, closes and logs is `acceptor.ts`.
 */

import { TrustedPeers, UNIX_PEER } from '../protocol/client/peers.ts'
import type { Wire } from '../protocol/net/codec/sniff.ts'

/** Wires that have a gateway here. */
export type ServedWire = 'frames' | 'uwsgi' | 'http'

export interface AcceptRules {
  /** What was asked for by `--accept`; empty: the default. */
  readonly accept: readonly ServedWire[]
  /** Whose uwsgi variables are believed. */
  readonly trustedPeers: TrustedPeers
  /** Whether frame links can be authenticated. */
  readonly token: boolean
}

/** What is to be done with a connection: served, or closed for a reason that names the option that would allow it. */
export type AcceptDecision = { readonly serve: ServedWire } | { readonly refuse: string }

const loopback = new TrustedPeers(['loopback', 'unix'])

/** Wires that are known and not served, with what to do instead. */
const UNSERVED: Readonly<Record<Exclude<Wire, ServedWire>, string>> = {
  fastcgi: 'FastCGI is not served: use uwsgi_pass or proxy_pass',
  scgi: 'SCGI is not served: use uwsgi_pass or proxy_pass',
  h2c: 'HTTP/2 is not served: speak HTTP/1.1',
  'proxy-v1': 'the PROXY protocol is not served: switch it off at the load balancer',
  'proxy-v2': 'the PROXY protocol is not served: switch it off at the load balancer',
  tls: 'TLS is not served: end it before this port',
  unknown: 'these bytes are of no protocol that is known here',
}

/**
 * Decides about one connection.
 *
 * Wires whose peers are believed without proof (frames without a token, uwsgi's variables) are kept to this host and to trusted
 * peers even where `--accept` names them: a stranger could pose as any client, or take every request.
 *
 * @param peer its IP address, or `UNIX_PEER`; undefined when its socket is gone already
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
