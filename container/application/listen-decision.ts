/**
 * Decides what happens to a server on which an application calls `listen()`, from the arguments of the call and from
 * what is served so far. `listen-takeover.ts` acts on the decision.
 */

import { Server } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import type { Server as NetServer } from 'node:net'
import type { RequestedAddress } from './adopted-server.ts'

/**
 * The kind of server on which `listen()` is called. `cluster`: workers of a cluster primary, for which the primary
 * listens.
 */
export type ServerKind = 'http' | 'https' | 'http2' | 'cluster' | 'net'

/** Where the server to serve is expected to listen. */
export interface WantedPort {
  /** A port, or the path of a Unix socket. */
  readonly value: number | string
  readonly from: '--app-port' | 'PORT'
}

/**
 * What happens to a server on which `listen()` is called.
 *
 * - `serve`: the container serves it
 * - `same-port`: it has the port of the served server (Fastify listens on both addresses of localhost) and gets no
 *   requests
 * - `replace`: it listens on the wanted port after a substitute was served: the container serves it from now on
 * - `wait`: it listens by itself; if no better server listens in time, it is served as a substitute, or refused
 * - `refuse`: the start fails, unless the module exports an application
 * - `independent`: it listens by itself and is not served
 */
export type ListenAction = 'serve' | 'same-port' | 'replace' | 'wait' | 'refuse' | 'independent'

export interface ListenState {
  readonly wanted: WantedPort | undefined
  /** The port or path of the served server. */
  readonly served: number | string | undefined
  /** Whether the served server is a substitute: another port was wanted. */
  readonly isSubstitute: boolean
}

export function decideListen(
  kind: ServerKind,
  requested: RequestedAddress,
  { wanted, served, isSubstitute }: ListenState,
): ListenAction {
  // Applications test for a free port with a net.Server, or serve other protocols with one.
  if (kind === 'net') return 'independent'
  const place = requested.path ?? requested.port
  const isWanted = wanted !== undefined && wanted.value === place
  if (served === undefined) {
    if (kind === 'http') return wanted === undefined || isWanted ? 'serve' : 'wait'
    return isWanted ? 'refuse' : 'wait'
  }
  if (kind !== 'http') return 'independent'
  if (place === served && place !== 0) return 'same-port'
  return isWanted && isSubstitute ? 'replace' : 'independent'
}

/** The wanted port: `--app-port`, else PORT as the platform or the user set it. */
export function wantedPort(
  appPort: number | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): WantedPort | undefined {
  if (appPort !== undefined) return { value: appPort, from: '--app-port' }
  const text = environment['PORT']?.trim() ?? ''
  if (text === '') return undefined
  return { value: /^\d+$/.test(text) ? Number(text) : text, from: 'PORT' }
}

export function kindOf(server: NetServer): ServerKind {
  if (server instanceof Server) return 'http'
  if (server instanceof HttpsServer) return 'https'
  // Node does not export the classes of http2, and loading http2 takes time. Only http2 servers have this method.
  return typeof (server as { updateSettings?: unknown }).updateSettings === 'function' ? 'http2' : 'net'
}

export function portOrPath(requested: RequestedAddress): number | string {
  return requested.path ?? requested.port
}

export function describe(requested: RequestedAddress): string {
  return requested.path === undefined ? `port ${requested.port}` : `the socket ${requested.path}`
}

/** Parses `listen(port, host)`, `listen({ port, host, path })` and `listen(path)` (Node's normalizeArgs). */
export function parseListenArguments([first, second]: readonly unknown[]): RequestedAddress {
  if (typeof first === 'object' && first !== null) {
    const { port, host, path } = first as { port?: unknown; host?: string; path?: string }
    return { port: Number(port ?? 0), host, path: port === undefined || port === null ? path : undefined }
  }
  if (typeof first === 'string' && !/^\s*\d+\s*$/.test(first)) return { port: 0, host: undefined, path: first }
  const port = typeof first === 'function' ? 0 : Number(first ?? 0)
  return { port, host: typeof second === 'string' ? second : undefined, path: undefined }
}
