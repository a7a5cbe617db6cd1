/**
 * How a server stops, as a table: which state follows which event, and what each state means for clients, health checks
 * and applications. Decides without I/O; the proxy and the container act.
 */

import type { Clock, Timer } from '../protocol/net/clock.ts'

/**
 * - `serving`: health checks pass, and connections are kept alive
 * - `leaving`: health checks fail, so that load balancers send requests elsewhere; requests that still arrive are
 *   served (`--drain-delay`)
 * - `draining`: the listeners close; running requests finish, and idle connections close after a grace
 *   (`--keep-alive-grace`)
 * - `aborting`: the drain timeout has passed; aborted applications have a short time to settle
 * - `closed`: nothing is left, or this time has passed
 */
export type DrainState = 'serving' | 'leaving' | 'draining' | 'aborting' | 'closed'

/**
 * - `stop`: the process was asked to stop
 * - `skipNotice`: no load balancer needs notice, for example at a terminal's Ctrl-C
 * - `elapsed`: the time limit of the state has passed
 * - `empty`: the listeners are closed, and no connection, link or request is left
 */
export type DrainEvent = 'stop' | 'skipNotice' | 'elapsed' | 'empty'

/** What a state means for clients, health checks and applications. */
interface DrainFacts {
  /** Whether health checks may report that the server accepts requests. */
  readonly ready: boolean
  /** Whether new connections are accepted. */
  readonly listens: boolean
  /** Whether each response closes its connection, and announces it. */
  readonly lastResponses: boolean
  /** Whether `environ.gantry.draining` is true, and applications have received the signal. */
  readonly draining: boolean
}

/** The states, in the order in which a server passes through them. */
export const DRAIN_STATES: Readonly<Record<DrainState, DrainFacts>> = {
  serving: { ready: true, listens: true, lastResponses: false, draining: false },
  // Applications do not receive the signal yet: many close their databases at it, or answer 503 from then on (Fastify).
  leaving: { ready: false, listens: true, lastResponses: true, draining: false },
  draining: { ready: false, listens: false, lastResponses: true, draining: true },
  aborting: { ready: false, listens: false, lastResponses: true, draining: true },
  closed: { ready: false, listens: false, lastResponses: true, draining: true },
}

const NEXT: Readonly<Record<DrainState, Partial<Record<DrainEvent, DrainState>>>> = {
  serving: { stop: 'leaving' },
  // `empty` has no effect: a load balancer may have no connection at the moment.
  leaving: { elapsed: 'draining', skipNotice: 'draining' },
  draining: { elapsed: 'aborting', empty: 'closed' },
  aborting: { elapsed: 'closed', empty: 'closed' },
  closed: {},
}

/** The state after `event`; the same state if the event has no effect. */
export function nextState(state: DrainState, event: DrainEvent): DrainState {
  return NEXT[state][event] ?? state
}

/** Milliseconds; Infinity: without a limit. */
export interface DrainTimes {
  /** `--drain-delay` */
  readonly delay: number
  /** `--keep-alive-grace` */
  readonly grace: number
  /** `--drain-timeout` */
  readonly timeout: number
  /** For aborted requests to settle. */
  readonly settle: number
}

/** What a stop skips. `delay`: the drain delay. `notice`: the drain delay and the grace of idle connections. */
export type Skipped = 'nothing' | 'delay' | 'notice'

/** How to stop a server, and callbacks about its progress. */
export interface DrainOptions {
  /** Aborted if no load balancer needs notice: then there is no drain delay and no grace for idle connections. */
  readonly skipNotice?: AbortSignal | undefined
  /** The signal of the stop, to be passed on to child processes. Default: SIGTERM */
  readonly signal?: 'SIGHUP' | 'SIGINT' | 'SIGTERM' | undefined
  /** Called when the listeners are about to close: the application's own shutdown code may run. */
  readonly onDraining?: (() => void) | undefined
  /** Called when no request can arrive any more and every running request has started its response. */
  readonly onNoMoreRequests?: (() => void) | undefined
}

const ORDER = Object.keys(DRAIN_STATES) as DrainState[]

/** The state of one server that stops. */
export class Drain {
  readonly #clock: Clock
  readonly #times: DrainTimes
  #state: DrainState = 'serving'
  #skipped: Skipped = 'nothing'
  #timer: Timer | undefined
  #waiting: { readonly state: DrainState; readonly resolve: () => void }[] = []

  constructor(clock: Clock, times: DrainTimes) {
    this.#clock = clock
    this.#times = times
  }

  get state(): DrainState {
    return this.#state
  }

  get facts(): DrainFacts {
    return DRAIN_STATES[this.#state]
  }

  /** How long an idle connection stays open for a late request once the listeners are closed, ms. */
  get grace(): number {
    // A request that arrives at the end of the grace needs a part of the drain timeout.
    return this.#skipped === 'notice' ? 0 : Math.min(this.#times.grace, this.#times.timeout / 2)
  }

  /** @returns resolves when the listeners are to be closed */
  stop(skipped: Skipped, skipNotice?: AbortSignal): Promise<void> {
    this.#skipped = skipNotice?.aborted ? 'notice' : skipped
    skipNotice?.addEventListener('abort', () => this.skipNotice(), { once: true })
    this.on('stop')
    return this.reached('draining')
  }

  skipNotice(): void {
    this.#skipped = 'notice'
    this.on('skipNotice')
  }

  on(event: DrainEvent): void {
    const next = nextState(this.#state, event)
    if (next !== this.#state) this.#enter(next)
  }

  /** Resolves when the server is in `state` or a later one. */
  reached(state: DrainState): Promise<void> {
    if (isAt(this.#state, state)) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ state, resolve }))
  }

  #enter(state: DrainState): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#state = state
    const time = this.#timeOf(state)
    if (time === 0 && state === 'leaving') {
      this.on('elapsed')
      return
    }
    if (Number.isFinite(time)) this.#timer = this.#clock.after(time, () => this.on('elapsed'))
    const reached = this.#waiting.filter((one) => isAt(state, one.state))
    this.#waiting = this.#waiting.filter((one) => !reached.includes(one))
    for (const { resolve } of reached) resolve()
  }

  #timeOf(state: DrainState): number {
    switch (state) {
      case 'leaving':
        return this.#skipped === 'nothing' ? this.#times.delay : 0
      case 'draining':
        return this.#times.timeout
      case 'aborting':
        return this.#times.settle
      default:
        return Number.POSITIVE_INFINITY
    }
  }
}

function isAt(state: DrainState, wanted: DrainState): boolean {
  return ORDER.indexOf(state) >= ORDER.indexOf(wanted)
}
