/** The interface of a case in the frameworks' suite. Independent of the frameworks and of how they are served. */

import { createHash } from 'node:crypto'
import type { Answer, Fields, RequestOptions } from '../support/client.ts'
import type { HttpClient } from '../support/http-client.ts'

export type Framework = 'Express' | 'Koa' | 'Fastify' | 'Hono' | 'NestJS'

/** One of the two servers under comparison. */
export interface Peer {
  /** The name of the server, for steps on only one of them. */
  readonly name: 'plain' | 'pair'
  readonly framework: Framework
  readonly port: number
  /** A connection, closed after the case. */
  connect(): Promise<HttpClient>
  /** A request on a connection of its own. */
  fetch(request: RequestOptions): Promise<Answer>
  /** Resolves with the first `count` notes that the application took under `key`. */
  noted(key: string, count: number): Promise<string[]>
}

export interface Case {
  /** A sentence. */
  readonly title: string
  /** Requests, sent one after the other on one connection each. */
  readonly requests?: readonly RequestOptions[]
  /** The status codes on node:http: otherwise a case could compare two "not found" pages. */
  readonly status?: readonly number[] | Partial<Record<Framework, readonly number[]>>
  /** Instead of `requests`: uses a server, and returns what it saw. */
  readonly run?: (peer: Peer) => Promise<unknown>
  /** What `run` sees on plain node:http. */
  readonly sees?: unknown
  /** Frameworks that lack the feature, and why. */
  readonly without?: Partial<Record<Framework, string>>
}

/** A case of one request. */
export function one(title: string, request: RequestOptions, status: NonNullable<Case['status']> | number): Case {
  return { title, requests: [request], status: typeof status === 'number' ? [status] : status }
}

/** The parts of a response that a client sees. */
export interface Seen {
  readonly status: number
  readonly reason: string
  readonly headers: Fields
  readonly body: string
  readonly trailers: Fields
  readonly informational: readonly { status: number; headers: Fields }[]
  readonly complete: boolean
}

/** The largest body that a failure shows unchanged, bytes; of longer ones it shows the digest. */
const SHOWN_MAX = 4096

export function bytes(body: Buffer): string {
  if (body.length <= SHOWN_MAX) return body.toString('latin1')
  return `${body.length} bytes, SHA-256 ${createHash('sha256').update(body).digest('hex')}`
}
