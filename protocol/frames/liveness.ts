/**
 * Decides when a link is dead: the states of a link's life and the events that change them, as a table without timers,
 * sockets or frames. `watch.ts` acts on it.
 */

/**
 * - `alive`: bytes arrived since the last PING.
 * - `pinged`: a PING was sent and no byte has arrived since.
 * - `suspect`: silent for too long. No new request is sent; running requests continue until their own timeout.
 * - `challenged`: the same peer answers on another link, the rival. A PING was sent here, and has a limited time to be
 * answered.
 * - `unconfirmed`: still silent. A PING was sent on the rival, to see whether the peer's event loop has run since.
 * - `condemned`: the rival's PONG arrived, so the peer has also read our PING here, if this link still works. Bytes
 * that it sent
 *   together with that PONG have a moment to arrive.
 * - `dead`: to be closed at once.
 */
export type Life = 'alive' | 'pinged' | 'suspect' | 'challenged' | 'unconfirmed' | 'condemned' | 'dead'

/**
 * - `heard`: a byte arrived, whatever it is.
 * - `timeout`: the time of the present state has passed, not counting pauses of this process.
 * - `unreachable`: a new connection to the address was refused or timed out.
 * - `rival`: the same peer has completed a handshake on another link.
 * - `confirmed`: the rival's PONG arrived.
 * - `rival lost`: the rival was closed.
 */
export type LifeEvent = 'heard' | 'timeout' | 'unreachable' | 'rival' | 'confirmed' | 'rival lost'

type Row = { readonly [E in LifeEvent]: Life }

/**
 * A refused connection says nothing about a link on which bytes arrive: a draining container has closed its listener.
 */
const TABLE: { readonly [L in Life]: Row } = {
  alive: {
    heard: 'alive',
    timeout: 'pinged',
    unreachable: 'alive',
    rival: 'challenged',
    confirmed: 'alive',
    'rival lost': 'alive',
  },
  pinged: {
    heard: 'alive',
    timeout: 'suspect',
    unreachable: 'pinged',
    rival: 'challenged',
    confirmed: 'pinged',
    'rival lost': 'pinged',
  },
  suspect: {
    heard: 'alive',
    timeout: 'suspect',
    unreachable: 'dead',
    rival: 'challenged',
    confirmed: 'suspect',
    'rival lost': 'suspect',
  },
  challenged: {
    heard: 'alive',
    timeout: 'unconfirmed',
    unreachable: 'dead',
    rival: 'challenged',
    confirmed: 'challenged',
    'rival lost': 'suspect',
  },
  unconfirmed: {
    heard: 'alive',
    timeout: 'unconfirmed',
    unreachable: 'dead',
    rival: 'unconfirmed',
    confirmed: 'condemned',
    'rival lost': 'suspect',
  },
  condemned: {
    heard: 'alive',
    timeout: 'dead',
    unreachable: 'dead',
    rival: 'condemned',
    confirmed: 'condemned',
    'rival lost': 'condemned',
  },
  dead: {
    heard: 'dead',
    timeout: 'dead',
    unreachable: 'dead',
    rival: 'dead',
    confirmed: 'dead',
    'rival lost': 'dead',
  },
}

export function nextLife(life: Life, event: LifeEvent): Life {
  return TABLE[life][event]
}

/** Whether requests may be sent on a link in this state. */
export function isTrusted(life: Life): boolean {
  return life === 'alive' || life === 'pinged'
}

/** Times of a link's life, milliseconds. */
export interface LivenessTimes {
  /** Between two PINGs. */
  readonly pingInterval: number
  /** From a PING without an answer to `suspect`. */
  readonly suspectAfter: number
  /** For a link to answer after the same peer has answered on another link. */
  readonly probeGrace: number
  /** After which a suspect link without requests is closed. */
  readonly silenceTimeout: number
}

/** The defaults of `--ping-interval` and so on; `common-options.ts` has the reasons. */
export const USUAL_TIMES: LivenessTimes = {
  pingInterval: 5_000,
  suspectAfter: 2_000,
  probeGrace: 1_000,
  silenceTimeout: 60_000,
}

/**
 * Bytes per second that a live link is assumed to carry at least. A PING waits behind bytes written before it in the
 * system's buffers, some MiB of them, which nothing can overtake.
 */
const SLOWEST = 64 * 1024

/**
 * How long a link may stay in a state before its `timeout`, milliseconds.
 *
 * @param unheard bytes written since the last byte arrived
 */
export function patienceIn(life: Life, times: LivenessTimes, unheard: number): number {
  switch (life) {
    case 'alive':
      return times.pingInterval
    case 'pinged':
      return times.suspectAfter
    case 'suspect':
      return times.silenceTimeout
    case 'challenged':
      return times.probeGrace + (unheard / SLOWEST) * 1_000
    case 'condemned':
      return times.probeGrace
    default:
      return Number.POSITIVE_INFINITY
  }
}
