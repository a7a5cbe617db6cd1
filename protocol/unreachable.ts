/** Why a peer cannot be reached, for a log: in which phase of reaching it, and for which of a few reasons. It decides nothing by them. */

import { messageOf } from './thrown.ts'

/** How far it came. `handshake`: TLS, or our own HELLO. `first-byte`: the request was sent, and no answer began. */
export type Phase = 'resolve' | 'connect' | 'handshake' | 'first-byte'

/** docs/logs.md says what to do about each. */
export type Reason =
  | 'dns' // the name has no address
  | 'refused' // nobody listens
  | 'absent' // there is no such socket or directory
  | 'denied' // the operating system forbids it
  | 'unreachable' // no route to the host
  | 'timeout'
  | 'certificate' // it is not trusted, has expired, or is another name's
  | 'tls' // anything else about TLS
  | 'token' // the two sides do not hold the same
  | 'protocol' // something answers that speaks otherwise
  | 'closed' // the peer closed the connection
  | 'local' // this process: no file descriptors, no ports
  | 'other'

export interface Unreachable {
  readonly phase: Phase
  readonly reason: Reason
  readonly code?: string
  readonly error: string
}

const REASONS: Readonly<Record<string, Reason>> = {
  ECONNREFUSED: 'refused',
  ENOENT: 'absent',
  ENOTDIR: 'absent',
  EACCES: 'denied',
  EPERM: 'denied',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  ETIMEDOUT: 'timeout',
  ECONNECT_TIMEOUT: 'timeout',
  CONNECT_TIMEOUT: 'timeout',
  TIMEOUT: 'timeout',
  UPSTREAM_TIMEOUT: 'timeout',
  ECONNRESET: 'closed',
  EPIPE: 'closed',
  LOST: 'closed',
  UNAUTHENTICATED: 'token',
  EPROTO: 'tls',
  EMFILE: 'local',
  ENFILE: 'local',
  ENOBUFS: 'local',
  ENOMEM: 'local',
  EADDRNOTAVAIL: 'local',
  EAGAIN: 'local',
}

/** OpenSSL's X509_V_ERR_* as Node names them, and Node's own check of the name. */
const CERTIFICATE = /CERT|^UNABLE_TO_|CRL|^INVALID_(?:CA|PURPOSE)$|^PATH_LENGTH_EXCEEDED$|^HOSTNAME_MISMATCH$/

/**
 * @param phase how far it is known to have come
 * @param otherwise the reason of an error that says none
 */
export function whyUnreachable(error: unknown, phase: Phase, otherwise: Reason = 'other'): Unreachable {
  const { code, syscall, name } = error as { code?: unknown; syscall?: unknown; name?: unknown }
  const known = typeof code === 'string' ? code : undefined
  const resolving = phase === 'resolve' || syscall === 'getaddrinfo'
  const why = {
    phase: resolving ? ('resolve' as const) : phase,
    reason: reasonOf(known, syscall === 'getaddrinfo', name) ?? otherwise,
    error: messageOf(error),
  }
  return known === undefined ? why : { ...why, code: known }
}

function reasonOf(code: string | undefined, lookup: boolean, name: unknown): Reason | undefined {
  if (lookup) return 'dns'
  if (code === undefined) return undefined
  const listed = REASONS[code]
  if (listed) return listed
  if (CERTIFICATE.test(code)) return 'certificate'
  if (/^ERR_(?:SSL|TLS)_/.test(code)) return 'tls'
  if (/^(?:EAI_|ENOTFOUND$|ENODATA$|ESERVFAIL$)/.test(code)) return 'dns'
  // The handshake of frames names its faults itself; `HPE_` are those of Node's HTTP parser.
  return name === 'RemoteProtocolError' || code.startsWith('HPE_') ? 'protocol' : undefined
}

/** Whether a handshake timed out. */
export function isTimeout(error: Error | undefined): boolean {
  return error !== undefined && 'code' in error && error.code === 'TIMEOUT'
}

/** So that a reason is logged when it is new, not for each try. */
export class LastReason {
  #last: string | undefined

  /** Whether this reason is another than the last one. */
  changes({ phase, reason, code = '' }: Omit<Unreachable, 'error'>): boolean {
    const key = `${phase} ${reason} ${code}`
    if (key === this.#last) return false
    this.#last = key
    return true
  }

  /** It was reached. Whether there was a reason before. */
  end(): boolean {
    const had = this.#last !== undefined
    this.#last = undefined
    return had
  }

  /** Whether there is a reason. */
  get set(): boolean {
    return this.#last !== undefined
  }
}
