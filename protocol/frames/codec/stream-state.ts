/**
 * The states of a stream as data: one table for the request, which the caller sends, and one for the response, which
 * the server sends. `nextState` is the only lookup. Credit and queued bytes are fields of the stream, not states.
 */

import { localError, peerError } from '../../contract/coded-errors.ts'
import type { Role } from './hello.ts'

/** What the caller sends on a stream. */
export const RequestState = {
  /** Body may follow. */
  OPEN: 0,
  /** As OPEN, but the body has no credit before the first WINDOW (`Expect: 100-continue`). */
  HELD: 1,
  /** Asked for an upgrade: nothing may follow before the response head. */
  UPGRADE_ASKED: 2,
  /** The server answered the upgrade with an ordinary response: nothing may follow. */
  UPGRADE_DECLINED: 3,
  /** The server answered with 101: raw bytes may follow. */
  UPGRADED: 4,
  /** This side has queued the END, and has not written it. */
  ENDING: 5,
  /** The END was written, or has arrived. */
  ENDED: 6,
  /** The stream is closed. */
  CLOSED: 7,
} as const

/** What the server sends on a stream. The three closed states remember what a retry depends on (SPEC.md, section 7). */
export const ResponseState = {
  /** Nothing has shown that the application runs. */
  WAITING: 8,
  /** STARTED or INFORM: the application runs. */
  STARTED: 9,
  /** The head was sent: body may follow. */
  OPEN: 10,
  /** This side has queued the END, and has not written it. */
  ENDING: 11,
  /** The head was a 101: raw bytes may follow. */
  UPGRADED: 12,
  /** As ENDING, after a 101. */
  UPGRADED_ENDING: 13,
  /** The END after a 101: the stream stays open until the request has ended too. */
  UPGRADED_ENDED: 14,
  /** The stream is closed, and nothing had shown that the application runs. */
  CLOSED_WAITING: 15,
  /** The stream is closed; the application ran, and no head was sent. */
  CLOSED_STARTED: 16,
  /** The stream is closed after its head. */
  CLOSED_RESPONDED: 17,
} as const

export type RequestState = (typeof RequestState)[keyof typeof RequestState]
export type ResponseState = (typeof ResponseState)[keyof typeof ResponseState]
export type StreamState = RequestState | ResponseState

/** What happens on a stream, whichever side does it. */
export const StreamEvent = {
  /** STARTED. */
  START: 0,
  /** INFORM. */
  INFORM: 1,
  /** RESPONSE, but for a 101. */
  HEAD: 2,
  /** RESPONSE with status 101. */
  UPGRADE: 3,
  /** Body was given to this side to send, or has arrived. */
  DATA: 4,
  /** This side is given the end, which waits behind queued body. */
  QUEUE_END: 5,
  /** The END flag is written, or has arrived. */
  END: 6,
  /** TRAILERS are given to this side to send, or have arrived. */
  TRAILERS: 7,
  /** WINDOW for the request. */
  CREDIT: 8,
  /** GOAWAY: the server did not accept the request. */
  UNTAKEN: 9,
  /** RESET, the end of the response, or the end of the link. */
  CLOSE: 10,
} as const

export type StreamEvent = (typeof StreamEvent)[keyof typeof StreamEvent]

type EventName = keyof typeof StreamEvent
type Rows<S extends string> = { readonly [N in S]: { readonly [E in EventName]?: S } }

/** Every legal event of the request, with the state that follows. */
const REQUEST_TABLE: Rows<keyof typeof RequestState> = {
  OPEN: {
    HEAD: 'OPEN',
    DATA: 'OPEN',
    QUEUE_END: 'ENDING',
    END: 'ENDED',
    TRAILERS: 'ENDED',
    CREDIT: 'OPEN',
    CLOSE: 'CLOSED',
  },
  HELD: {
    HEAD: 'HELD',
    DATA: 'HELD',
    QUEUE_END: 'ENDING',
    END: 'ENDED',
    TRAILERS: 'ENDED',
    CREDIT: 'OPEN',
    CLOSE: 'CLOSED',
  },
  UPGRADE_ASKED: { HEAD: 'UPGRADE_DECLINED', UPGRADE: 'UPGRADED', CREDIT: 'UPGRADE_ASKED', CLOSE: 'CLOSED' },
  UPGRADE_DECLINED: { CREDIT: 'UPGRADE_DECLINED', CLOSE: 'CLOSED' },
  UPGRADED: { DATA: 'UPGRADED', QUEUE_END: 'ENDING', END: 'ENDED', CREDIT: 'UPGRADED', CLOSE: 'CLOSED' },
  ENDING: { HEAD: 'ENDING', END: 'ENDED', CREDIT: 'ENDING', CLOSE: 'CLOSED' },
  ENDED: { HEAD: 'ENDED', CREDIT: 'ENDED', CLOSE: 'CLOSED' },
  CLOSED: all('CLOSED'),
}

