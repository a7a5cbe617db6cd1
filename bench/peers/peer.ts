/** What a peer is: a setup of server processes that answers the bench's requests, and the place where it is started. */

import { join } from 'node:path'
import type { Endpoint, Server, Workshop } from '../measure/workshop.ts'

/** Frameworks whose application is served in a container and, for comparison, by the framework's own server. */
export const frameworks = ['express', 'hono'] as const
export type Framework = (typeof frameworks)[number]

export type AccessLog = 'on' | 'off'

/** A setup that runs. */
export interface Running {
  /** Where clients connect, on 127.0.0.1. */
  readonly port: number
  /** The same without buffering of bodies, for peers that buffer. */
  readonly streamPort: number
  /** The server that clients connect to is the first. */
  readonly servers: readonly Server[]
}

/** Where and how a peer is started. */
export interface Site {
  /** Names its files and processes: unique in the workshop. */
  readonly label: string
  readonly workshop: Workshop
  /** Of the server that clients connect to; servers behind it write none. */
  readonly accessLog: AccessLog
  /** The source tree whose Gantry is started. */
  readonly root: string
  /** undefined: the bench's own application without a framework. */
  readonly framework: Framework | undefined
}

export interface Peer {
  /** As on the command line. */
  readonly name: string
  /** As in tables and charts. */
  readonly title: string
  /** Runs Gantry: `--compare` starts it from two source trees. */
  readonly gantry: boolean
  start(site: Site): Promise<Running>
}

/** The repository that this file is in. */
export const thisTree: string = join(import.meta.dirname, '..', '..')

/** A program under load, from `bench/apps`. */
export function app(file: string): string {
  return join(import.meta.dirname, '..', 'apps', file)
}

/** A setup of one port. */
export function running(port: number, ...servers: readonly Server[]): Running {
  return { port, streamPort: port, servers }
}

/** Starts the application on node:http, or on the server that its framework brings along. */
export function startNode(site: Site, endpoint: Endpoint, accessLog: AccessLog): Promise<Server> {
  return site.workshop.start({
    name: `${site.label}-node`,
    command: process.execPath,
    args: [app(site.framework === undefined ? 'node-http.ts' : `${site.framework}.ts`), accessLog, String(endpoint)],
    endpoints: [endpoint],
  })
}
