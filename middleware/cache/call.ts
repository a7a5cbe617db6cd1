/** One client's request on its way through the cache: what of it has been looked at once. It decides nothing. */

import type { Environ, StartResponse } from '../../protocol/contract/application.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import type { Directives } from './directives.ts'
import type { Forward } from './report.ts'
import type { Asked } from './stored.ts'

export class Call {
  readonly environ: Environ
  readonly startResponse: StartResponse
  /** Which of the cache's applications it is for. */
  readonly place: number
  readonly uri: string
  readonly rest: string
  readonly directives: Directives
  /** It says who sends it: only what is meant for such may answer it (RFC 9111 §3.5). */
  readonly authorised: boolean
  /** On the clock's `now()`. */
  readonly at: number
  /** How often it has waited for others in vain. */
  waits = 0
  why: Forward = 'uri-miss'
  #asked: Asked | undefined

  constructor(
    environ: Environ,
    startResponse: StartResponse,
    place: number,
    uri: string,
    rest: string,
    directives: Directives,
    at: number,
  ) {
    this.environ = environ
    this.startResponse = startResponse
    this.place = place
    this.uri = uri
    this.rest = rest
    this.directives = directives
    this.at = at
    // CGI servers may set both empty for nobody; and of who is checked the name may be empty.
    this.authorised = environ['HTTP_AUTHORIZATION'] !== undefined || !!environ['REMOTE_USER'] || !!environ['AUTH_TYPE']
  }

  /** Where marks of what cannot be shared are kept: what one gets with a name says nothing of what others get. */
  get mark(): string {
    return `${this.authorised ? 'a' : '-'}${this.rest}\n${this.uri}`
  }

  /** A copy of its fields: to be taken before the application has seen the environ. */
  get asked(): Asked {
    if (this.#asked === undefined) {
      this.#asked = { variables: fieldsOf(this.environ), authorised: this.authorised, at: this.at }
    }
    return this.#asked
  }

  /** The same without a copy, where nothing of it is kept. */
  get glance(): Asked {
    return { variables: this.environ as Asked['variables'], authorised: this.authorised, at: this.at }
  }

  /** Its client has gone, or it was cut short. */
  get aborted(): boolean {
    return this.environ.gantry.signal.aborted
  }

  get abortReason(): AbortError | undefined {
    const { signal } = this.environ.gantry
    return signal.aborted && signal.reason instanceof AbortError ? signal.reason : undefined
  }
}

/** The request fields of an environ, and whose it is, in a copy. */
export function fieldsOf(environ: Environ): Record<string, string> {
  const variables: Record<string, string> = Object.create(null)
  for (const name of Object.keys(environ)) {
    if (name.startsWith('HTTP_') || name === 'CONTENT_TYPE' || name === 'REMOTE_USER')
      variables[name] = environ[name] as string
  }
  return variables
}
