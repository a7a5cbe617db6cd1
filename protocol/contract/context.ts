/**
 * `environ.gantry`: the context of a request. Its parts are created on first use. It is created with the environ and
 * bound to the exchange of the request; without an exchange (in a test) it never aborts and sends nothing.
 */

import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Headers, Outcome, RequestContext } from './application.ts'
import { brand } from './brand.ts'
import type { ClientView } from './client-view.ts'
import { localError } from './coded-errors.ts'
import type { AbortError } from './errors.ts'
import { pairs } from './input.ts'
import type { UpstreamUse } from './upstream-use.ts'

/** The exchange's operations that a context exposes. */
export interface ContextControl {
  readonly aborted: AbortError | undefined
  readonly draining: boolean
  readonly leaving?: boolean
  /** The request's client, where its gateway is in this process. */
  readonly client?: ClientView | undefined
  /** Undefined until the request has ended. */
  outcome?(): Outcome | undefined
  inform(status: string, headers: Headers): void
  trailers(fields: () => Headers | Promise<Headers>): void
  upgrade(): Duplex
  /** The application destroyed its response, which may wait for its client. */
  giveUp?(error: Error): void
}

/** Request ids are a random prefix, so that the ids of two processes differ, and a count. */
const START = randomBytes(6).toString('hex')
let count = 0

/** The form of a request id. It needs no escaping in a log line or a header field. */
export const REQUEST_ID: RegExp = /^[\w.-]{1,128}$/

/** Makes an id for a request that has no id from a trusted peer. */
export function newRequestId(): string {
  return `${START}-${(++count).toString(36)}`
}

export class Context implements RequestContext {
  static {
    brand(Context, 'Context')
  }

  /** The header lines of `rawHeaders` as a flat list: name, value, … */
  lines: string[]
  /** The holder of the request's slot. Only the code that shares the slots reads and sets it. */
  slot: unknown = undefined
  #control: ContextControl | undefined
  #requestId: string | undefined
  #controller: AbortController | undefined
  #pairs: Headers | undefined
  #finished: ((outcome: Outcome) => void)[] | undefined
  #aborting: ((reason: unknown) => void)[] | undefined
  #upstreamUse: UpstreamUse | undefined

  constructor(lines: string[]) {
    this.lines = lines
  }

  /** @param requestId the id from a trusted peer; undefined if there is none */
  bind(control: ContextControl, requestId: string | undefined): void {
    this.#control = control
    if (requestId !== undefined) this.#requestId = requestId
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      const aborted = this.#control?.aborted
      if (aborted) this.#controller.abort(aborted)
    }
    return this.#controller.signal
  }

  get requestId(): string {
    return (this.#requestId ??= newRequestId())
  }

  /** Sets a trusted id. An existing id is kept, since logs, headers and other processes may already have it. */
  adoptRequestId(id: string): void {
    this.#requestId ??= id
  }

  get rawHeaders(): Headers {
    this.#pairs ??= pairs(this.lines)
    return this.#pairs
  }

  get draining(): boolean {
    return this.#control?.draining ?? false
  }

  get leaving(): boolean {
    return this.#control?.leaving ?? this.draining
  }

  /** Created by an access log, and filled in by the pool that runs the request. */
  get upstreamUse(): UpstreamUse | undefined {
    return this.#upstreamUse
  }

  set upstreamUse(use: UpstreamUse | undefined) {
    this.#upstreamUse = use
  }

  /** The client as its gateway sees it; undefined where another process has its connection. */
  get client(): ClientView | undefined {
    return this.#control?.client
  }

  earlyHints(headers: Headers): void {
    this.#control?.inform('103 Early Hints', headers)
  }

  trailers(fields: () => Headers | Promise<Headers>): void {
    this.#control?.trailers(fields)
  }

  upgrade(): Duplex {
    if (!this.#control) throw localError('NO_EXCHANGE', 'upgrade() was called on a context that belongs to no request')
    return this.#control.upgrade()
  }

  /**
   * The application destroyed its response. If the response waits for the client to read, it is aborted with `error`
   * now, so that the slot becomes free. Otherwise the exchange gets the error from its next read of the body.
   */
  giveUp(error: Error): void {
    this.#control?.giveUp?.(error)
  }

  /** Calls `callback` once, when the response is complete or was aborted (as `rack.response_finished` does). */
  onFinished(callback: (outcome: Outcome) => void): void {
    // The request has already ended.
    const outcome = this.#control?.outcome?.()
    if (outcome) {
      callback(outcome)
      return
    }
    this.#finished ??= []
    this.#finished.push(callback)
  }

  /**
   * Calls `callback` once with the reason when `signal` aborts or has aborted. Does not create the signal, which is the
   * most expensive part of a context.
   */
  onAbort(callback: (reason: unknown) => void): void {
    const aborted = this.#control?.aborted
    if (aborted) callback(aborted)
    else if (this.#aborting) this.#aborting.push(callback)
    else this.#aborting = [callback]
  }

  // ---- the exchange's side ---------------------------------------------------------------------------------------

  /** Whether there is an `onFinished` callback. */
  get observed(): boolean {
    return this.#finished !== undefined
  }

  finished(outcome: Outcome): void {
    const callbacks = this.#finished
    this.#finished = undefined
    if (callbacks) callAll(callbacks, outcome)
  }

  abort(error: AbortError): void {
    this.#controller?.abort(error)
    const callbacks = this.#aborting
    this.#aborting = undefined
    if (callbacks) callAll(callbacks, error)
  }

  addLine(name: string, value: string): void {
    this.lines.push(name, value)
    this.#pairs = undefined
  }

  /** Removes the lines for whose name `removes` returns true. */
  removeLines(removes: (name: string) => boolean): void {
    const kept: string[] = []
    for (let at = 0; at < this.lines.length; at += 2) {
      if (!removes(this.lines[at]!)) kept.push(this.lines[at]!, this.lines[at + 1]!)
    }
    this.lines = kept
    this.#pairs = undefined
  }

  /** Replaces the lines of `name` by one, or by none. */
  replaceLines(name: string, value: string | undefined): void {
    const lower = name.toLowerCase()
    this.#pairs = undefined
    if (!this.#hasLine(lower)) {
      // Copied: the list may belong to the gateway.
      if (value !== undefined) this.lines = this.lines.concat(name, value)
      return
    }
    const kept: string[] = []
    for (let at = 0; at < this.lines.length; at += 2) {
      if (this.lines[at]!.length !== lower.length || this.lines[at]!.toLowerCase() !== lower) {
        kept.push(this.lines[at]!, this.lines[at + 1]!)
      }
    }
    if (value !== undefined) kept.push(name, value)
    this.lines = kept
  }

  #hasLine(lower: string): boolean {
    for (let at = 0; at < this.lines.length; at += 2) {
      if (this.lines[at]!.length === lower.length && this.lines[at]!.toLowerCase() === lower) return true
    }
    return false
  }
}

/**
 * Calls every callback, then rethrows the first error: a callback that throws must not keep the others from running.
 */
export function callAll<T>(callbacks: readonly ((argument: T) => void)[], argument: T): void {
  let failure: { error: unknown } | undefined
  for (const callback of callbacks) {
    try {
      callback(argument)
    } catch (error) {
      failure ??= { error }
    }
  }
  if (failure) throw failure.error
}
