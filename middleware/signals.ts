/**
 * Tells whoever subscribed when a request starts, fails and finishes: Django's `request_started`, `got_request_exception` and
 * `request_finished`. It changes nothing of request or response, and a listener that throws breaks nothing.
 */

import type { Environ, Middleware, Outcome } from '../protocol/contract/application.ts'
import { HttpError } from '../protocol/contract/errors.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { checkOptions, logger, type OptionForms } from '../protocol/options/check-options.ts'
import { observeFailures } from './shared/observe-failures.ts'

export interface SignalsOptions {
  /** Where failures of listeners go. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'error'> | undefined
}

/** May give a promise: nobody waits for it, and its rejection is logged. */
export type Listener<E> = (event: E) => unknown

export interface Signal<E> {
  /** Without effect for one that is subscribed already. @returns a function that unsubscribes it */
  subscribe(listener: Listener<E>): () => void
  unsubscribe(listener: Listener<E>): void
}

/** A middleware, and what it tells. */
export interface Signals extends Middleware {
  /** Before the application is called. */
  readonly requestStarted: Signal<{ readonly environ: Environ }>
  /**
   * The application threw, or its response was cut short by anything but its client's going; at most once, before `requestFinished`. An
   * `HttpError` below 500 is an answer and no failure.
   */
  readonly requestFailed: Signal<{ readonly environ: Environ; readonly error: unknown }>
  /** The response is over, whole or not; once for each that started. */
  readonly requestFinished: Signal<{ readonly environ: Environ; readonly outcome: Outcome }>
}

const OPTIONS: OptionForms<SignalsOptions> = { log: logger('error') }

/** What middleware further in answers for (`errorPage`) is no failure here: put this inside of it to be told. */
export function signals(options: SignalsOptions = {}): Signals {
  checkOptions('signals', options, OPTIONS)
  const { log } = options
  const started = new Topic<{ environ: Environ }>(log)
  const failed = new Topic<{ environ: Environ; error: unknown }>(log)
  const finished = new Topic<{ environ: Environ; outcome: Outcome }>(log)
  const middleware: Middleware = (application) => (environ, startResponse) => {
    let hasFailed = false
    const fail = (error: unknown): void => {
      if (hasFailed || isNoFailure(error, environ)) return
      hasFailed = true
      failed.tell({ environ, error })
    }
    if (started.heard) started.tell({ environ })
    if (finished.heard || failed.heard) {
      environ.gantry.onFinished((outcome) => {
        if (outcome.aborted && codeOf(outcome.aborted) !== 'CLIENT_GONE') fail(outcome.aborted.cause ?? outcome.aborted)
        finished.tell({ environ, outcome })
      })
    }
    if (!failed.heard) return application(environ, startResponse)
    return observeFailures(application, environ, startResponse, fail)
  }
  return Object.assign(middleware, { requestStarted: started, requestFailed: failed, requestFinished: finished })
}

function codeOf(error: Error): unknown {
  return (error as { code?: unknown }).code
}

/** An answer, or the client's going as the application is told of it. */
function isNoFailure(error: unknown, environ: Environ): boolean {
  if (error instanceof HttpError) return error.status < 500
  return error instanceof Error && codeOf(error) === 'CLIENT_GONE' && environ.gantry.signal.aborted
}

class Topic<E extends { environ: Environ }> implements Signal<E> {
  readonly #listeners: Set<Listener<E>> = new Set()
  readonly #log: Pick<Logger, 'error'> | undefined

  constructor(log: Pick<Logger, 'error'> | undefined) {
    this.#log = log
  }

  get heard(): boolean {
    return this.#listeners.size > 0
  }

  subscribe(listener: Listener<E>): () => void {
    if (typeof listener !== 'function') throw new TypeError(`a listener is a function, got ${typeof listener}`)
    this.#listeners.add(listener)
    return () => this.unsubscribe(listener)
  }

  unsubscribe(listener: Listener<E>): void {
    this.#listeners.delete(listener)
  }

  tell(event: E): void {
    // A copy: a listener may unsubscribe itself, or subscribe another, which then hears of the next.
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
