/**
 * A remote container as an Application: one link to one address, dialled at the first call and again after the link was
 * lost. For more than one address or discovery use the proxy's pool.
 */

import { connect as dial } from 'node:net'
import type { Application, Body, Environ, StartResponse } from '../contract/application.ts'
import { httpError } from '../contract/coded-errors.ts'
import type { HttpCode } from '../contract/error-codes.ts'
import { IDEMPOTENT_METHODS } from '../contract/methods.ts'
import { type Logger, silent } from '../log/logger.ts'
import { dialTarget, parseAddress } from '../net/address.ts'
import { type Clock, systemClock, type Timer } from '../net/clock.ts'
import { verdictOf } from '../net/dial.ts'
import { CallError, Caller, ReplayableBody } from './caller.ts'
import type { Identity } from './codec/hello.ts'
import { USUAL_TIMES } from './codec/liveness.ts'
import type { Token } from './codec/tokens.ts'
import { PeerLinks } from './watch.ts'

/** Options of `connect`. */
export interface ConnectOptions {
  /**
   * The shared secrets. Either both sides have a secret in common, or neither side has any. This side proves the first
   * secret, and accepts each of them.
   */
  token?: Token | undefined
  identity?: Identity | undefined
  clock?: Clock | undefined
  log?: Logger | undefined
  /** How long a request may wait for the container and for a free slot, milliseconds. Default 5000. */
  timeout?: number | undefined
}

/** An application that runs in another process. Call it like any other Application. */
export type RemoteApplication = Application & {
  /** Finishes the calls in progress, then closes the link. Later calls fail with status 503. */
  close(): Promise<void>
}

/** Delay before the next dial after a failed dial or a lost link, milliseconds. */
const REDIAL_DELAY = 100
/** The most times that a request is sent. */
const ATTEMPTS = 5

/**
 * Returns the application of the container at an address. The container is dialled at the first call.
 *
 * A call throws `HttpError`: status 503 if the container cannot be reached or has no free slot in time, 502 if the link
 * was lost and the request may have run, 431 if the head or the trailers are
 * longer than the container accepts.
 *
 * @param address `unix:/path` or `tcp:HOST:PORT`
 * @throws AddressError if the address is invalid
 * @throws TypeError if the address is of another kind
 * @example
 * ```ts
 * import { connect } from 'gantry'
 * import { mount } from 'gantry/middleware'
 *
 * export const application = mount({ '/shop': connect('unix:/run/shop.sock') })
 * ```
 */
export function connect(address: string, options: ConnectOptions = {}): RemoteApplication {
  const remote = new Remote(address, options)
  const application = (environ: Environ, startResponse: StartResponse): Promise<Body> =>
    remote.call(environ, startResponse)
  return Object.assign(application, { close: () => remote.close() })
}

interface WaitingRequest {
  resolve(caller: Caller): void
  reject(error: Error): void
  timer: Timer
}

class Remote {
  readonly #target: { path: string } | { host: string; port: number }
  readonly #address: string
  readonly #options: ConnectOptions
  readonly #clock: Clock
  readonly #timeout: number
  #caller: Caller | undefined
  /** Every link that is not closed. A draining link is no longer `#caller`. */
  readonly #links: Set<Caller> = new Set()
  readonly #peers: PeerLinks = new PeerLinks()
  /** Requests that wait for a slot, oldest first. */
  readonly #waiting: Set<WaitingRequest> = new Set()
  #redial: Timer | undefined
  /** Why no slot is free. */
  #reason = 'the container was not dialled yet'
  #closed: PromiseWithResolvers<void> | undefined

  constructor(address: string, options: ConnectOptions) {
    const parsed = parseAddress(address)
    if (parsed.kind !== 'unix' && parsed.kind !== 'tcp') {
      throw new TypeError(`connect(): expected unix:/path or tcp:HOST:PORT, got ${address}`)
    }
    this.#target = dialTarget(parsed)
    this.#address = address
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#timeout = options.timeout ?? 5_000
  }

