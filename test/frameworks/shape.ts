/**
 * What a case of the frameworks' suite is, and what it is given. It knows neither frameworks nor how they are served.
 */

import { createHash } from 'node:crypto'
import type { Answer, Fields, RequestOptions } from '../support/client.ts'
import type { HttpClient } from '../support/http-client.ts'

export type Framework = 'Express' | 'Koa' | 'Fastify' | 'Hono' | 'NestJS'

/** One of the two servers under comparison. */
export interface Peer {
  /** Which: for what a test does at one of them alone. */
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
  /** The plain answers' status codes: what keeps a case from comparing two pages that say "not found". */
  readonly status?: readonly number[] | Partial<Record<Framework, readonly number[]>>
  /** Instead of `requests`: does something with a server and says what it saw. */
  readonly run?: (peer: Peer) => Promise<unknown>
  /** What `run` sees on plain node:http. */
  readonly sees?: unknown
  /** Frameworks that have no such thing, and why. */
  readonly without?: Partial<Record<Framework, string>>
}

/** A case of one request. */
export function one(title: string, request: RequestOptions, status: NonNullable<Case['status']> | number): Case {
  return { title, requests: [request], status: typeof status === 'number' ? [status] : status }
}

/** What a client sees of an answer. */
export interface Seen {
  readonly status: number
  readonly reason: string
  readonly headers: Fields
  readonly body: string
  readonly trailers: Fields
  readonly informational: readonly { status: number; headers: Fields }[]
  readonly complete: boolean
}

/** Bodies up to this many bytes are shown in a failure as they are, longer ones by their digest. */
const SHOWN_MAX = 4096

export function bytes(body: Buffer): string {
  if (body.length <= SHOWN_MAX) return body.toString('latin1')
  return `${body.length} bytes, SHA-256 ${createHash('sha256').update(body).digest('hex')}`
}
