/**
 * Every number of the wire, pinned by a test: changing one decides whether an old container still talks to a new proxy.
 * SPEC.md says what they mean. Limits that a side may choose for itself are defaults here, and are told in HELLO.
 */

/** The version spoken, and the oldest one that is still understood. */
export const VERSION = 1
export const OLDEST_VERSION = 1

/** type u8, flags u8, length u24, stream u32, big-endian. */
export const HEADER = 9

export const Frame = {
  /** 0xC1 is the one byte that msgpack never uses, and no protocol that knocks on a container port begins with it. */
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
 * What was added to version 1 (SPEC.md, *Features*): a link uses a feature only if both HELLOs name it. Ask with
 * `Connection.agreed`. A name is never given a second meaning.
 */
export const Feature = {
  /** TRAILERS may end the response to a declined upgrade. */
  UPGRADE_TRAILERS: 'upgrade-trailers',
} as const

/** All features that this side speaks. */
export const FEATURES: readonly string[] = Object.values(Feature)

/** Why a stream was given up. */
export const Reset = {
  /** Surely never ran: may be sent elsewhere, whatever its method. */
  REFUSED: 1,
  /** The caller no longer wants it (its client is gone). */
  CANCELLED: 2,
  /** The application failed after its head, or broke its contract. */
  APPLICATION: 3,
  /** A deadline of the sender passed. */
  DEADLINE: 4,
  /** The sender had to stop before it was done. */
  DRAIN_TIMEOUT: 5,
  /** What stands behind the sender went away. */
  UPSTREAM: 6,
  /** The other side broke the rules in this stream alone. */
  PROTOCOL: 7,
} as const

/** Why a link ends. */
export const Goaway = {
  /** No fault: draining, restarting, or no longer needed. */
  DRAINING: 0,
  /** The other side broke the protocol. */
  PROTOCOL: 1,
  /** The proof of the shared secret is missing or wrong. */
  UNAUTHENTICATED: 2,
  /** No version in common. */
  VERSION: 3,
  /** Stream numbers are used up: dial again. */
  RETIRING: 4,
  /** The other side sends requests above its slots and does not read the refusals. */
  OVERLOADED: 5,
  /** HELLO or AUTH did not come in time. */
  TIMEOUT: 6,
} as const

/** HELLO is at most this long: it is read from peers that are not authenticated yet. */
export const HELLO_MAX = 4096
/** HMAC-SHA256. */
export const PROOF = 32
/** Random bytes in a HELLO; 128 bits never repeat. */
export const NONCE = 16
/** Text in RESET and GOAWAY, UTF-8. */
export const TEXT_MAX = 1024
/** Streams in one STARTED: more than a read of 64 KiB can bring. */
export const STARTED_MAX = 16_384

/**
 * A head's bytes. HTTP heads are at most 64 KiB; as msgpack strings are UTF-8, bytes above 0x7F double, and a target is
 * carried raw and decoded: twice 64 KiB is reached, twice that leaves room for variables of middleware.
 */
export const HEAD_MAX: number = 256 * 1024
/** Body bytes in one frame: how long one stream holds the line. One read of a Node socket. */
export const DATA_MAX: number = 64 * 1024
/** Body bytes a sender may send ahead of the reader, per stream and direction. Two DATA frames: one on its way while one is read. */
export const WINDOW: number = 128 * 1024
/** Smallest values a HELLO may tell: below, a head or a chunk would need no end of frames. */
export const WINDOW_MIN = 1024
export const DATA_MIN = 1024
export const HEAD_MIN: number = 16 * 1024
/** Credit never passes this; more is FLOW_CONTROL (as RFC 9113 §6.9.1). */
export const CREDIT_MAX = 0x7fff_ffff

/** INFORM frames per request, and their bytes: 1xx answers have no credit. */
export const INFORM_COUNT = 16
export const INFORM_MAX: number = 16 * 1024

/**
 * Bytes of heads, WINDOW and RESET queued for a socket that accepts no more, above which no new request uses the link.
 * The high-water mark of a Node socket: a peer that is so far behind does not respond sooner if more is queued for it.
 */
export const CONTROL_MAX: number = 64 * 1024
/** Heads that a peer makes us send and does not read; then requests are refused. */
export const BACKLOG_MAX: number = 4 * 1024 * 1024

/** Upgraded streams on one link: they hold no slot, and are as many as one loop can keep sockets of. */
export const UPGRADED_MAX = 10_000

/** A caller retires a link when its next stream number passes this: 65,536 before the last. */
export const RETIRE_AT = 0xffff_0000