  async call(environ: Environ, startResponse: StartResponse): Promise<Body> {
    const body = new ReplayableBody(environ['wsgi.input'])
    let lost = false
    for (let attempt = 1; ; attempt++) {
      const caller = this.#free() ?? (await this.#slot())
      try {
        return await caller.call(environ, startResponse, body)
      } catch (error) {
        if (!(error instanceof CallError) || error.responded) throw error
        if (error.code === 'TOO_LARGE') throw httpError('HEAD_TOO_LARGE', error.message, { cause: error })
        const again =
          body.whole &&
          attempt < ATTEMPTS &&
          (error.ran === 'no' || (!lost && error.code === 'LOST' && IDEMPOTENT_METHODS.has(environ.REQUEST_METHOD)))
        if (!again) {
          throw httpError(codeOf(error), `${this.#address}: ${error.message}`, { cause: error })
        }
        lost ||= error.code === 'LOST'
      }
    }
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = Promise.withResolvers<void>()
      this.#redial?.cancel()
      for (const waiter of this.#waiting) this.#refuse(waiter, 'this application was closed')
      if (this.#links.size === 0) this.#closed.resolve()
      for (const link of this.#links) link.close('no longer needed')
    }
    return this.#closed.promise
  }

  /** The link, if a slot is free on it now and no request waits for a slot. */
  #free(): Caller | undefined {
    const caller = this.#caller
    return caller?.state === 'ready' && caller.inFlight < caller.grant && this.#waiting.size === 0 ? caller : undefined
  }

  #slot(): Promise<Caller> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.#timeout, () =>
        this.#refuse(waiter, `no slot after ${this.#timeout} ms: ${this.#reason}`),
      )
      const waiter: WaitingRequest = { resolve, reject, timer }
      this.#waiting.add(waiter)
      if (this.#closed) this.#refuse(waiter, 'this application was closed')
      else this.#serve()
    })
  }

  #refuse(waiter: WaitingRequest, why: string): void {
    if (!this.#waiting.delete(waiter)) return
    waiter.timer.cancel()
    waiter.reject(httpError('UPSTREAM_UNAVAILABLE', `${this.#address}: ${why}`, { headers: [['Retry-After', '1']] }))
  }

  /** Gives free slots to waiting requests; dials if there is no link. */
  #serve(): void {
    const caller = this.#caller
    if (caller) caller.demand(caller.inFlight + this.#waiting.size)
    else if ((this.#waiting.size > 0 || this.#hasSilentRequests) && !this.#closed) this.#dial()
    if (caller?.state !== 'ready') return
    this.#reason = 'all slots are in use'
    // A resolved request calls one microtask later, so the slots given in this loop must be counted here.
    let free = caller.grant - caller.inFlight
    for (const waiter of this.#waiting) {
      if (free-- <= 0) break
      this.#waiting.delete(waiter)
      waiter.timer.cancel()
      waiter.resolve(caller)
    }
  }

  /** Whether requests run on a silent link: another connection decides whether they are lost. */
  get #hasSilentRequests(): boolean {
    for (const link of this.#links) if (!link.isAnswering && link.busy) return true
    return false
  }

  #dial(): void {
    if (this.#redial) return
    const socket = dial(this.#target)
    const caller: Caller = new Caller(socket, {
      clock: this.#clock,
      log: this.#options.log ?? silent,
      token: this.#options.token,
      identity: this.#options.identity,
      handshakeTimeout: this.#timeout,
      watch: {
        times: USUAL_TIMES,
        peers: this.#peers,
        // Its requests finish if the container answers again; new requests use another link.
        onLife: (life) => {
          if (life === 'suspect') caller.close('the container does not answer on this link')
        },
      },
      onChange: () => {
        if (this.#caller !== caller) return
        // Requests on a draining link can take long, so the next container is dialled at once.
        if (caller.state === 'draining') this.#replaceLink('the container drains')
        else this.#serve()
      },
      onClosed: (error) => this.#lost(caller, error),
    })
    this.#caller = caller
    this.#links.add(caller)
    this.#reason = 'the container is being dialled'
  }

  #lost(caller: Caller, error: Error | undefined): void {
    this.#links.delete(caller)
    if (error && verdictOf(error) === 'gone') for (const link of this.#links) link.unreachable()
    if (this.#caller === caller) this.#replaceLink(error?.message ?? 'the container closed the link')
    if (this.#closed && this.#links.size === 0) this.#closed.resolve()
  }

  /** The present link accepts no more requests: dials another link after a delay. */
  #replaceLink(reason: string): void {
    this.#caller = undefined
    this.#reason = reason
    if (this.#closed) return
    this.#redial = this.#clock.after(REDIAL_DELAY, () => {
      this.#redial = undefined
      this.#serve()
    })
  }
}

/** What the failure of the last attempt is to the client of an application made by `connect()`. */
function codeOf({ code, ran }: CallError): HttpCode {
  switch (code) {
    case 'REFUSED':
      return 'UPSTREAM_REFUSED'
    case 'GOAWAY':
      return 'UPSTREAM_GOAWAY'
    case 'NOT_READY':
      return 'UPSTREAM_NOT_READY'
    case 'RESET':
      return 'UPSTREAM_RESET'
    case 'PROTOCOL':
      return 'UPSTREAM_PROTOCOL'
    default:
      return ran === 'no' ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_LOST'
  }
}
