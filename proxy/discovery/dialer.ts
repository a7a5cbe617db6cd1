/**
 * Keeps one link to one address: dials, and redials with backoff after the link is lost or silent, or its container
 * drains. A link that is replaced finishes its requests. Host names and other addresses are left to `upstream-set.ts`.
 */

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { FramesUpstream, type LinkOptions } from '../../pool/frames-upstream.ts'
import type { Pool } from '../../pool/pool.ts'
import { printAddress } from '../../protocol/net/address.ts'
import { backoff } from '../../protocol/net/backoff.ts'
import type { Timer } from '../../protocol/net/clock.ts'
import {
  CONNECT_TIMEOUT,
  Dialling,
  dial,
  HELLO_EXPECTED,
  HELLO_PATIENCE,
  type Verdict,
} from '../../protocol/net/dial.ts'
import { afterSilence } from '../../protocol/net/silence-timer.ts'
import { identityOf, removeStale } from '../../protocol/net/stale-socket.ts'
import { isTimeout, LastReason, type Phase, whyUnreachable } from '../../protocol/net/unreachable.ts'
import type { DialAddress } from './report.ts'
import type { SocketFile } from './socket-file.ts'

export interface DialOptions extends LinkOptions {
  readonly pool: Pool
  /** Returns numbers in [0, 1). */
  readonly random: () => number
  /** Connect timeout, milliseconds. */
  readonly connectTimeout?: number | undefined
  /** Called when a link can take requests: the first link, or one that replaces it. */
  readonly onReady?: (() => void) | undefined
  /** For tests: opens a connection to an address. */
  readonly open?: ((address: DialAddress) => Socket) | undefined
}

/** Pause after the first failure, ms. */
const FIRST = 50
/** Longest pause, ms: what a container costs that does not return. */
const MOST = 2_000
/**
 * Longest pause for a socket of this host, ms. A dial costs little there, so a container is found within about a
 * second.
 */
const MOST_LOCAL = 1_000
/** Longest pause while requests wait for a container, ms: its return must be noticed quickly. */
const MOST_WANTED = 250
/** After a link that was ready for this long, ms, the backoff starts again with the shortest pause. */
const GOOD_LINK = 1_000

export class Dialer {
  readonly name: string
  readonly #address: DialAddress
  readonly #options: DialOptions
  readonly #file: SocketFile | undefined
  #stopped = false
  /** The socket file is left over from a killed process: it is not dialled until it is replaced. */
  #waitsForFile = false
  /** The current link: its handshake is complete. It may be silent. */
  #link: FramesUpstream | undefined
  /** The attempt to make or replace the link. At most one of these three is set, and none while the link answers. */
  #timer: Timer | undefined
  #dialling: Dialling | undefined
  #next: FramesUpstream | undefined
  /** Fires when the container should have completed its handshake. */
  #expected: Timer | undefined
  /** When the timer fires. */
  #due = 0
  #failures = 0
  /** Consecutive connections that were accepted but whose handshake did not complete. */
  #unanswered = 0
  /** The last logged reason why the container cannot be reached. */
  readonly #reason: LastReason = new LastReason()
  #readyAt: number | undefined
  #dialledAt = Number.NEGATIVE_INFINITY

  /** @param file for a socket in a watched directory; its owner calls `changed` when the directory changes */
  constructor(address: DialAddress, options: DialOptions, file?: SocketFile) {
    this.#address = address
    this.#options = options
    this.#file = file
    this.name = printAddress(address)
    this.#dial()
  }

  /** Ends a pause before the next dial: something has changed, or a request waits for a container. */
  dialNow(): void {
    if (this.#timer === undefined) return
    // At most once in this time, however often this is called, and never later than planned.
    const due = this.#dialledAt + MOST_WANTED
    if (due >= this.#due) return
    this.#timer.cancel()
    this.#timer = undefined
    const wait = due - this.#options.clock.now()
    if (wait > 0) this.#dialIn(wait)
    else this.#dial()
  }

  /** Something in the watched directory has changed: this socket file or another one. */
  changed(): void {
    if (!this.#waitsForFile) this.dialNow()
    else if (!this.#stopped && !this.#file?.is(identityOf(this.#file.path))) {
      this.#waitsForFile = false
      this.#failures = 0
      this.#dial()
    }
  }

  /** Dials no more, since no request needs another link, and keeps the current link while it lasts. */
  stopDialling(reason: string): void {
    this.#stopped = true
    this.#cancelReplacement(reason)
  }

  /** The address does not exist any more: running requests finish, and no new ones are sent. */
  stop(reason: string): void {
    this.stopDialling(reason)
    this.#link?.close(reason)
    this.#link = undefined
  }

  /** Cancels the attempt to replace the current link. */
  #cancelReplacement(reason: string): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dialling?.cancel()
    this.#dialling = undefined
    const next = this.#next
    this.#next = undefined
    this.#expected?.cancel()
    next?.close(reason)
  }

  #dial(): void {
    const { clock, open, connectTimeout = CONNECT_TIMEOUT } = this.#options
    this.#dialledAt = clock.now()
    this.#file?.dialled(identityOf(this.#file.path))
    const socket = open ? open(this.#address) : dial(this.#address, false)
    this.#dialling = new Dialling(socket, clock, connectTimeout, {
      connected: (made) => this.#connected(made),
      failed: (error, verdict) => {
        this.#dialling = undefined
        this.#notReached(error, verdict)
      },
    })
  }

