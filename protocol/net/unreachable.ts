/** Why a peer cannot be reached, for the log: the phase that failed, and one of a few reasons. */

import { messageOf } from '../contract/thrown.ts'

/**
 * The phase that failed. `handshake`: TLS, or the HELLO of frames. `first-byte`: the request was sent, and no response
 * began.
 */
export type Phase = 'resolve' | 'connect' | 'handshake' | 'first-byte'

/** docs/logs.md says what to do about each. */
export type Reason =
  | 'dns' // the name has no address
  | 'refused' // no process listens
  | 'absent' // there is no such socket or directory
  | 'denied' // the operating system forbids it
  | 'unreachable' // no route to the host
  | 'timeout'
  | 'certificate' // it is not trusted, has expired, or is for another name
  | 'tls' // any other failure of TLS
  | 'token' // the two sides have no token in common
  | 'protocol' // the peer speaks another protocol
  | 'closed' // the peer closed the connection
  | 'local' // this process: no file descriptors, no ports
  | 'other'

/** The log fields about a peer that cannot be reached. */
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

/** OpenSSL's X509_V_ERR_* in Node's names, and Node's own check of the host name. */
const CERTIFICATE = /CERT|^UNABLE_TO_|CRL|^INVALID_(?:CA|PURPOSE)$|^PATH_LENGTH_EXCEEDED$|^HOSTNAME_MISMATCH$/

/**
 * The phase and the reason of a failure, for log fields.
 *
 * @param phase the phase that is known to have failed
 * @param otherwise the reason if the error's code does not tell one
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
  // RemoteProtocolError comes from the handshake of frames; `HPE_` codes come from Node's HTTP parser.
  return name === 'RemoteProtocolError' || code.startsWith('HPE_') ? 'protocol' : undefined
}

/** Whether a handshake timed out. */
export function isTimeout(error: Error | undefined): boolean {
  return error !== undefined && 'code' in error && error.code === 'TIMEOUT'
}

/**
 * Remembers the last reason, so that a reason is logged when it is new, and not for each attempt. (`LoggedOnce`
 * remembers many.)
 */
export class LastReason {
  #last: string | undefined

  /** Whether this reason differs from the last one. */
  changes({ phase, reason, code = '' }: Omit<Unreachable, 'error'>): boolean {
    const key = `${phase} ${reason} ${code}`
    if (key === this.#last) return false
    this.#last = key
    return true
  }

  /** The peer was reached: forgets the reason. Returns whether there was one. */
  end(): boolean {
    const had = this.#last !== undefined
    this.#last = undefined
    return had
  }
}
