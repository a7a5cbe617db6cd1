/**
 * Watches one link by the table of `liveness.ts`: sends PINGs, measures silence, and closes a dead link. `PeerLinks`
 * groups the links of this process by peer, so that a new link to a peer challenges the older links. It does not dial.
 */

import type { Clock, Timer } from '../net/clock.ts'
import { afterSilence } from '../net/silence-timer.ts'
import type { Identity } from './codec/hello.ts'
import {
  isAnswering,
  isSilent,
  type Life,
  type LifeEvent,
  type LivenessTimes,
  nextLife,
  timeoutIn,
} from './codec/liveness.ts'

/** The watched link. */
export interface WatchedLink {
  readonly peer: Identity | undefined
  /** Whether the peer has sent GOAWAY: it will close the link, and may have closed its listener already. */
  readonly peerGoingAway: boolean
  /** Whether streams are open. */
  readonly busy: boolean
  /** Sends a PING. Resolves with the round-trip time when the PONG arrives; rejects if the link closes first. */
  ping(): Promise<number>
  /** Accepts no new requests, finishes those in progress, then closes. */
  close(reason: string): void
  destroy(error: Error): void
}

export interface WatchOptions {
  readonly times: LivenessTimes
  /** The links of this process by peer; undefined: this link is not compared with other links. */
  readonly peers?: PeerLinks | undefined
  /** The link's state has changed. */
  readonly onLife?: ((life: Life, before: Life) => void) | undefined
}

/** How long a silent link may take to close after we have ended our side, milliseconds. Then it is destroyed. */
const CLOSE_GRACE = 2_000

export class LinkWatch {
  readonly #link: WatchedLink
  readonly #clock: Clock
  readonly #options: WatchOptions
  #life: Life = 'alive'
  /** Between `start` and `stop`. */
  #running = false
  #timer: Timer | undefined
  /** Bytes written since the last byte arrived. */
  #unanswered = 0
  #rival: LinkWatch | undefined
  /** When the first PING without an answer was sent. */
  #silentSince = 0

  constructor(link: WatchedLink, clock: Clock, options: WatchOptions) {
    this.#link = link
    this.#clock = clock
    this.#options = options
  }

  get life(): Life {
    return this.#life
  }