  #notReached(error: Error, verdict: Verdict): void {
    // Closes the current link if it is silent; a link on which bytes arrive stays.
    if (verdict === 'gone') this.#link?.unreachable()
    this.#failed(error, 'connect')
  }

  #connected(socket: Socket): void {
    const { pool, clock, random } = this.#options
    this.#dialling = undefined
    const link = new FramesUpstream(socket, this.#options, {
      address: this.name,
      dialled: true,
      authenticated: this.#address.kind === 'tcp',
      handshakeTimeout: backoff(this.#unanswered + 1, HELLO_PATIENCE, random),
      onReady: () => this.#ready(link),
      onAnsweringChange: (isAnswering) => this.#answeringChanged(link, isAnswering),
      onLeaving: () => this.#lost(link, undefined),
      onClosed: (error) => this.#lost(link, error),
    })
    this.#next = link
    this.#expected = afterSilence(clock, HELLO_EXPECTED, () => this.#warnOfLateHandshake())
    pool.add(link)
  }

  /** Logs that the handshake is late. If there is a current link, its silence was logged already. */
  #warnOfLateHandshake(): void {
    const late = { phase: 'handshake', reason: 'timeout', code: 'TIMEOUT' } as const
    if (this.#link || !this.#reason.changes(late)) return
    this.#options.log.warn(
      { address: this.name, ...late },
      'connection accepted, but no handshake yet: is this a container, and is its event loop blocked?',
    )
  }

  #ready(link: FramesUpstream): void {
    if (this.#next !== link) return
    const { clock, log, onReady } = this.#options
    const before = this.#link
    this.#next = undefined
    this.#expected?.cancel()
    this.#file?.reached()
    this.#link = link
    this.#unanswered = 0
    this.#readyAt = clock.now()
    if (this.#reason.end()) log.info({ address: this.name }, 'container is reached again')
    // Drain the old link, do not destroy it: `liveness.ts` decides whether its requests are lost.
    before?.close('the container did not answer on this link; another link replaces it')
    onReady?.()
  }

  /** The current link has become silent, or the container answers on it again. */
  #answeringChanged(link: FramesUpstream, isAnswering: boolean): void {
    if (this.#link !== link || this.#stopped) return
    if (isAnswering) {
      this.#cancelReplacement('the container answers on the previous link again')
      this.#failures = 0
    } else if (!this.#isReplacing) this.#dial()
  }

  /** Whether an attempt to replace the link is in progress or scheduled. */
  get #isReplacing(): boolean {
    return this.#timer !== undefined || this.#dialling !== undefined || this.#next !== undefined
  }

  /** A link drains or is closed. */
  #lost(link: FramesUpstream, error: Error | undefined): void {
    if (this.#next === link) {
      this.#next = undefined
      this.#expected?.cancel()
      if (isTimeout(error)) this.#unanswered++
      this.#failed(error ?? new Error('the link was closed'), 'handshake')
    } else if (this.#link === link) {
      this.#link = undefined
      if (this.#readyAt !== undefined && this.#options.clock.now() - this.#readyAt >= GOOD_LINK) this.#failures = 0
      if (!this.#isReplacing && !this.#waitsForFile) this.#failed(undefined)
    }
  }

  /** @param error why the container is not reached; undefined: it was reached, and its link has ended */
  #failed(error: Error | undefined, phase: Phase = 'connect'): void {
    if (this.#stopped) return
    if (error && this.#isLeftOver(error)) {
      this.#waitsForFile = true
      this.#reason.changes(whyUnreachable(error, phase))
      return
    }
    this.#failures++
    const why = error && whyUnreachable(error, phase)
    if (why && this.#reason.changes(why)) {
      const fields = { address: this.name, ...why, ...this.#hint(error) }
      this.#options.log.warn(fields, 'container cannot be reached; trying again')
    }
    const local = this.#address.kind === 'unix'
    const most = this.#options.pool.queued > 0 ? MOST_WANTED : local ? MOST_LOCAL : MOST
    this.#dialIn(backoff(this.#failures, { first: FIRST, most }, this.#options.random))
  }

  /** Whether no process listens on the socket file any more. Removes the file if that is certain. */
  #isLeftOver(error: Error): boolean {
    const { clock, log } = this.#options
    const file = this.#file
    const state = file?.failed('code' in error ? error.code : undefined, clock.now()) ?? 'unknown'
    if (!file?.identity || state === 'unknown') return false
    const fields = { address: this.name }
    let hint = 'remove it if its container is gone'
    if (state === 'dead') {
      try {
        removeStale(file.path, file.identity, join(dirname(file.path), `.${randomBytes(6).toString('hex')}`))
        log.info(fields, 'removed the socket file of a container that has ended without removing it')
        return true
      } catch (failure) {
        hint = `it cannot be removed: ${(failure as Error).message}`
      }
    }
    log.warn({ ...fields, hint }, 'no process listens on this socket file; it is dialled again when it is replaced')
    return true
  }

  /**
   * The most common mistake: an HTTP server listens there, not a container, so the handshake fails at its first byte.
   */
  #hint(error: Error): { hint?: string } {
    if (!('code' in error) || error.code !== 'HANDSHAKE' || this.#address.kind !== 'tcp') return {}
    return { hint: `if a server that speaks HTTP listens there, write --upstream http://${this.name}` }
  }

  #dialIn(milliseconds: number): void {
    this.#due = this.#options.clock.now() + milliseconds
    this.#timer = this.#options.clock.after(milliseconds, () => {
      this.#timer = undefined
      this.#dial()
    })
  }
}
