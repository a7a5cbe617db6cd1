/**
 * A remote container as an Application: one link, dialled when it is first needed and again after it was lost.
 * Does not know pools, discovery, or more than one address; the proxy's pool is for that.
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

export interface ConnectOptions {
  /**
   * Shared secrets. Both sides have one in common, or neither side has any. This side proves the first one, and accepts
   * each of them.
   */
  token?: Token | undefined
  identity?: Identity | undefined
  clock?: Clock | undefined
  log?: Logger | undefined
  /** Milliseconds a request may wait for the container to be reached and to have a free slot. Default 5000. */
  timeout?: number | undefined
}

/** An application that runs in another process. */
export type RemoteApplication = Application & {
  /** Finishes what runs, and closes. Calls after it fail with 503. */
  close(): Promise<void>
}

/** After a failed dial the next waits so long, ms. */
const PAUSE = 100
/** How often a request is sent in all. */
const ATTEMPTS = 5

/**
 * The application that runs at `address` (`unix:/path`, `tcp:HOST:PORT`). It has nothing else to do with the address
 * before its first call.
 *
 * Calls throw `HttpError`: 503 when the container cannot be reached or has no free slot in time, 502 when it was lost on the way
 * and the request may have run, 431 when the head is more than it takes.
 *
 * @throws AddressError, or TypeError for an address that is not dialled
 */
export function connect(address: string, options: ConnectOptions = {}): RemoteApplication {
  const remote = new Remote(address, options)
  const application = (environ: Environ, startResponse: StartResponse): Promise<Body> =>
    remote.call(environ, startResponse)
  return Object.assign(application, { close: () => remote.close() })
}

interface Waiter {
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
  /** Every link that is not closed: those that drain are no longer `#caller`. */
  readonly #links: Set<Caller> = new Set()
  readonly #peers: PeerLinks = new PeerLinks()
  /** Requests that wait for a slot, in turn. */
  readonly #waiting: Set<Waiter> = new Set()
  #pause: Timer | undefined
  #reason = 'it was not dialled yet'
  #closed: PromiseWithResolvers<void> | undefined

  constructor(address: string, options: ConnectOptions) {
    const parsed = parseAddress(address)
    if (parsed.kind !== 'unix' && parsed.kind !== 'tcp') {
      throw new TypeError(`connect() takes unix:/path or tcp:HOST:PORT, not ${address}`)
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
      this.#pause?.cancel()
      for (const waiter of this.#waiting) this.#giveUp(waiter, 'it was closed')
      if (this.#links.size === 0) this.#closed.resolve()
      for (const link of this.#links) link.close('no longer needed')
    }
    return this.#closed.promise
  }

  /** The link, if a slot is free on it now and nobody waits for one. */
  #free(): Caller | undefined {
    const caller = this.#caller
    return caller?.state === 'ready' && caller.inFlight < caller.grant && this.#waiting.size === 0 ? caller : undefined
  }

  #slot(): Promise<Caller> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.#timeout, () =>
        this.#giveUp(waiter, `no slot after ${this.#timeout} ms: ${this.#reason}`),
      )
      const waiter: Waiter = { resolve, reject, timer }
      this.#waiting.add(waiter)
      if (this.#closed) this.#giveUp(waiter, 'it was closed')
      else this.#serve()
    })
  }

  #giveUp(waiter: Waiter, why: string): void {
    if (!this.#waiting.delete(waiter)) return
    waiter.timer.cancel()
    waiter.reject(httpError('UPSTREAM_UNAVAILABLE', `${this.#address}: ${why}`, { headers: [['Retry-After', '1']] }))
  }

  /** Gives free slots to those that wait; dials when there is no link. */
  #serve(): void {
    const caller = this.#caller
    if (caller) caller.demand(caller.inFlight + this.#waiting.size)
    else if ((this.#waiting.size > 0 || this.#doubtful) && !this.#closed) this.#dial()
    if (caller?.state !== 'ready') return
    this.#reason = 'all slots are taken'
    // A call is made a microtask after it was let go, so that what was given has to be counted here.
    let free = caller.grant - caller.inFlight
    for (const waiter of this.#waiting) {
      if (free-- <= 0) break
      this.#waiting.delete(waiter)
      waiter.timer.cancel()
      waiter.resolve(caller)
    }
  }

  /** Requests run on a link that is silent: another connection decides whether they are lost. */
  get #doubtful(): boolean {
    for (const link of this.#links) if (!link.trusted && link.busy) return true
    return false
  }

  #dial(): void {
    if (this.#pause) return
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
        // Its requests finish if it answers again; new requests use another link.
        onLife: (life) => {
          if (life === 'suspect') caller.close('the container does not answer on this link')
        },
      },
      onChange: () => {
        if (this.#caller !== caller) return
        // What runs on a link that drains can take long; the next container is dialled meanwhile.
        if (caller.state === 'draining') this.#leave('it drains')
        else this.#serve()
      },
      onClosed: (error) => this.#lost(caller, error),
    })
    this.#caller = caller
    this.#links.add(caller)
    this.#reason = 'it is being dialled'
  }

  #lost(caller: Caller, error: Error | undefined): void {
    this.#links.delete(caller)
    if (error && verdictOf(error) === 'gone') for (const link of this.#links) link.unreachable()
    if (this.#caller === caller) this.#leave(error?.message ?? 'it closed the link')
    if (this.#closed && this.#links.size === 0) this.#closed.resolve()
  }

  /** That link takes nothing more. */
  #leave(reason: string): void {
    this.#caller = undefined
    this.#reason = reason
    if (this.#closed) return
    this.#pause = this.#clock.after(PAUSE, () => {
      this.#pause = undefined
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
