/**
 * Keeps one link to one address: dials, and dials again when the link is lost or its container drains, at growing
 * intervals. Links that drain are left to end by themselves while the next one is made. It knows neither names nor
 * other addresses.
 */

import type { Socket } from 'node:net'
import { printAddress } from '../protocol/address.ts'
import { backoff } from '../protocol/backoff.ts'
import type { Timer } from '../protocol/clock.ts'
import { dial } from '../protocol/dial.ts'
import type { DialAddress } from './discovery.ts'
import type { Pool } from './pool.ts'
import { FramesUpstream, type LinkOptions } from './upstreams/frames.ts'

export interface DialOptions extends LinkOptions {
  readonly pool: Pool
  /** In [0, 1). */
  readonly random: () => number
  /** A link can take requests: the first, or one that was made again. */
  readonly onReady?: (() => void) | undefined
  /** For tests: opens a connection to an address. */
  readonly open?: ((address: DialAddress) => Socket) | undefined
}

/** Milliseconds after the first failure. */
const FIRST = 50
/** At most, milliseconds: the cost of a container that stays away. */
const MOST = 2_000
/** At most for a socket of this host, which costs next to nothing to try: it is taken again within about a second. */
const MOST_LOCAL = 1_000
/** At most while requests wait for anybody to come: the container's return is to be noticed at once. */
const MOST_WANTED = 250
/** A link that was ready for so long was a good one: what comes after it starts over with the shortest pause. */
const GOOD_LINK = 1_000
/** For a connection to be made, milliseconds. Addresses of hosts that are gone answer nothing at all. */
const CONNECT_TIMEOUT = 3_000

export class Dialer {
  readonly name: string
  readonly #address: DialAddress
  readonly #options: DialOptions
  #stopped = false
  #socket: Socket | undefined
  #link: FramesUpstream | undefined
  #timer: Timer | undefined
  /** When the timer is due. */
  #due = 0
  #failures = 0
  #logged = false
  #readyAt: number | undefined
  #dialledAt = Number.NEGATIVE_INFINITY

  constructor(address: DialAddress, options: DialOptions) {
    this.#address = address
    this.#options = options
    this.name = printAddress(address)
    this.#dial()
  }

  /** Dials now if it only waits to: something has changed, or somebody wants a container. */
  hurry(): void {
    if (this.#timer === undefined) return
    // Not more often than that, however often it is asked, and never later than it would.
    const due = this.#dialledAt + MOST_WANTED
    if (due >= this.#due) return
    this.#timer.cancel()
    this.#timer = undefined
    const wait = due - this.#options.clock.now()
    if (wait > 0) this.#dialIn(wait)
    else this.#dial()
  }

  /** The address is gone: what runs there is finished, and nothing new is sent. */
  stop(reason: string): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#socket?.destroy()
    this.#socket = undefined
    this.#link?.close(reason)
    this.#link = undefined
  }

  #dial(): void {
    const { clock } = this.#options
    this.#dialledAt = clock.now()
    const { open } = this.#options
    const socket = open ? open(this.#address) : dial(this.#address, false)
    this.#socket = socket
    const timeout = clock.after(CONNECT_TIMEOUT, () => {
      socket.destroy(new Error(`no connection within ${CONNECT_TIMEOUT / 1000} s`))
    })
    let failure: Error | undefined
    const onError = (error: Error): void => {
      failure = error
    }
    const onClose = (): void => {
      timeout.cancel()
      if (this.#socket !== socket) return
      this.#socket = undefined
      this.#failed(failure)
    }
    socket.on('error', onError)
    socket.on('close', onClose)
    socket.once('connect', () => {
      timeout.cancel()
      if (this.#socket !== socket) return
      this.#socket = undefined
      socket.off('close', onClose)
      this.#connected(socket)
      socket.off('error', onError)
    })
  }

  #connected(socket: Socket): void {
    const { pool, clock, log } = this.#options
    this.#readyAt = undefined
    const link = new FramesUpstream(socket, this.#options, {
      address: this.name,
      dialled: true,
      authenticated: this.#address.kind === 'tcp',
      onReady: () => {
        this.#readyAt = clock.now()
        if (this.#logged) log.info({ address: this.name }, 'container is reached again')
        this.#logged = false
        this.#options.onReady?.()
      },
      onLeaving: () => this.#lost(link, undefined),
      onClosed: (error) => this.#lost(link, error),
    })
    this.#link = link
    pool.add(link)
  }

  /** The present link drains or is closed. */
  #lost(link: FramesUpstream, error: Error | undefined): void {
    if (this.#link !== link) return
    this.#link = undefined
    if (this.#readyAt !== undefined && this.#options.clock.now() - this.#readyAt >= GOOD_LINK) this.#failures = 0
    this.#failed(this.#readyAt === undefined ? (error ?? new Error('the link was closed')) : undefined)
  }

  /** @param error why it is not reached; undefined when it was, and left */
  #failed(error: Error | undefined): void {
    if (this.#stopped) return
    this.#failures++
    if (error && !this.#logged) {
      this.#logged = true
      const fields = { address: this.name, error: error.message, ...this.#hint(error) }
      this.#options.log.warn(fields, 'container cannot be reached; trying again')
    }
    const local = this.#address.kind === 'unix'
    const most = this.#options.pool.queued > 0 ? MOST_WANTED : local ? MOST_LOCAL : MOST
    this.#dialIn(backoff(this.#failures, { first: FIRST, most }, this.#options.random))
  }

  /** The commonest mistake: a server that is no container answers, in HTTP, and its first byte is no frame of a handshake. */
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
