/**
 * One client's request in the cache: its key, its directives, and what was read from its environ once. It decides
 * nothing.
 */

import type { Environ, StartResponse } from '../../protocol/contract/application.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import type { ForwardReason } from './cache-status.ts'
import type { Directives } from './directives.ts'
import type { RequestSnapshot } from './policy.ts'

export class CacheRequest {
  readonly environ: Environ
  readonly startResponse: StartResponse
  /** Which of the cache's applications gets the request. */
  readonly mountIndex: number
  /** The key consists of `uri` and `keySuffix` (`key.ts`). */
  readonly uri: string
  readonly keySuffix: string
  readonly directives: Directives
  /**
   * Whether the request identifies its user: only responses that allow it may answer such a request (RFC 9111 §3.5).
   */
  readonly authenticated: boolean
  /** On the clock's `now()`. */
  readonly startedAt: number
  /** How often the request has waited for another one's response without getting it. */
  waits = 0
  /** Why the application is called (RFC 9211 §2.2). */
  forwardReason: ForwardReason = 'uri-miss'
  #snapshot: RequestSnapshot | undefined

  constructor(
    environ: Environ,
    startResponse: StartResponse,
    mountIndex: number,
    uri: string,
    keySuffix: string,
    directives: Directives,
    startedAt: number,
  ) {
    this.environ = environ
    this.startResponse = startResponse
    this.mountIndex = mountIndex
    this.uri = uri
    this.keySuffix = keySuffix
    this.directives = directives
    this.startedAt = startedAt
    // CGI servers may set both variables to '' for an anonymous request; an authenticated user may have an empty name.
    this.authenticated =
      environ['HTTP_AUTHORIZATION'] !== undefined || !!environ['REMOTE_USER'] || !!environ['AUTH_TYPE']
  }

  /**
   * The key in `UncacheableKeys`. Authenticated requests are separate: their responses say nothing about anonymous
   * ones.
   */
  get passKey(): string {
    return `${this.authenticated ? 'a' : '-'}${this.keySuffix}\n${this.uri}`
  }

  /** A copy of the request fields. Take it before the application gets the environ. */
  get snapshot(): RequestSnapshot {
    if (this.#snapshot === undefined) {
      const { authenticated, startedAt } = this
      this.#snapshot = { variables: requestFields(this.environ), authenticated, startedAt }
    }
    return this.#snapshot
  }

  /** The same without a copy, for a check that keeps nothing. */
  get liveView(): RequestSnapshot {
    const { authenticated, startedAt } = this
    return { variables: this.environ as RequestSnapshot['variables'], authenticated, startedAt }
  }

  /** Whether the client has disconnected, or the request was aborted. */
  get isAborted(): boolean {
    return this.environ.gantry.signal.aborted
  }

  get abortReason(): AbortError | undefined {
    const { signal } = this.environ.gantry
    return signal.aborted && signal.reason instanceof AbortError ? signal.reason : undefined
  }
}

/** A copy of an environ's request fields and user. */
export function requestFields(environ: Environ): Record<string, string> {
  const variables: Record<string, string> = Object.create(null)
  for (const name of Object.keys(environ)) {
    if (name.startsWith('HTTP_') || name === 'CONTENT_TYPE' || name === 'REMOTE_USER')
      variables[name] = environ[name] as string
  }
  return variables
}
