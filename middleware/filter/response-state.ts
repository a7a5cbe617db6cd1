/**
 * The state of one filtered response: what was decided, what the server has received, and what must be closed at the
 * end. `filter-response.ts` handles the application's calls, `filtered-stream.ts` iterates its body.
 */

import type { Application, Body, Environ, Headers, StartResponse, Write } from '../../protocol/contract/application.ts'
import { ActiveFilter } from './active-filter.ts'
import type { ChangedResponse, Hold } from './filter.ts'
import { FilteredBodies, isPromise } from './filtered-bodies.ts'
import { FilteredWrites } from './filtered-writes.ts'

export class FilteredState {
  readonly environ: Environ
  readonly #server: StartResponse
  readonly bodies: FilteredBodies = new FilteredBodies()
  readonly active: ActiveFilter = new ActiveFilter(this.bodies.failed)
  /** Writes that wait for an asynchronous push. */
  readonly writes: FilteredWrites = new FilteredWrites()

  /** The application has called startResponse. */
  isDecided = false
  /** The server has a head: another one needs excInfo. */
  hasServerHead = false
  excInfo: unknown
  /** A head that is kept back until the application returns. */
  head: ChangedResponse | undefined
  hold: Hold | undefined
  whole: ChangedResponse['whole']
  /** For a HEAD whose GET would be filtered: the body is dropped, so that its length is not taken for the GET's. */
  dropsBody = false

  /** The application has sent bytes: for the application, its head is sent. */
  hasBytes = false
  hasReturned = false
  /** The server has the application's own body object. */
  isPassedOn = false
  isOver = false
  isClosed = false
  /** Of the server. */
  write: Write | undefined

  constructor(environ: Environ, server: StartResponse) {
    this.environ = environ
    this.#server = server
  }

  sendHead(status: string, headers: Headers, excInfo: unknown = this.excInfo): Write {
    const write = this.hasServerHead ? this.#server(status, headers, excInfo) : this.#server(status, headers)
    this.hasServerHead = true
    this.write = write
    return write
  }

  /** Sends the head that was kept back, unless a hold still needs it. */
  sendKeptHead(): void {
    const { head } = this
    if (!head || this.hold) return
    this.head = undefined
    this.whole = undefined
    this.sendHead(head.status, head.headers)
  }

  /** Aborts a response whose head was sent: startResponse with excInfo throws. */
  abort(status: string, headers: Headers, excInfo: unknown): void {
    if (this.hasServerHead) this.#server(status, headers, excInfo)
  }

  /** Calls an application that answers instead of the filtered one. */
  callReplacement(application: Application): Body | Promise<Body> {
    return application(this.environ, (status, headers, excInfo) =>
      this.sendHead(status, headers, excInfo ?? this.excInfo),
    )
  }

  /** Closes the filter. @param keepsDecision whether the rest of the decision stays valid */
  release(keepsDecision = false): void {
    this.hold = undefined
    if (!keepsDecision) {
      this.active.replacement = undefined
      this.whole = undefined
      this.head = undefined
      this.dropsBody = false
    }
    this.active.close()
  }

  /** Closes everything, and then throws `error` for the server. */
  failWith(error: unknown): never | Promise<never> {
    const closing = this.close()
    if (!isPromise(closing)) throw error
    return closing.then(
      () => {
        throw error
      },
      () => {
        throw error
      },
    )
  }

  close(): void | Promise<void> {
    if (this.isClosed) return undefined
    this.isClosed = true
    this.release()
    this.active.interrupt()
    return this.bodies.close()
  }
}
