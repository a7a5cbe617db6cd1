/**
 * The context that middleware passes to its application if the application may end before the request does (after a
 * deadline or limit of the middleware). It forwards to the parent context until `endEarly` is called.
 */

import type { Duplex } from 'node:stream'
import type { Headers, Outcome, RequestContext } from './application.ts'
import type { ClientView } from './client-view.ts'
import { Context, callAll } from './context.ts'
import type { AbortError } from './errors.ts'
import type { UpstreamUse } from './upstream-use.ts'

export class DerivedContext extends Context {
  readonly #parent: RequestContext
  readonly #upgraded: () => void
  #endedBy: AbortError | undefined
  #own: AbortController | undefined
  #either: AbortSignal | undefined
  #outcome: Outcome | undefined
  #callbacks: ((outcome: Outcome) => void)[] | undefined

  /** @param upgraded is called when the application takes over the connection, which has no deadline */
  constructor(parent: RequestContext, upgraded: () => void = () => {}) {
    // Copied: request headers that the application changes must not change for its caller.
    super(parent instanceof Context ? parent.lines.slice() : parent.rawHeaders.flat())
    this.#parent = parent
    this.#upgraded = upgraded
  }

  /** Aborts the signal, calls the `onFinished` callbacks, and forwards nothing from now on. */
  endEarly(error: AbortError, outcome: Omit<Outcome, 'aborted'>): void {
    if (this.#endedBy) return
    this.#endedBy = error
    this.#own?.abort(error)
    this.#finished({ ...outcome, aborted: error })
  }

  override get signal(): AbortSignal {
    if (!this.#either) {
      this.#own = new AbortController()
      if (this.#endedBy) this.#own.abort(this.#endedBy)
      this.#either = AbortSignal.any([this.#parent.signal, this.#own.signal])
    }
    return this.#either
  }

  override onAbort(callback: (reason: unknown) => void): void {
    const { signal } = this
    if (signal.aborted) callback(signal.reason)
    else signal.addEventListener('abort', () => callback(signal.reason), { once: true })
  }

  override get requestId(): string {
    return this.#parent.requestId
  }

  override adoptRequestId(id: string): void {
    if (this.#parent instanceof Context) this.#parent.adoptRequestId(id)
  }

  override get draining(): boolean {
    return this.#parent.draining
  }

  override get leaving(): boolean {
    return this.#parent.leaving ?? this.#parent.draining
  }

  override get upstreamUse(): UpstreamUse | undefined {
    return this.#parent instanceof Context ? this.#parent.upstreamUse : undefined
  }

  override set upstreamUse(use: UpstreamUse | undefined) {
    if (this.#parent instanceof Context) this.#parent.upstreamUse = use
  }

  override get client(): ClientView | undefined {
    return this.#parent instanceof Context ? this.#parent.client : undefined
  }

  override earlyHints(headers: Headers): void {
    if (!this.#endedBy) this.#parent.earlyHints(headers)
  }

  override trailers(fields: () => Headers | Promise<Headers>): void {
    if (!this.#endedBy) this.#parent.trailers(fields)
  }

  override upgrade(): Duplex {
    if (this.#endedBy) throw this.#endedBy
    const connection = this.#parent.upgrade()
    this.#upgraded()
    return connection
  }

  override giveUp(error: Error): void {
    if (!this.#endedBy && this.#parent instanceof Context) this.#parent.giveUp(error)
  }

  override onFinished(callback: (outcome: Outcome) => void): void {
    if (this.#outcome) {
      callback(this.#outcome)
      return
    }
    if (this.#callbacks) {
      this.#callbacks.push(callback)
      return
    }
    this.#callbacks = [callback]
    this.#parent.onFinished((outcome) => this.#finished(outcome))
  }

  #finished(outcome: Outcome): void {
    if (this.#outcome) return
    this.#outcome = outcome
    const callbacks = this.#callbacks
    this.#callbacks = undefined
    if (callbacks) callAll(callbacks, outcome)
  }
}
