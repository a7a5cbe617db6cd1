/**
 * What a server gives to HTTP/1.1 connections (limits, timeouts, hooks), and what it sees of a connection. Plain data
 * and defaults.
 */

import type { ClientKey } from '../client/client-shares.ts'
import type { ForwardedRules } from '../client/resolve-client.ts'
import type { ConnectionFacts, ProcessFacts, RequestHead } from '../contract/environ.ts'
import type { AbortError } from '../contract/errors.ts'
import type { ExchangeHost } from '../contract/exchange.ts'
import type { RefusedRequest } from '../contract/refused-request.ts'
import type { Http1Limits } from './codec/limits.ts'

/** Milliseconds; Infinity: never. */
export interface Http1Timeouts {
  /**
   * From the start of a connection, or the first byte of a request, to its complete head; then 408 if a part has
   * arrived.
   */
  head: number
  /** Between two reads of a request's body; then 408. */
  body: number
  /** How long a connection may be idle between two requests. */
  keepAlive: number
  /** How long the client may accept no pending byte, also after an upgrade, before its connection is reset. */
  write: number
  /** How long the server reads on after its FIN, so that the client receives the response (RFC 9112 §9.6). */
  linger: number
  /** How long an upgraded connection may be silent in both directions. */
  upgradeIdle: number
}

/** The default timeouts of HTTP/1.1 connections, in milliseconds. */
export const defaultTimeouts: Http1Timeouts = {
  head: 30_000,
  body: 60_000,
  keepAlive: 75_000,
  write: 60_000,
  linger: 2_000,
  upgradeIdle: Number.POSITIVE_INFINITY,
}

/** Made once per server and shared by its connections: the same object must be passed for each. */
export interface Http1Options {
  readonly host: ExchangeHost
  readonly facts: ProcessFacts
  /** What the client speaks. Default: `http`. */
  readonly scheme?: 'http' | 'https'
  readonly limits?: Partial<Http1Limits>
  readonly timeouts?: Partial<Http1Timeouts>
  /**
   * Whether a client that ends its sending side (FIN) has aborted the request, as nginx assumes, or still reads the
   * response.
   */
  readonly halfClose?: 'abort' | 'serve'
  /**
   * The peers whose forwarded fields set `REMOTE_ADDR`, the scheme and the host. Default: none; then forwarded fields
   * are removed. `keep`: the fields are passed on unchanged and set nothing, for requests that an application sends to
   * itself.
   */
  readonly forwarded?: ForwardedRules | 'keep'
  /** Returns the request's id; undefined: the exchange makes an id. */
  readonly requestId?: (head: RequestHead, connection: ConnectionFacts) => string | undefined
  /**
   * Called before an exchange is made. True takes a slot, which `host.settled` gives back; false: the response is 503.
   */
  readonly admit?: () => boolean
  /** `Retry-After` of that 503, in seconds. */
  readonly retryAfter?: number
  /** Called with each request that is answered before an application sees it. */
  readonly onRefused?: ((request: RefusedRequest) => void) | undefined
  /** Called once, when the connection is closed. */
  readonly onClose?: (connection: Http1Connection) => void
}

/** A client's connection. */
export interface Http1Connection {
  /**
   * Serves no request after the one that is running. An idle connection serves one more if it arrives within `grace`
   * milliseconds; without a grace (default) it closes now.
   */
  drain(grace?: number): void
  /** Closes a WebSocket with code 1001. False if there is none that can be closed: then `abort` ends the connection. */
  goAway(): boolean
  /** Ends the connection at once, and aborts a running exchange with `error`. */
  abort(error: AbortError): void
  /**
   * Whether no request is expected to follow: the last response has begun, a response still runs after the grace, or
   * the connection is upgraded or closing.
   */
  readonly last: boolean
  /** Whether no request is running or half-read. */
  readonly idle: boolean
  /** Whether an exchange is running. */
  readonly busy: boolean
  /** Whether the connection was upgraded, for example to a WebSocket. */
  readonly upgraded: boolean
  /** This and the following: for `LimitedConnection`. */
  readonly waitingSince: number
  readonly stalledSince: number
  share: ClientKey | undefined
  evict(): boolean
  reset(reason: AbortError): void
}
