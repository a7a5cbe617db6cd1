/**
 * The context of a part of a request that may be over before the request is: what middleware gives its application when it has deadlines or
 * limits of its own. It does what the context above it does, until it is cut; from then on nothing passes any more.
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
  #cut: AbortError | undefined
  #own: AbortController | undefined
  #either: AbortSignal | undefined
  #outcome: Outcome | undefined
  #callbacks: ((outcome: Outcome) => void)[] | undefined

  /** @param upgraded told when the connection is handed over: no deadline holds for it */
  constructor(parent: RequestContext, upgraded: () => void = () => {}) {
    // Its own list: what an application sets in its request headers is not the matter of who called it.
    super(parent instanceof Context ? parent.lines.slice() : parent.rawHeaders.flat())
    this.#parent = parent
    this.#upgraded = upgraded
  }

  /** Aborts the signal, calls back who waits for the end, and passes nothing on from here on. */
  cut(error: AbortError, outcome: Omit<Outcome, 'aborted'>): void {
    if (this.#cut) return
    this.#cut = error
    this.#own?.abort(error)
    this.#over({ ...outcome, aborted: error })
  }

  override get signal(): AbortSignal {
    if (!this.#either) {
      this.#own = new AbortController()
      if (this.#cut) this.#own.abort(this.#cut)
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
    if (!this.#cut) this.#parent.earlyHints(headers)
  }

  override trailers(fields: () => Headers | Promise<Headers>): void {
    if (!this.#cut) this.#parent.trailers(fields)
  }

  override upgrade(): Duplex {
    if (this.#cut) throw this.#cut
    const connection = this.#parent.upgrade()
    this.#upgraded()
    return connection
  }

  override giveUp(error: Error): void {
    if (!this.#cut && this.#parent instanceof Context) this.#parent.giveUp(error)
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
    this.#parent.onFinished((outcome) => this.#over(outcome))
  }

  #over(outcome: Outcome): void {
    if (this.#outcome) return
    this.#outcome = outcome
    const callbacks = this.#callbacks
    this.#callbacks = undefined
    if (callbacks) callAll(callbacks, outcome)
  }
}
