/** The table of all peers, and a peer with the application that it serves: a setup. */

import { deno } from './deno.ts'
import { container, pair, pairHttp, pairWorkers } from './gantry.ts'
import { haproxyNode } from './haproxy.ts'
import { nginxContainer, nginxGunicorn, nginxNode, nginxUwsgi, nginxWorkers } from './nginx.ts'
import { httpProxy, node } from './node.ts'
import { type Framework, frameworks, type Peer } from './peer.ts'

export type PeerName =
  | 'pair'
  | 'container'
  | 'pair-workers'
  | 'pair-http'
  | 'node'
  | 'deno'
  | 'nginx-node'
  | 'nginx-workers'
  | 'haproxy-node'
  | 'http-proxy'
  | 'nginx-container'
  | 'nginx-uwsgi'
  | 'nginx-gunicorn'

export const peers: Readonly<Record<PeerName, Peer>> = {
  pair,
  container,
  'pair-workers': pairWorkers,
  'pair-http': pairHttp,
  node,
  deno,
  'nginx-node': nginxNode,
  'nginx-workers': nginxWorkers,
  'haproxy-node': haproxyNode,
  'http-proxy': httpProxy,
  'nginx-container': nginxContainer,
  'nginx-uwsgi': nginxUwsgi,
  'nginx-gunicorn': nginxGunicorn,
}

/** A peer, or a peer that serves a framework's application. */
export type SetupName = PeerName | `${PeerName}:${Framework}`

const applications: Readonly<Record<Framework, { readonly inside: string; readonly alone: string }>> = {
  express: { inside: 'Express', alone: 'Express on node:http' },
  hono: { inside: 'Hono', alone: 'Hono on @hono/node-server' },
}

export interface Setup {
  readonly peer: Peer
  readonly framework: Framework | undefined
}

/** @throws Error if there is no such peer or framework */
export function setupOf(name: SetupName): Setup {
  const [peerName, framework] = name.split(':') as [PeerName, Framework?]
  const peer: Peer | undefined = peers[peerName]
  if (peer === undefined || (framework !== undefined && !frameworks.includes(framework))) {
    throw new Error(`expected a setup (${Object.keys(peers).join(', ')}), got ${JSON.stringify(name)}`)
  }
  return { peer, framework }
}

/** A setup's name in tables and charts. */
export function titleOf(name: SetupName): string {
  const { peer, framework } = setupOf(name)
  if (framework === undefined) return peer.title
  const { inside, alone } = applications[framework]
  return peer.title.includes('node:http') ? peer.title.replace('node:http', alone) : `${peer.title}: ${inside}`
}
