/**
 * Deadlines for an application: 504 if it does not begin its response in time, and a visible abort if it does not end
 * its response in time. An application that blocks the event loop cannot be interrupted here; a supervisor must detect
 * it.
 */

import type {
  Application,
  Body,
  Environ,
  Headers,
  Middleware,
  StartResponse,
  Write,
} from '../protocol/contract/application.ts'
import { ApplicationBody } from '../protocol/contract/application-body.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import { DerivedContext } from '../protocol/contract/derived-context.ts'
import { AbortError, type HttpError } from '../protocol/contract/errors.ts'
import { CLOSE_GRACE } from '../protocol/contract/exchange.ts'
import { RequestInput } from '../protocol/contract/input.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Clock, Deadlines, type Expirable, systemClock, type Timer } from '../protocol/net/clock.ts'
import { aClock, checkOptions, duration, logger, type OptionForms } from '../protocol/options/check-options.ts'
import { wrapInput } from './shared/wrapped-input.ts'

/** The options of `timeout`. */
export interface TimeoutOptions {
  /** Time from the call to the first byte of the response, ms. Default 30,000, as gunicorn's. Infinity: no limit. */
  readonly firstByte?: number | undefined
  /**
   * Time from the call to the end of the response, ms, including the time that a slow client takes. Default Infinity:
   * downloads and event streams may take any time.
   */
  readonly total?: number | undefined
  /** The log for errors that an application throws after its deadline. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'warn'> | undefined
  /** The clock, for tests. Default: the system clock. */
  readonly clock?: Clock | undefined
}

const OPTIONS: OptionForms<TimeoutOptions> = {
  firstByte: duration,
  total: duration,
  log: logger('warn'),
  clock: aClock,
}

/** What all requests of one middleware share. */
interface TimeoutSettings {
  readonly firstByte: number
  readonly total: number
  readonly log: Pick<Logger, 'warn'> | undefined
  readonly clock: Clock
  readonly deadlines: Deadlines
}

/** Interval of deadline checks: a tenth of the shortest deadline, within these bounds, ms. */
const [TICK_MIN, TICK_MAX] = [5, 250]

/**
 * Answers 504 if the application takes too long to respond, and aborts a response that takes too long to end.
 *
 * The application learns of the deadline by `environ.gantry.signal`. Its later output is dropped, its body is closed,
 * and its slot stays taken until it is done: a deadline must not admit more requests to an application that is too
 * slow.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import { setTimeout as sleep } from 'node:timers/promises'
 * import type { Application } from 'gantry'
 * import { timeout } from 'gantry/middleware'
 *
 * const slow: Application = async (environ, startResponse) => {
 *   await sleep(100, undefined, { signal: environ.gantry.signal })
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * export const application: Application = timeout({ firstByte: 5_000, total: 60_000 })(slow)
 * ```
 */
export function timeout(options: TimeoutOptions = {}): Middleware {
  checkOptions('timeout', options, OPTIONS)
  const { firstByte = 30_000, total = Number.POSITIVE_INFINITY, log, clock = systemClock } = options
  const tick = Math.min(TICK_MAX, Math.max(TICK_MIN, Math.min(firstByte, total) / 10))
  const shared: TimeoutSettings = { firstByte, total, log, clock, deadlines: new Deadlines(clock, tick) }
  return (application) => (environ, startResponse) => new TimedResponse(shared, environ, startResponse).run(application)
}

const ignore = (): void => {}

class TimedResponse implements Expirable {
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  readonly #shared: TimeoutSettings
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #context: DerivedContext
  readonly #startedAt: number
  /** The application's input, if more bytes can arrive. */
  #input: RequestInput | undefined
  /** The application's last head. */
  #head: [status: string, headers: Headers] | undefined
  /** Whether the head was sent, or is about to be. */
  #isSent = false
  #bytes = 0
  /** Whether no deadline applies any more. */
  #isOver = false
  #error: HttpError | undefined
  #aborted: AbortError | undefined
  /** Answers with a body while the application's promise is pending. */
  #answer: ((body: Body) => void) | undefined
  /** Rejects the pending `next()`. */
  #interrupt: ((error: Error) => void) | undefined
  readonly #open: ApplicationBody = new ApplicationBody()
  /** The application's pending promise or `next()`. It never rejects. */
  #pending: Promise<void> | undefined

  constructor(shared: TimeoutSettings, environ: Environ, startResponse: StartResponse) {
    this.#shared = shared
    this.#environ = environ
    this.#startResponse = startResponse
    this.#startedAt = shared.clock.now()
    this.#context = new DerivedContext(environ.gantry, () => this.#finish())
  }