  get isAnswering(): boolean {
    return isAnswering(this.#life)
  }

  get silent(): boolean {
    return isSilent(this.#life)
  }

  get link(): WatchedLink {
    return this.#link
  }

  /** The link is ready. */
  start(): void {
    this.#running = true
    this.#wait()
    this.#options.peers?.add(this)
  }

  /** The link is closed. */
  stop(): void {
    if (!this.#running) return
    this.#running = false
    this.#timer?.cancel()
    this.#options.peers?.delete(this)
  }

  /** Bytes arrived. Called on every read: cheap unless it changes the state. */
  received(): void {
    this.#unanswered = 0
    if (this.#life !== 'alive') this.#on('received')
  }

  /** Bytes were written. */
  sent(bytes: number): void {
    this.#unanswered += bytes
  }

  /**
   * A new connection to the peer's address was refused or timed out. This proves nothing about the links of a draining
   * peer, which has closed its listener.
   */
  unreachable(): void {
    if (this.#link.peerGoingAway) return
    // First read the bytes that wait in the socket.
    setImmediate(() => this.#on('unreachable'))
  }

  /** The same peer has completed a handshake on another link, `rival`. */
  challenge(rival: LinkWatch): void {
    if (this.#link.peerGoingAway || !this.#running) return
    if (!this.#rival?.isAnswering) {
      this.#rival = rival
      // The previous rival has become silent itself.
      if (this.#life === 'unconfirmed') this.#askRival()
    }
    this.#on('rival')
  }

  /** `rival` is closed. */
  unchallenged(rival: LinkWatch): void {
    if (this.#rival !== rival) return
    this.#rival = undefined
    this.#on('rival lost')
  }

  // ---- internals -------------------------------------------------------------------------------------------------

  #on(event: LifeEvent): void {
    if (!this.#running) return
    const before = this.#life
    const life = nextLife(before, event)
    if (life === before && event !== 'timeout') return
    this.#life = life
    if (isAnswering(life)) this.#rival = undefined
    if (life !== before) this.#options.onLife?.(life, before)
    // `onLife` may have closed the link.
    if (!this.#running || this.#life !== life) return
    this.#enter(life, before)
  }

  #enter(life: Life, before: Life): void {
    const now = this.#clock.now()
    if (before === 'alive') this.#silentSince = now
    if (life === 'pinged' || life === 'questioned' || life === 'challenged') this.#link.ping().catch(ignored)
    else if (life === 'unconfirmed') this.#askRival()
    else if (life === 'dead') {
      this.#link.destroy(new Error(`the peer has not answered for ${Math.round(now - this.#silentSince)} ms`))
      return
    }
    if (life === 'suspect') {
      if (before === 'suspect' && !this.#link.busy) {
        this.#end()
        return
      }
      const rival = this.#options.peers?.other(this)
      if (rival) {
        this.challenge(rival)
        return
      }
    }
    this.#wait()
  }

  #wait(): void {
    this.#timer?.cancel()
    const timeout = timeoutIn(this.#life, this.#options.times, this.#unanswered)
    const passed = (): void => this.#on('timeout')
    // This timeout only sends a PING, so it does not need `afterSilence`.
    this.#timer =
      this.#life === 'alive' ? this.#clock.after(timeout, passed) : afterSilence(this.#clock, timeout, passed)
  }

  #askRival(): void {
    const rival = this.#rival
    if (!rival) {
      this.#on('rival lost')
      return
    }
    rival.link.ping().then(
      () => {
        if (this.#rival === rival) this.#on('confirmed')
      },
      () => this.unchallenged(rival),
    )
  }

  /** The link is silent, and no request runs on it. */
  #end(): void {
    this.#timer?.cancel()
    this.#timer = afterSilence(this.#clock, CLOSE_GRACE, () => {
      if (this.#life === 'suspect')
        this.#link.destroy(new Error('the peer has not answered, and no request ran on the link'))
    })
    this.#link.close('the peer has not answered')
  }
}

/** The open links of this process, by peer. */
export class PeerLinks {
  readonly #links: Map<string, Set<LinkWatch>> = new Map()

  /** A link is ready: challenges older links of the same peer. */
  add(watch: LinkWatch): void {
    const key = keyOf(watch)
    if (key === undefined) return
    let links = this.#links.get(key)
    if (!links) this.#links.set(key, (links = new Set()))
    const others = [...links]
    links.add(watch)
    for (const other of others) other.challenge(watch)
  }

  delete(watch: LinkWatch): void {
    const key = keyOf(watch)
    const links = key === undefined ? undefined : this.#links.get(key)
    if (!links?.delete(watch)) return
    if (links.size === 0) this.#links.delete(key!)
    for (const other of links) other.unchallenged(watch)
  }

  /** Another link to the same peer that is not silent. */
  other(watch: LinkWatch): LinkWatch | undefined {
    const key = keyOf(watch)
    for (const other of (key === undefined ? undefined : this.#links.get(key)) ?? []) {
      if (other !== watch && other.isAnswering) return other
    }
    return undefined
  }
}

/**
 * The key of a peer's process. Workers of one process group share the id, so the worker's number is part of the key. A
 * peer without an id cannot be recognised. Two processes may have the same id (the default is host name and process id,
 * which is 1 in each container of a host network), and an answer of one proves nothing about the other. So the random
 * instance is part of the key too.
 */
function keyOf({ link: { peer } }: LinkWatch): string | undefined {
  return peer === undefined || peer.id === '' ? undefined : `${peer.id}/${peer.worker}/${peer.instance ?? ''}`
}

function ignored(): void {}
