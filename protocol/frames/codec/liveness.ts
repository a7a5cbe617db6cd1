/**
 * Decides when a link with requests is dead: a table of the states of a link and the events that change them. It has no
 * timers, sockets or frames; `watch.ts` acts on the table, and closes a silent link without requests by itself.
 */

/**
 * - `alive`: bytes arrived after the last PING.
 * - `pinged`: a PING was sent, and no byte has arrived since then.
 * - `suspect`: the link was silent for too long. It gets no new requests; its requests in progress live until their own
 *   timeout.
 * - `questioned`: bytes arrived recently, but the same peer has completed a handshake on another link, the rival: the
 *   peer may have lost this link. A PING was sent on this link, and its answer has a deadline. The link gets no new
 *   requests, but does not count as silent.
 * - `challenged`: the same for a link that was suspect.
 * - `unconfirmed`: the link is still silent. A PING was sent on the rival: its PONG shows that the peer's event loop
 *   has run since then.
 * - `condemned`: the rival's PONG arrived. If the peer can be reached on this link, it has read our PING here. Bytes
 *   that it sent together with that PONG have a moment to arrive.
 * - `dead`: the link is closed at once.
 */
export type Life = 'alive' | 'pinged' | 'suspect' | 'questioned' | 'challenged' | 'unconfirmed' | 'condemned' | 'dead'

/**
 * - `received`: a byte arrived, of any frame.
 * - `timeout`: the timeout of the present state has passed. Time during which this process was paused does not count.
 * - `unreachable`: a new connection to the address was refused or timed out.
 * - `rival`: the same peer has completed a handshake on another link.
 * - `confirmed`: the rival's PONG arrived.
 * - `rival lost`: the rival was closed.
 */
export type LifeEvent = 'received' | 'timeout' | 'unreachable' | 'rival' | 'confirmed' | 'rival lost'

type Row = { readonly [E in LifeEvent]: Life }

/**
 * A refused connection says nothing about a link on which bytes arrive: a draining container has closed its listener.
 */
const TABLE: { readonly [L in Life]: Row } = {
  alive: {
    received: 'alive',
    timeout: 'pinged',
    unreachable: 'alive',
    rival: 'questioned',
    confirmed: 'alive',
    'rival lost': 'alive',
  },
  pinged: {
    received: 'alive',
    timeout: 'suspect',
    unreachable: 'pinged',
    rival: 'questioned',
    confirmed: 'pinged',
    'rival lost': 'pinged',
  },
  suspect: {
    received: 'alive',
    timeout: 'suspect',
    unreachable: 'dead',
    rival: 'challenged',
    confirmed: 'suspect',
    'rival lost': 'suspect',
  },
  questioned: {
    received: 'alive',
    timeout: 'unconfirmed',
    unreachable: 'questioned',
    rival: 'questioned',
    confirmed: 'questioned',
    'rival lost': 'pinged',
  },
  challenged: {
    received: 'alive',
    timeout: 'unconfirmed',
    unreachable: 'dead',
    rival: 'challenged',
    confirmed: 'challenged',
    'rival lost': 'suspect',
  },
  unconfirmed: {
    received: 'alive',
    timeout: 'unconfirmed',
    unreachable: 'dead',
    rival: 'unconfirmed',
    confirmed: 'condemned',
    'rival lost': 'suspect',
  },
  condemned: {
    received: 'alive',
    timeout: 'dead',
    unreachable: 'dead',
    rival: 'condemned',
    confirmed: 'condemned',
    'rival lost': 'condemned',
  },
  dead: {
    received: 'dead',
    timeout: 'dead',
    unreachable: 'dead',
    rival: 'dead',
    confirmed: 'dead',
    'rival lost': 'dead',
  },
}

/** The state that follows `life` after `event`. */
export function nextLife(life: Life, event: LifeEvent): Life {
  return TABLE[life][event]
}

/** Whether requests may be sent on a link in this state. */
export function isAnswering(life: Life): boolean {
  return life === 'alive' || life === 'pinged'
}

/** Whether the link has been silent for too long, so that its dialer must open another connection. */
export function isSilent(life: Life): boolean {
  return !isAnswering(life) && life !== 'questioned'
}

/** Timeouts of a link, milliseconds. */
export interface LivenessTimes {
  /** Interval between two PINGs. */
  readonly pingInterval: number
  /** Time from an unanswered PING to `suspect`. */
  readonly suspectAfter: number
  /** Time for a link to answer after the same peer has answered on another link. */
  readonly probeGrace: number
  /** Time until a suspect link without requests is closed. */
  readonly silenceTimeout: number
}

/** The defaults of `--ping-interval` and the other liveness options; `common-options.ts` has the reasons. */
export const USUAL_TIMES: LivenessTimes = {
  pingInterval: 5_000,
  suspectAfter: 2_000,
  probeGrace: 1_000,
  silenceTimeout: 60_000,
}

/**
 * The lowest assumed throughput of a live link, bytes per second. A PING cannot overtake bytes that are already in the
 * operating system's buffers, which hold several MiB.
 */
const SLOWEST = 64 * 1024

/**
 * How long a link may stay in a state before its `timeout` event, milliseconds.
 *
 * @param unanswered bytes written since the last byte arrived
 */
export function timeoutIn(life: Life, times: LivenessTimes, unanswered: number): number {
  switch (life) {
    case 'alive':
      return times.pingInterval
    case 'pinged':
      return times.suspectAfter
    case 'suspect':
      return times.silenceTimeout
    case 'questioned':
    case 'challenged':
      return times.probeGrace + (unanswered / SLOWEST) * 1_000
    case 'condemned':
      return times.probeGrace
    default:
      return Number.POSITIVE_INFINITY
  }
}