/** Every legal event of the response, with the state that follows. */
const RESPONSE_TABLE: Rows<keyof typeof ResponseState> = {
  WAITING: {
    START: 'STARTED',
    INFORM: 'STARTED',
    HEAD: 'OPEN',
    UPGRADE: 'UPGRADED',
    UNTAKEN: 'CLOSED_WAITING',
    CLOSE: 'CLOSED_WAITING',
  },
  STARTED: { START: 'STARTED', INFORM: 'STARTED', HEAD: 'OPEN', UPGRADE: 'UPGRADED', CLOSE: 'CLOSED_STARTED' },
  OPEN: {
    START: 'OPEN',
    DATA: 'OPEN',
    QUEUE_END: 'ENDING',
    END: 'CLOSED_RESPONDED',
    TRAILERS: 'CLOSED_RESPONDED',
    CLOSE: 'CLOSED_RESPONDED',
  },
  ENDING: { START: 'ENDING', END: 'CLOSED_RESPONDED', CLOSE: 'CLOSED_RESPONDED' },
  UPGRADED: {
    START: 'UPGRADED',
    DATA: 'UPGRADED',
    QUEUE_END: 'UPGRADED_ENDING',
    END: 'UPGRADED_ENDED',
    CLOSE: 'CLOSED_RESPONDED',
  },
  UPGRADED_ENDING: { START: 'UPGRADED_ENDING', END: 'UPGRADED_ENDED', CLOSE: 'CLOSED_RESPONDED' },
  UPGRADED_ENDED: { START: 'UPGRADED_ENDED', CLOSE: 'CLOSED_RESPONDED' },
  CLOSED_WAITING: all('CLOSED_WAITING'),
  CLOSED_STARTED: all('CLOSED_STARTED'),
  CLOSED_RESPONDED: all('CLOSED_RESPONDED'),
}

/** A closed stream ignores every event: frames for it were on their way when it closed (SPEC.md, section 4). */
function all<S extends string>(state: S): { readonly [E in EventName]: S } {
  return Object.fromEntries(Object.keys(StreamEvent).map((event) => [event, state])) as { [E in EventName]: S }
}

const EVENT_NAMES = Object.keys(StreamEvent) as EventName[]
const STATE_NAMES: readonly string[] = [
  ...Object.keys(RequestState).map((name) => `request ${name}`),
  ...Object.keys(ResponseState).map((name) => `response ${name}`),
]
const EVENTS = EVENT_NAMES.length
const ILLEGAL = -1

/** Both tables as one flat array: a lookup costs one read. A state's number says which table it is from. */
const NEXT = new Int8Array(STATE_NAMES.length * EVENTS).fill(ILLEGAL)

compile(REQUEST_TABLE, RequestState)
compile(RESPONSE_TABLE, ResponseState)

function compile<S extends string>(rows: Rows<S>, numbers: { readonly [N in S]: number }): void {
  for (const state in rows) {
    for (const event in rows[state]) {
      NEXT[numbers[state] * EVENTS + StreamEvent[event as EventName]] = numbers[rows[state][event as EventName]!]
    }
  }
}

/** The stream of an event, for the error of an illegal event. */
interface StreamIdentity {
  readonly id: number
  /** The side that this process has on the link. */
  readonly role: Role
}

