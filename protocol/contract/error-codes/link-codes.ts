/**
 * Codes of links between proxies and containers: why one was not made, or ended. `error-codes.ts` says how to read a
 * row.
 */

/** What an operator can cause and correct. */
export const reachCodes = {
  CONNECT_TIMEOUT: {
    means: 'The peer did not accept a connection in time.',
    fix: 'A firewall drops packets, or the host is down.',
  },
  TIMEOUT: {
    means: 'The peer did not complete the handshake in time.',
    fix: 'The event loop of the peer is blocked, or another kind of server listens at this address.',
  },
  LOST: {
    means: 'The connection was closed without a reason.',
    fix: 'Look in the log of the peer.',
  },
  UNAUTHENTICATED: {
    means: 'The two sides do not hold the same token, or one of them has none.',
    fix: 'Give both the same `--token-file` or `GANTRY_TOKEN`.',
  },
  VERSION: {
    means: 'The two sides have no version of the protocol in common.',
    fix: 'Update the older one.',
  },
  ROLE: {
    means: 'Both sides are proxies, or both are containers.',
    fix: 'Correct the address: `--join` names the `--join-listen` of a proxy, `--upstream` the `--listen` of a container.',
  },
  DIALLED: {
    means: 'Both sides say that they accepted the connection: something between them connects two listeners.',
    fix: 'Correct the relay or tunnel between them.',
  },
  HANDSHAKE: {
    means: 'A frame arrived before the handshake was complete, or a proof that was not asked for.',
    fix: 'The peer is not Gantry, or one side is older: update both.',
  },
  BAD_HELLO: {
    means: 'The first frame of the peer is not a valid HELLO.',
    fix: 'The peer is not Gantry: if it is an HTTP server, write `http://` before its address.',
  },
  DRAINING: {
    means: 'The peer ended the link in order: it stops, restarts, or needs the link no longer.',
    fix: 'Nothing.',
  },
  RETIRING: {
    means: 'The link has used all stream numbers, and is replaced by a new one.',
    fix: 'Nothing.',
  },
  OVERLOADED: {
    means: 'The peer sends requests above its slots and does not read the refusals.',
    fix: 'Update the peer: Gantry does not do this.',
  },
} as const

/** The peer broke a rule of the frames (`protocol/frames/SPEC.md`). */
export const frameCodes = {
  PROTOCOL: { means: 'The peer ended the link because this side broke the protocol.' },
  BAD_FRAME: { means: 'The payload of a frame has the wrong length for its type.' },
  BAD_STREAM: { means: 'A frame on a stream that cannot have it.' },
  BAD_HEAD: { means: 'The head of a request or response is not valid msgpack of the specified form.' },
  FRAME_TOO_LARGE: { means: 'A frame is longer than its limit.' },
  FLOW_CONTROL: { means: 'More body than there was credit for, or an invalid WINDOW.' },
  EMPTY_DATA: { means: 'A DATA frame without bytes and without END.' },
  ENDED: { means: 'DATA or TRAILERS after the END of a stream.' },
  TOO_EARLY: { means: 'DATA or TRAILERS before the response, or where none may be.' },
  RESPONDED: { means: 'A second response, or a 1xx after the response.' },
  INFORM_FLOOD: { means: 'Too many 1xx responses on one stream.' },
  HELLO_TWICE: { means: 'A second HELLO.' },
  GOAWAY: { means: 'A GOAWAY says that a stream was not taken which the peer had started.' },
  WRONG_ROLE: { means: 'A frame from the side that may not send it.' },
  MISSING_VARIABLE: { means: 'A request without a variable that each environ has.' },
} as const
