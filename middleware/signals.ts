/**
 * Notifies listeners when a request starts, fails and finishes, as Django's `request_started`, `got_request_exception`
 * and `request_finished` do. Requests and responses are not changed, and a failing listener affects nothing.
 */

import type { Environ, Middleware, Outcome } from '../protocol/contract/application.ts'
import { HttpError } from '../protocol/contract/errors.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { checkOptions, logger, type OptionForms } from '../protocol/options/check-options.ts'
import { observeFailures } from './shared/observe-failures.ts'

/** The options of `signals`. */
export interface SignalsOptions {
  /** The log for failures of listeners. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'error'> | undefined
}

/**
 * A function that is called for each event. If it returns a promise, the promise is not awaited; its rejection is
 * logged.
 */
export type Listener<E> = (event: E) => unknown

/** A signal: listeners subscribe to its events. */
export interface Signal<E> {
  /**
   * Adds a listener, unless it is subscribed already.
   *
   * @returns a function that removes the listener
   * @throws TypeError if the listener is not a function
   */
  subscribe(listener: Listener<E>): () => void
  unsubscribe(listener: Listener<E>): void
}

/** A middleware with its signals. */
export interface Signals extends Middleware {
  /** Sent before the application is called. */
  readonly requestStarted: Signal<{ readonly environ: Environ }>
  /**
   * Sent if the application threw, or if its response was aborted for another reason than a disconnect of the client:
   * at most once, before `requestFinished`. An `HttpError` below 500 is an answer and not a failure.
   */
  readonly requestFailed: Signal<{ readonly environ: Environ; readonly error: unknown }>
  /** Sent when the response has ended, complete or not: once for each `requestStarted`. */
  readonly requestFinished: Signal<{ readonly environ: Environ; readonly outcome: Outcome }>
}

const OPTIONS: OptionForms<SignalsOptions> = { log: logger('error') }

/**
 * Makes a middleware whose signals report the requests that pass through it.
 *
 * If inner middleware handles failures (`errorPage`), `requestFailed` is not sent: put `signals` inside that
 * middleware.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { signals } from 'gantry/middleware'
 *
 * const hello: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * const requests = signals()
 * requests.requestFailed.subscribe(({ environ, error }) => console.error(environ.REQUEST_URI, error))
 * export const application: Application = requests(hello)
 * ```
 */
export function signals(options: SignalsOptions = {}): Signals {
  checkOptions('signals', options, OPTIONS)
  const { log } = options
  const started = new SubscribableSignal<{ environ: Environ }>(log)
  const failed = new SubscribableSignal<{ environ: Environ; error: unknown }>(log)
  const finished = new SubscribableSignal<{ environ: Environ; outcome: Outcome }>(log)
  const middleware: Middleware = (application) => (environ, startResponse) => {
    let hasFailed = false
    const fail = (error: unknown): void => {
      if (hasFailed || isAnswerOrDisconnect(error, environ)) return
      hasFailed = true
      failed.send({ environ, error })
    }
    if (started.hasListeners) started.send({ environ })
    if (finished.hasListeners || failed.hasListeners) {
      environ.gantry.onFinished((outcome) => {
        if (outcome.aborted && codeOf(outcome.aborted) !== 'CLIENT_GONE') fail(outcome.aborted.cause ?? outcome.aborted)
        finished.send({ environ, outcome })
      })
    }
    if (!failed.hasListeners) return application(environ, startResponse)
    return observeFailures(application, environ, startResponse, fail)
  }
  return Object.assign(middleware, { requestStarted: started, requestFailed: failed, requestFinished: finished })
}

function codeOf(error: Error): unknown {
  return (error as { code?: unknown }).code
}

/** Whether the error is an intended answer, or the disconnect of the client as the application saw it. */
function isAnswerOrDisconnect(error: unknown, environ: Environ): boolean {
  if (error instanceof HttpError) return error.status < 500
  return error instanceof Error && codeOf(error) === 'CLIENT_GONE' && environ.gantry.signal.aborted
}

class SubscribableSignal<E extends { environ: Environ }> implements Signal<E> {
  readonly #listeners: Set<Listener<E>> = new Set()
  readonly #log: Pick<Logger, 'error'> | undefined

  constructor(log: Pick<Logger, 'error'> | undefined) {
    this.#log = log
  }

  get hasListeners(): boolean {
    return this.#listeners.size > 0
  }

  subscribe(listener: Listener<E>): () => void {
    if (typeof listener !== 'function') throw new TypeError(`expected a function as listener, got ${typeof listener}`)
    this.#listeners.add(listener)
    return () => this.unsubscribe(listener)
  }

  unsubscribe(listener: Listener<E>): void {
    this.#listeners.delete(listener)
  }

  send(event: E): void {
    // Iterates a copy: a listener may unsubscribe itself or subscribe another one, which then gets the next event.
    for (const listener of [...this.#listeners]) {
      try {
        const result = listener(event) as { then?: unknown } | undefined
        if (typeof result?.then === 'function') {
          Promise.resolve(result).catch((error: unknown) => this.#complain(event.environ, error))
        }
      } catch (error) {
        this.#complain(event.environ, error)
      }
    }
  }

  #complain(environ: Environ, error: unknown): void {
    const message = 'a listener of a request signal failed'
    if (this.#log) this.#log.error({ requestId: environ.gantry.requestId, err: error }, message)
    else environ['wsgi.errors'].write(`${message}: ${textOfThrown(error)}\n`)
  }
}