/**
 * The state that follows `state` after `event`.
 *
 * @param by the side that the event comes from
 * @throws LocalProtocolError (`by` is this side: our misuse) or RemoteProtocolError (the peer's fault) with code
 *   `TOO_EARLY`, `ENDED`, `RESPONDED`, `NOT_UPGRADE` or `GOAWAY` if the event is illegal in the state
 */
export function nextState<S extends StreamState>(state: S, event: StreamEvent, by: Role, stream: StreamIdentity): S {
  const next = NEXT[state * EVENTS + event]!
  if (next === ILLEGAL) throw illegal(state, event, by, stream)
  return next as S
}

function illegal(state: StreamState, event: StreamEvent, by: Role, stream: StreamIdentity): Error {
  const code = codeOf(state, event)
  const action = `the ${by} must not send ${EVENT_NAMES[event]} in state ${STATE_NAMES[state]}`
  const message = `stream ${stream.id}: ${action}: ${REASONS[code]}`
  return by === stream.role ? localError(code, message) : peerError(code, message)
}

const REASONS = {
  GOAWAY: 'the request was started, so it was accepted',
  NOT_UPGRADE: 'a 101 was given, and the request asks for no upgrade',
  RESPONDED: 'the stream has its response head',
  ENDED: 'this direction has ended',
  TOO_EARLY: 'the stream must be in another state first',
} as const

function codeOf(state: StreamState, event: StreamEvent): keyof typeof REASONS {
  switch (event) {
    case StreamEvent.UNTAKEN:
      return 'GOAWAY'
    case StreamEvent.UPGRADE:
      return REFUSES_UPGRADE[state] === 1 ? 'NOT_UPGRADE' : 'RESPONDED'
    case StreamEvent.HEAD:
    case StreamEvent.INFORM:
      return 'RESPONDED'
    default:
      return HAS_END[state] === 1 ? 'ENDED' : 'TOO_EARLY'
  }
}

// ---- questions about a state ----------------------------------------------------------------------------------------

function states(...numbers: StreamState[]): Uint8Array {
  const members = new Uint8Array(STATE_NAMES.length)
  for (const number of numbers) members[number] = 1
  return members
}

const IS_ENDING = states(RequestState.ENDING, ResponseState.ENDING, ResponseState.UPGRADED_ENDING)
/** States in which the END is queued, was written or has arrived: a later event of this direction gets `ENDED`. */
const HAS_END = states(
  RequestState.ENDING,
  RequestState.ENDED,
  ResponseState.ENDING,
  ResponseState.UPGRADED_ENDING,
  ResponseState.UPGRADED_ENDED,
)
const REFUSES_UPGRADE = states(RequestState.OPEN, RequestState.HELD, RequestState.ENDING, RequestState.ENDED)
const IS_ENDED = states(
  RequestState.ENDED,
  RequestState.CLOSED,
  ResponseState.UPGRADED_ENDED,
  ResponseState.CLOSED_WAITING,
  ResponseState.CLOSED_STARTED,
  ResponseState.CLOSED_RESPONDED,
)
const IS_RESPONDED = states(
  ResponseState.OPEN,
  ResponseState.ENDING,
  ResponseState.UPGRADED,
  ResponseState.UPGRADED_ENDING,
  ResponseState.UPGRADED_ENDED,
  ResponseState.CLOSED_RESPONDED,
)

const TAKES_DATA = states(
  RequestState.OPEN,
  RequestState.HELD,
  RequestState.UPGRADED,
  ResponseState.OPEN,
  ResponseState.UPGRADED,
)

/** Whether this side has queued the END of this direction, and has not written it. */
export function isEnding(state: StreamState): boolean {
  return IS_ENDING[state] === 1
}

/** Whether body may be added to this direction. */
export function takesData(state: StreamState): boolean {
  return TAKES_DATA[state] === 1
}

/** Whether the END of this direction was written or has arrived, or the stream is closed. */
export function isEnded(state: StreamState): boolean {
  return IS_ENDED[state] === 1
}

/** Whether a response head was sent, closed streams included. */
export function hasHead(state: ResponseState): boolean {
  return IS_RESPONDED[state] === 1
}

/** Whether something has shown that the application runs, closed streams included. */
export function hasStarted(state: ResponseState): boolean {
  return state !== ResponseState.WAITING && state !== ResponseState.CLOSED_WAITING
}
