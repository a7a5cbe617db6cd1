/**
 * Every number of the wire protocol, pinned by a test: a change decides whether an old container can talk to a new
 * proxy. SPEC.md has the meaning of each. Limits that each side chooses for itself are defaults here; HELLO announces
 * them.
 */

/** The version that this side speaks, and the oldest version that it still understands. */
export const VERSION = 1
export const OLDEST_VERSION = 1

/** Bytes of a frame header: type u8, flags u8, length u24, stream u32, big-endian. */
export const HEADER = 9

export const Frame = {
  /** The only byte that msgpack never uses. No other protocol that may reach a container port begins with 0xC1. */
  HELLO: 0xc1,
  AUTH: 0x01,
  GOAWAY: 0x02,
  PING: 0x03,
  PONG: 0x04,
  SLOTS: 0x05,
  STARTED: 0x06,
  REQUEST: 0x10,
  INFORM: 0x11,
  RESPONSE: 0x12,
  DATA: 0x13,
  TRAILERS: 0x14,
  WINDOW: 0x15,
  RESET: 0x16,
} as const

export const Flag = {
  /** REQUEST, RESPONSE, DATA: nothing follows in this direction. */
  END: 0x01,
  /** REQUEST: no credit for its body until the first WINDOW (Expect: 100-continue). */
  HOLD: 0x02,
  /** REQUEST: asks for another protocol; no body, and DATA only after a 101. */
  UPGRADE: 0x04,
} as const

/**
 * Additions to version 1 (SPEC.md, *Features*). A link uses a feature only if both HELLOs name it: check with
 * `FrameConnection.agreed`. A name never gets a second meaning.
 */
export const Feature = {
  /** TRAILERS may end the response to a declined upgrade. */
  UPGRADE_TRAILERS: 'upgrade-trailers',
} as const

/** All features that this side speaks. */
export const FEATURES: readonly string[] = Object.values(Feature)

/** Why a stream was aborted. */
export const Reset = {
  /** The request never ran: it may be sent to another container, whatever its method. */
  REFUSED: 1,
  /** The caller no longer needs the response (its client has disconnected). */
  CANCELLED: 2,
  /** The application failed after its head, or broke its contract. */
  APPLICATION: 3,
  /** A deadline of the sender passed. */
  DEADLINE: 4,
  /** The sender had to stop before the request was complete. */
  DRAIN_TIMEOUT: 5,
  /** The upstream of the sender has disconnected. */
  UPSTREAM: 6,
  /** The other side violated the protocol on this stream only. */
  PROTOCOL: 7,
} as const

/** Why a link ends. */
export const Goaway = {
  /** No fault: the sender drains, restarts, or no longer needs the link. */
  DRAINING: 0,
  /** The other side violated the protocol. */
  PROTOCOL: 1,
  /** The proof of the shared secret is missing or wrong. */
  UNAUTHENTICATED: 2,
  /** The sides have no version in common. */
  VERSION: 3,
  /** The stream numbers are exhausted: dial again. */
  RETIRING: 4,
  /** The other side sends requests above its slots and does not read the refusals. */
  OVERLOADED: 5,
  /** HELLO or AUTH did not arrive in time. */
  TIMEOUT: 6,
} as const

/** The longest HELLO, bytes. It is short because it is read from peers that are not authenticated yet. */
export const HELLO_MAX = 4096
/** Bytes of a proof: HMAC-SHA256. */
export const PROOF = 32
/** Random bytes in a HELLO. 128 random bits never repeat in practice. */
export const NONCE = 16
/** The longest text in RESET and GOAWAY, bytes of UTF-8. */
export const TEXT_MAX = 1024
/** The most streams in one STARTED: more requests than a read of 64 KiB can hold. */
export const STARTED_MAX = 16_384

/**
 * The longest head, bytes. An HTTP head has at most 64 KiB. Bytes above 0x7F become two bytes in UTF-8, and a target is
 * sent both raw and decoded, so a head can reach twice 64 KiB. Twice that leaves room for variables of middleware.
 */
export const HEAD_MAX: number = 256 * 1024
/** The most body bytes in one frame: so long one stream delays the others. The size of one read of a Node socket. */
export const DATA_MAX: number = 64 * 1024
/**
 * Body bytes that a sender may send ahead of the reader, per stream and direction. Two DATA frames: one travels while
 * the other is read.
 */
export const WINDOW: number = 128 * 1024
/** The smallest values that a HELLO may announce. Smaller values would split a head or a chunk into too many frames. */
export const WINDOW_MIN = 1024
export const DATA_MIN = 1024
export const HEAD_MIN: number = 16 * 1024
/** The most credit of a stream; more is a FLOW_CONTROL error (as in RFC 9113 §6.9.1). */
export const CREDIT_MAX = 0x7fff_ffff

/** The most INFORM frames per request, and their bytes. 1xx responses use no credit. */
export const INFORM_COUNT = 16
export const INFORM_MAX: number = 16 * 1024

/**
 * If more bytes of heads, WINDOW and RESET are queued for a socket that accepts none, no new request uses the link.
 * This is the high-water mark of a Node socket: a peer that is so far behind does not respond sooner if more is queued.
 */
export const CONTROL_MAX: number = 64 * 1024
/** Bytes of heads that a peer makes us queue and does not read. Above this a server refuses requests. */
export const BACKLOG_MAX: number = 4 * 1024 * 1024

/** The most upgraded streams on one link. They hold no slot. One event loop can keep about so many sockets. */
export const UPGRADED_MAX = 10_000

/** A caller replaces a link when its next stream number exceeds this: 65,536 before the last number. */
export const RETIRE_AT = 0xffff_0000
