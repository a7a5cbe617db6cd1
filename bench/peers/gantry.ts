/** Gantry as it is started by users: a container, and a proxy in front of it or of another server. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Endpoint, freePort, type Server } from '../measure/workshop.ts'
import { type AccessLog, app, type Peer, running, type Site, startNode } from './peer.ts'

// In the order in which revisions had them.
const entryPoints = ['gantry.ts', 'cli/gantry.ts']

/** @throws Error if the tree has no command line of Gantry */
export function entryPoint(root: string): string {
  const found = entryPoints.map((path) => join(root, path)).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`no Gantry in ${root}: expected ${entryPoints.join(' or ')}`)
  return found
}

function start(
  site: Site,
  role: 'proxy' | 'container',
  endpoint: Endpoint,
  accessLog: AccessLog,
  args: readonly string[],
): Promise<Server> {
  return site.workshop.start({
    name: `${site.label}-${role}`,
    command: process.execPath,
    args: [
      entryPoint(site.root),
      role,
      ...args,
      '--listen',
      typeof endpoint === 'number' ? `127.0.0.1:${endpoint}` : `unix:${endpoint}`,
      '--access-log',
      accessLog === 'on' ? 'json' : 'off',
      // The bench ends servers while it holds connections to them.
      '--drain-timeout',
      '1s',
    ],
    endpoints: [endpoint],
  })
}

export function startContainer(site: Site, endpoint: Endpoint, accessLog: AccessLog): Promise<Server> {
  const application = app(site.framework === undefined ? 'application.ts' : `${site.framework}.ts`)
  return start(site, 'container', endpoint, accessLog, [application])
}

async function startPair(site: Site, ...options: readonly string[]): ReturnType<Peer['start']> {
  const socket = site.workshop.path(`${site.label}.sock`)
  const port = await freePort()
  const container = await startContainer(site, socket, 'off')
  const args = ['--upstream', `unix:${socket}`, ...options]
  return running(port, await start(site, 'proxy', port, site.accessLog, args), container)
}

export const pair: Peer = {
  name: 'pair',
  title: 'Gantry: proxy → container (the pair)',
  gantry: true,
  start: (site) => startPair(site),
}

export const pairWorkers: Peer = {
  name: 'pair-workers',
  title: 'Gantry: proxy, a worker per core → container',
  gantry: true,
  start: (site) => startPair(site, '--workers', 'auto'),
}

export const container: Peer = {
  name: 'container',
  title: 'Gantry: container’s HTTP port, no proxy',
  gantry: true,
  async start(site) {
    const port = await freePort()
    return running(port, await startContainer(site, port, site.accessLog))
  },
}

export const pairHttp: Peer = {
  name: 'pair-http',
  title: 'Gantry: proxy → node:http',
  gantry: true,
  async start(site) {
    const [port, upstream] = [await freePort(), await freePort()]
    const node = await startNode(site, upstream, 'off')
    const args = ['--upstream', `http://127.0.0.1:${upstream}`]
    return running(port, await start(site, 'proxy', port, site.accessLog, args), node)
  },
}
