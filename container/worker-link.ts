/**
 * One link with one worker of a proxy, or the search for it: dials, replaces a silent link, backs off, and logs why the
 * proxy is not reached. `join.ts` knows which addresses and how many workers there are.
 */

import type { Socket } from 'node:net'
import type { Logger } from '../protocol/log/logger.ts'
import { printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import { backoff } from '../protocol/net/backoff.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import { CONNECT_TIMEOUT, Dialling, dial, HELLO_EXPECTED, HELLO_PATIENCE } from '../protocol/net/dial.ts'
import { afterSilence } from '../protocol/net/silence-timer.ts'
import { isTimeout, LastReason, type Phase, whyUnreachable } from '../protocol/net/unreachable.ts'

/** The peer of a link: one of the workers of a proxy, numbered from 0. */
export interface ProxyWorker {
  readonly id: string
  readonly worker: number
  readonly workers: number
}

/** A served connection, as a `WorkerLink` sees it. */
export interface JoinedLink {
  readonly state: 'connecting' | 'ready' | 'draining' | 'closed'
  /** The peer, once the handshake is complete. */
  readonly peer?: ProxyWorker | undefined
  drain(reason?: string): void
  /** Reports that a new connection to the proxy was refused or timed out. */
  unreachable(): void
}

export interface LinkEvents {
  /** The handshake is complete. */
  onReady(): void
  /** The link has become silent (false), or the proxy answers again (true). */
  onAnswering(answering: boolean): void
  /** The link is closed. Called once. */
  onClosed(error?: Error): void
}

export interface WorkerLinkOptions {
  readonly clock: Clock
  readonly log: Logger
  /** A random number in [0, 1). */
  readonly random: () => number
  /**
   * Serves an established connection.
   *
   * @param handshakeTimeout timeout of the proxy's handshake, milliseconds
   */
  readonly serve: (
    socket: Socket,
    proxy: UnixAddress | TcpAddress,
    events: LinkEvents,
    handshakeTimeout: number,
  ) => JoinedLink
  /** Connect timeout, milliseconds. */
  readonly connectTimeout?: number | undefined
  readonly dial?: ((address: UnixAddress | TcpAddress) => Socket) | undefined
}

/**
 * Backoff between two attempts, ms: a proxy that restarts is joined again within a second, and one that stays away
 * costs one dial a second.
 */
const WAIT = { first: 50, most: 900 }
/**
 * Wait before a second address of a joined proxy is tried again, ms: by then the address may belong to another proxy.
 */
const DUPLICATE_ADDRESS_WAIT = 30_000
/** Attempts that reached an already joined worker, before the wait for another worker grows. */
const TRIES_BEFORE_BACKOFF = 5
/** A link that was ready for this long, ms, was stable: the backoff starts again after it. */
const STABLE_AFTER = 1_000

/**
 * Decides about a link of `by` that has become ready.
 *
 * - `new`: the worker was not joined; keep the link
 * - `redial`: the worker is joined already, and another worker of the proxy is not: hang up and redial
 * - `duplicate`: all workers of the proxy are joined already; try again later
 */
export type DecideLink = (proxy: ProxyWorker, by: WorkerLink) => 'new' | 'redial' | 'duplicate'

/** One link with one worker of a proxy, or the search for it. */
export class WorkerLink {
  readonly #address: UnixAddress | TcpAddress
  readonly #options: WorkerLinkOptions
  readonly #decide: DecideLink
  /** The current link: its handshake is complete. It may be silent. */
  #link: JoinedLink | undefined
  /** The attempt to replace the link: at most one of these three fields is set, and none while the link answers. */
  #timer: Timer | undefined
  #dialling: Dialling | undefined
  #next: JoinedLink | undefined
  /** Fires when the proxy should have completed its handshake. */
  #expected: Timer | undefined
  /** Whether the proxy answers on the current link. */
  #isAnswering = false
  #failures = 0
  /** Consecutive connections that were accepted but whose handshake did not complete. */
  #unanswered = 0
  /** Consecutive attempts that reached an already joined worker while another worker was not joined. */
  #duplicates = 0
  #readyAt: number | undefined
  /** The last logged reason why the proxy is not reached. */
  readonly #reason: LastReason = new LastReason()
  /** Whether the proxy has ever been joined. */
  #joined = false
  #isDisconnected = false

  constructor(address: UnixAddress | TcpAddress, options: WorkerLinkOptions, decide: DecideLink) {
    this.#address = address
    this.#options = options
    this.#decide = decide
    this.#dial()
  }

  /** The proxy at the other end of the current link, while it answers. */
  get proxy(): ProxyWorker | undefined {
    return this.#link?.state === 'ready' && this.#isAnswering ? this.#link.peer : undefined
  }

  get state(): string {
    const link = this.#link ?? this.#next
    if (link) return link.state
    return this.#dialling ? 'dialling' : 'waiting'
  }

  /** A draining proxy accepts no more on this link; its replacement at the same address may already listen. */
  check(): void {
    if (this.#link?.state !== 'draining') return
    this.#link = undefined
    if (!this.#seeking) this.#retry(undefined)
  }

  disconnect(reason: string): void {
    this.#isDisconnected = true
    this.#cancelAttempt(reason)
    this.#link?.drain(reason)
  }

  /** Cancels the attempt to replace the current link. */
  #cancelAttempt(reason: string): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dialling?.cancel()
    this.#dialling = undefined
    const next = this.#next
    this.#next = undefined
    this.#expected?.cancel()
    next?.drain(reason)
  }

  #dial(): void {
    const { clock, dial: open, connectTimeout = CONNECT_TIMEOUT } = this.#options
    const socket = open ? open(this.#address) : dial(this.#address, true)
    this.#dialling = new Dialling(socket, clock, connectTimeout, {
      connected: (made) => {
        this.#dialling = undefined
        this.#serve(made)
      },
      failed: (error, verdict) => {
        this.#dialling = undefined
        // Closes the current link if it is silent; a link on which bytes arrive stays.
        if (verdict === 'gone') this.#link?.unreachable()
        this.#retry(error, 'connect')
      },
    })
  }

  #serve(socket: Socket): void {
    const handshakeTimeout = backoff(this.#unanswered + 1, HELLO_PATIENCE, this.#options.random)
    const link = this.#options.serve(
      socket,
      this.#address,
      {
        onReady: () => this.#ready(link),
        onAnswering: (answering) => this.#answeringChanged(link, answering),
        onClosed: (error) => this.#lost(link, error),
      },
      handshakeTimeout,
    )
    this.#next = link
    this.#expected = afterSilence(this.#options.clock, HELLO_EXPECTED, () => {
      const timeout = { phase: 'handshake', reason: 'timeout', code: 'TIMEOUT' } as const
      if (this.#link || !this.#reason.changes(timeout)) return
      this.#options.log.warn(
        { proxy: printAddress(this.#address), ...timeout },
        'a connection was accepted and not answered; waiting: is it the --join-listen of a proxy?',
      )
    })
  }

  #ready(link: JoinedLink): void {
    if (this.#next !== link) return
    this.#next = undefined
    this.#expected?.cancel()
    this.#unanswered = 0
    if (!this.#isNeeded(link)) return
    const before = this.#link
    this.#link = link
    this.#isAnswering = true
    this.#readyAt = this.#options.clock.now()
    // Not closed but drained: `liveness.ts` decides whether its requests are lost.
    before?.drain('the proxy did not answer on this link; another link replaces it')
  }

  /** Whether the link reaches a worker that was not joined yet. If not, drains the link and dials again. */
  #isNeeded(link: JoinedLink): boolean {
    const { log, random } = this.#options
    const decision = link.peer ? this.#decide(link.peer, this) : 'new'
    if (decision === 'redial') {
      link.drain('this worker is joined already; redialling to reach another worker')
      this.#dialIn(backoff(1 + Math.floor(this.#duplicates++ / TRIES_BEFORE_BACKOFF), WAIT, random))
      return false
    }
    this.#duplicates = 0
    if (this.#reason.end())
      log.info({ proxy: printAddress(this.#address) }, this.#joined ? 'a proxy is joined again' : 'a proxy is joined')
    this.#joined = true
    if (decision === 'new') return true
    link.drain('the proxy is joined already, at another of its addresses')
    this.#dialIn(DUPLICATE_ADDRESS_WAIT)
    return false
  }

  /** The current link has become silent, or the proxy answers on it again. */
  #answeringChanged(link: JoinedLink, answering: boolean): void {
    if (this.#link !== link || this.#isDisconnected) return
    this.#isAnswering = answering
    if (!answering) {
      if (!this.#seeking) this.#dial()
      return
    }
    this.#cancelAttempt('the proxy answers on the previous link again')
    this.#failures = 0
    // Another link may have joined this worker in the meantime.
    if (!this.#isNeeded(link)) this.#link = undefined
  }

  /** Whether an attempt to replace the link is in progress or scheduled. */
  get #seeking(): boolean {
    return this.#timer !== undefined || this.#dialling !== undefined || this.#next !== undefined
  }

  #lost(link: JoinedLink, error: Error | undefined): void {
    // A link that drained was replaced already.
    if (this.#next !== link && this.#link !== link) return
    if (this.#next === link) {
      this.#next = undefined
      this.#expected?.cancel()
      if (isTimeout(error)) this.#unanswered++
    } else this.#link = undefined
    if (!this.#seeking) this.#retry(error)
  }

  #retry(error: Error | undefined, phase: Phase = 'handshake'): void {
    if (this.#isDisconnected) return
    const { clock, log, random } = this.#options
    const why = error && whyUnreachable(error, phase)
    if (why && this.#reason.changes(why))
      log.warn({ proxy: printAddress(this.#address), ...why }, 'a proxy cannot be joined; trying again')
    const good = this.#readyAt !== undefined && clock.now() - this.#readyAt >= STABLE_AFTER
    this.#readyAt = undefined
    this.#failures = good ? 1 : this.#failures + 1
    this.#dialIn(backoff(this.#failures, WAIT, random))
  }

  #dialIn(milliseconds: number): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(milliseconds, () => {
      this.#timer = undefined
      this.#dial()
    })
  }
}
