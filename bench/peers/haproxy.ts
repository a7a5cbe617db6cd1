/** HAProxy in front of node:http: one thread, connections to the server kept and shared, usual forwarding fields. */

import { writeFileSync } from 'node:fs'
import { need } from '../measure/programs.ts'
import { freePort } from '../measure/workshop.ts'
import { type Peer, running, startNode } from './peer.ts'

export interface HaproxyOptions {
  readonly port: number
  readonly upstreamSocket: string
  /** Written to standard output. */
  readonly accessLog: boolean
}

export function haproxyConfiguration({ port, upstreamSocket, accessLog }: HaproxyOptions): string {
  return `global
  nbthread 1
  ${accessLog ? 'log stdout format raw local0 info' : ''}
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  ${accessLog ? 'log global\n  option httplog' : ''}
frontend front
  bind 127.0.0.1:${port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  unique-id-format %{+X}o%ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  default_backend servers
backend servers
  option abortonclose
  http-reuse always
  server node unix@${upstreamSocket}
`
}

export const haproxyNode: Peer = {
  name: 'haproxy-node',
  title: 'HAProxy → node:http',
  gantry: false,
  async start(site) {
    const command = need('haproxy')
    const port = await freePort()
    const socket = site.workshop.path(`${site.label}.sock`)
    const behind = await startNode(site, socket, 'off')
    const file = site.workshop.path(`${site.label}.cfg`)
    writeFileSync(file, haproxyConfiguration({ port, upstreamSocket: socket, accessLog: site.accessLog === 'on' }))
    const front = await site.workshop.start({
      name: `${site.label}-haproxy`,
      command,
      args: ['-db', '-f', file],
      endpoints: [port],
    })
    return running(port, front, behind)
  },
}
