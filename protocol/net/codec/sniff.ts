/**
 * Recognises a protocol by the first bytes of a connection: one container port serves all of them. Also recognises
 * protocols that are not served, so that a refusal can name them. Its callers decide what is served, to whom, and how
 * long to wait.
 */

export type Wire =
  | 'frames'
  | 'uwsgi'
  | 'fastcgi'
  | 'scgi'
  | 'http'
  /** HTTP/2 without TLS, by its connection preface (RFC 9113 §3.4). */
  | 'h2c'
  /** The PROXY protocol's text header, then another protocol. */
  | 'proxy-v1'
  /** The PROXY protocol's binary header, then another protocol. */
  | 'proxy-v2'
  | 'tls'
  | 'unknown'

/** Bytes that are enough to recognise each protocol: the HTTP/2 preface up to its version. */
export const SNIFF_BYTES = 14

/**
 * The first byte of a HELLO of frames: the only byte that msgpack never uses. No other protocol here begins with it.
 */
const FRAMES = 0xc1

const PREFACE = latin1('PRI * HTTP/2.0')
const PROXY_V1 = latin1('PROXY ')
const PROXY_V2 = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a)

/** Returns the protocol of a connection that begins with `bytes`; undefined if more bytes are needed. */
export function sniff(bytes: Uint8Array): Wire | undefined {
  const first = bytes[0]
  switch (first) {
    case undefined:
      return undefined
    case FRAMES:
      return 'frames'
    case 0x00: // modifier1 0: a request
    case 0x1e: // modifier1 30: a request, PATH_INFO holding SCRIPT_NAME
    case 0x64: // modifier1 100: ping
      return 'uwsgi'
    case 0x01: // FCGI_VERSION_1
      return 'fastcgi'
    case 0x16: // handshake record
      return 'tls'
    case 0x0d: {
      const match = compare(bytes, PROXY_V2)
      if (match !== false) return match && 'proxy-v2'
      return bytes[1] === 0x0a ? 'http' : 'unknown' // a client may send a CRLF before its request line (RFC 9112 §2.2)
    }
    case 0x50: {
      const preface = compare(bytes, PREFACE)
      if (preface !== false) return preface && 'h2c'
      const text = compare(bytes, PROXY_V1)
      if (text !== false) return text && 'proxy-v1'
      return 'http'
    }
  }
  if (first >= 0x41 && first <= 0x5a) return 'http'
  if (first >= 0x30 && first <= 0x39) return 'scgi'
  return 'unknown'
}

/** Whether `bytes` begin with `signature`; undefined if more bytes are needed. */
function compare(bytes: Uint8Array, signature: Uint8Array): true | false | undefined {
  const length = Math.min(bytes.length, signature.length)
  for (let i = 0; i < length; i++) if (bytes[i] !== signature[i]) return false
  return length === signature.length ? true : undefined
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
