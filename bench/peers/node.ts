/** Peers in Node: node:http without a proxy, and the library http-proxy in front of it. */

import { freePort } from '../measure/workshop.ts'
import { app, type Peer, running, startNode } from './peer.ts'

export const node: Peer = {
  name: 'node',
  title: 'node:http, no proxy',
  gantry: false,
  async start(site) {
    const port = await freePort()
    return running(port, await startNode(site, port, site.accessLog))
  },
}

export const httpProxy: Peer = {
  name: 'http-proxy',
  title: 'http-proxy-3 → node:http',
  gantry: false,
  async start(site) {
    const port = await freePort()
    const socket = site.workshop.path(`${site.label}.sock`)
    const behind = await startNode(site, socket, 'off')
    const front = await site.workshop.start({
      name: `${site.label}-front`,
      command: process.execPath,
      args: [app('http-proxy.ts'), site.accessLog, String(port), socket],
      endpoints: [port],
    })
    return running(port, front, behind)
  },
}