  run(application: Application): Body | Promise<Body> {
    const { gantry, 'wsgi.input': input } = this.#environ
    this.#environ.gantry = this.#context
    if (!(input instanceof RequestInput && input.ended)) {
      this.#input = wrapInput(input)
      this.#environ['wsgi.input'] = this.#input
    }
    const given = application(this.#environ, (status, headers, excInfo) => this.#start(status, headers, excInfo))
    // A complete response needs no deadline.
    if (Array.isArray(given)) return given
    const { firstByte, total, deadlines } = this.#shared
    this.deadline = this.#startedAt + (this.#isSent ? total : Math.min(firstByte, total))
    // No deadline applies if the call has upgraded the connection.
    if (this.#isOver || this.deadline === Number.POSITIVE_INFINITY) return given
    deadlines.add(this)
    // The client has the whole response or has disconnected: a deadline has no effect any more.
    gantry.onFinished(() => this.#finish())
    return typeof (given as Promise<Body>)?.then === 'function'
      ? this.#race(given as Promise<Body>)
      : this.#withDeadline(given as Body)
  }

  // ---- the application's side --------------------------------------------------------------------------------------

  #start(status: string, headers: Headers, excInfo: unknown): Write {
    if (this.#aborted) throw this.#aborted
    const write = this.#startResponse(status, headers, excInfo)
    this.#head = [status, headers]
    return (chunk) => {
      if (this.#aborted) {
        const refused = Promise.reject(this.#aborted)
        // An application need not await a write.
        refused.catch(ignore)
        return refused
      }
      this.#onBytes(chunk)
      return write(chunk)
    }
  }

  /** The chunk sends the head, if it was not sent before: from now on only `total` applies. */
  #onBytes(chunk: Uint8Array): void {
    this.#bytes += chunk.length
    if (this.#isSent) return
    this.#isSent = true
    // A deadline that has passed stays as it is.
    if (this.deadline !== Number.POSITIVE_INFINITY) this.deadline = this.#startedAt + this.#shared.total
    if (this.#shared.total === Number.POSITIVE_INFINITY) this.#finish()
  }

  #race(given: Promise<Body>): Promise<Body> {
    return new Promise((resolve, reject) => {
      this.#answer = resolve
      this.#pending = given.then(
        (body) => {
          if (this.#aborted) return this.#closeLateBody(body)
          this.#answer = undefined
          this.#pending = undefined
          resolve(this.#withDeadline(body))
          return undefined
        },
        (error: unknown) => {
          if (this.#aborted) return this.#failedLate(error)
          this.#answer = undefined
          this.#pending = undefined
          this.#finish()
          reject(error)
        },
      )
    })
  }

  /** Closes a body that was returned after the deadline. */
  async #closeLateBody(body: Body): Promise<void> {
    this.#open.give(body)
    await this.#open.close((error) => this.#failedLate(error))
  }

  /** The body with its deadline; the application's own object if no deadline is left. */
  #withDeadline(body: Body): Body {
    const iterable = typeof body === 'object' && body !== null
    const hasNoDeadline = this.#isSent && this.#shared.total === Number.POSITIVE_INFINITY
    if (!iterable || Array.isArray(body) || hasNoDeadline) {
      this.#finish()
      return body
    }
    this.#open.give(body)
    const close = (): void | Promise<void> => this.#close()
    if (Symbol.asyncIterator in body) return { [Symbol.asyncIterator]: () => this.#asyncIterator(), close }
    return { [Symbol.iterator]: () => this.#syncIterator(), close }
  }

  #asyncIterator(): AsyncIterator<Uint8Array> {
    const iterator = this.#open.iterate() as AsyncIterator<Uint8Array>
    return {
      next: () => {
        if (this.#error) return Promise.reject(this.#error)
        const pending = iterator.next()
        if (this.deadline === Number.POSITIVE_INFINITY && this.#isSent) return this.#withEnd(pending)
        return new Promise((resolve, reject) => {
          this.#interrupt = reject
          this.#pending = this.#withEnd(pending).then(
            (step) => {
              if (this.#aborted) return
              this.#interrupt = undefined
              this.#pending = undefined
              this.#onStep(step)
              resolve(step)
            },
            (error: unknown) => {
              if (this.#aborted) return this.#failedLate(error)
              this.#interrupt = undefined
              this.#pending = undefined
              this.#finish()
              reject(error)
            },
          )
        })
      },
      return: () => this.#return(iterator) as Promise<IteratorResult<Uint8Array>>,
    }
  }

  /** An iterator that has ended needs no `return()`. */
  #withEnd(pending: Promise<IteratorResult<Uint8Array>>): Promise<IteratorResult<Uint8Array>> {
    return pending.then(
      (step) => {
        if (step.done) this.#open.iterator = undefined
        return step
      },
      (error: unknown) => {
        this.#open.iterator = undefined
        throw error
      },
    )
  }

  #syncIterator(): Iterator<Uint8Array> {
    const iterator = this.#open.iterate() as Iterator<Uint8Array>
    return {
      next: () => {
        if (this.#error) throw this.#error
        let step: IteratorResult<Uint8Array>
        try {
          step = iterator.next()
        } catch (error) {
          this.#open.iterator = undefined
          this.#finish()
          throw error
        }
        if (step.done) this.#open.iterator = undefined
        this.#onStep(step)
        return step
      },
      return: () => this.#return(iterator) as IteratorResult<Uint8Array>,
    }
  }

  #onStep({ done, value }: IteratorResult<Uint8Array>): void {
    if (done) this.#finish()
    else if (value instanceof Uint8Array && value.length > 0) this.#onBytes(value)
  }

  #return(iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>): unknown {
    this.#open.iterator = undefined
    const over = { done: true, value: undefined }
    if (iterator.return) return iterator.return()
    return Symbol.asyncIterator in iterator ? Promise.resolve(over) : over
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  /** No deadline applies any more. */
  #finish(): void {
    this.#isOver = true
    this.deadline = Number.POSITIVE_INFINITY
    this.#shared.deadlines.delete(this)
  }

  /** Called by `Deadlines` when the deadline has passed. */
  expire(): void {
    const { firstByte, total, deadlines, clock } = this.#shared
    deadlines.delete(this)
    const [what, limit] = this.#isSent || total < firstByte ? ['finish', total] : ['begin', firstByte]
    const message = `the application did not ${what} its response within ${limit} ms (timeout)`
    const error = httpError('APPLICATION_TIMEOUT', message)
    this.#error = error
    this.#aborted = new AbortError('DEADLINE', message, { cause: error })
    if (this.#isSent) this.#abortResponse(error)
    const answer = this.#answer
    const interrupt = this.#interrupt
    this.#answer = undefined
    this.#interrupt = undefined
    answer?.(this.#failingBody(error))
    interrupt?.(error)
    this.#input?.fail(this.#aborted)
    this.#context.endEarly(this.#aborted, {
      status: this.#isSent ? Number(this.#head?.[0].slice(0, 3)) : 0,
      bytes: this.#bytes,
      milliseconds: clock.now() - this.#startedAt,
    })
  }

  /**
   * Aborts the response: startResponse with excInfo after the head does (PEP 3333), even if the response waits for its
   * client.
   */
  #abortResponse(error: HttpError): void {
    try {
      this.#startResponse(this.#head![0], this.#head![1], error)
    } catch {
      // As expected: startResponse throws the error that it gets.
    }
  }

  /**
   * A body that fails before its first chunk, so that middleware outside can answer. Its `close()` waits for the
   * application.
   */
  #failingBody(error: HttpError): Body {
    return {
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
      close: () => this.#pending,
    }
  }

  #close(): void | Promise<void> {
    this.#finish()
    // Otherwise the caller has waited already, or there is nothing to wait for.
    if (this.#aborted && this.#pending) return this.#closeAfter(this.#pending)
    let failure: { error: unknown } | undefined
    const closing = this.#open.close((error) => {
      failure ??= { error }
    })
    if (closing) {
      return closing.then(() => {
        if (failure) throw failure.error
      })
    }
    if (failure) throw (failure as { error: unknown }).error
  }

  /**
   * As after an abort in exchange.ts: a pending `next()` has 5 s before the body is closed, and is awaited in any case.
   */
  async #closeAfter(pending: Promise<void>): Promise<void> {
    let timer: Timer | undefined
    const grace = new Promise<void>((resolve) => {
      timer = this.#shared.clock.after(CLOSE_GRACE, resolve)
    })
    await Promise.race([pending, grace])
    timer?.cancel()
    await this.#open.close((error) => this.#failedLate(error))
    await pending
  }

  /** Logs an error of the application after its deadline. Errors that only pass the deadline on are not logged. */
  #failedLate(error: unknown): void {
    if (error instanceof AbortError || error === this.#error || (error as Error)?.name === 'AbortError') return
    const message = 'the application failed after its deadline'
    const { log } = this.#shared
    if (log) log.warn({ requestId: this.#context.requestId, err: error }, message)
    else this.#environ['wsgi.errors'].write(`${message}: ${textOfThrown(error)}\n`)
  }
}
