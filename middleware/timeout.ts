/**
 * Deadlines for an application: 504 when it has not begun its response in time, and a response that is visibly cut when it has not
 * finished it. The application is told by `environ.gantry.signal`; what it does later is dropped, its body is closed, and its slot
 * stays taken until it is done: a deadline does not make room for more of what is too slow.
 *
 * An application that holds the event loop cannot be interrupted from within; supervisors find those.
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
import { DerivedContext } from '../protocol/contract/derived-context.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import { AbortError, type HttpError } from '../protocol/contract/errors.ts'
import { CLOSE_GRACE } from '../protocol/contract/exchange.ts'
import { RequestInput } from '../protocol/contract/input.ts'
import { OpenBody } from '../protocol/contract/open-body.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Clock, Deadlines, type Expirable, systemClock, type Timer } from '../protocol/net/clock.ts'
import { aClock, checkOptions, duration, logger, type OptionForms } from '../protocol/options/check-options.ts'
import { relayedInput } from './filter/relayed-input.ts'

export interface TimeoutOptions {
  /** Milliseconds from the call to the first byte of the response. Default 30,000, as gunicorn's. Infinity: none. */
  readonly firstByte?: number | undefined
  /**
   * Milliseconds from the call to the end of the response, its client's slowness included. Default Infinity: downloads and event streams may
   * take as long as they like.
   */
  readonly total?: number | undefined
  /** Takes what an application that was given up fails with later. Default: `wsgi.errors` of its request. */
  readonly log?: Pick<Logger, 'warn'> | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

const OPTIONS: OptionForms<TimeoutOptions> = {
  firstByte: duration,
  total: duration,
  log: logger('warn'),
  clock: aClock,
}

/** What the calls of one middleware share. */
interface Shared {
  readonly firstByte: number
  readonly total: number
  readonly log: Pick<Logger, 'warn'> | undefined
  readonly clock: Clock
  readonly deadlines: Deadlines
}

/** How often deadlines are looked at: a tenth of the shortest, within these bounds, ms. */
const [TICK_MIN, TICK_MAX] = [5, 250]

/** @throws TypeError for an option that is none */
export function timeout(options: TimeoutOptions = {}): Middleware {
  checkOptions('timeout', options, OPTIONS)
  const { firstByte = 30_000, total = Number.POSITIVE_INFINITY, log, clock = systemClock } = options
  const tick = Math.min(TICK_MAX, Math.max(TICK_MIN, Math.min(firstByte, total) / 10))
  const shared: Shared = { firstByte, total, log, clock, deadlines: new Deadlines(clock, tick) }
  return (application) => (environ, startResponse) => new TimedCall(shared, environ, startResponse).run(application)
}

const ignore = (): void => {}

class TimedCall implements Expirable {
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  readonly #shared: Shared
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #context: DerivedContext
  readonly #began: number
  /** The application's, where there is more to come than is here. */
  #input: RequestInput | undefined
  /** The last head that the application gave. */
  #head: [status: string, headers: Headers] | undefined
  /** The head has left, or is about to. */
  #sent = false
  #bytes = 0
  /** There is nothing to time any more. */
  #over = false
  #error: HttpError | undefined
  #aborted: AbortError | undefined
  /** Gives a body in the application's place, while it has given none. */
  #answer: ((body: Body) => void) | undefined
  /** Fails the `next()` that is being waited for. */
  #interrupt: ((error: Error) => void) | undefined
  readonly #open: OpenBody = new OpenBody()
  /** The application's pending promise or `next()`; never rejects. */
  #pending: Promise<void> | undefined

  constructor(shared: Shared, environ: Environ, startResponse: StartResponse) {
    this.#shared = shared
    this.#environ = environ
    this.#startResponse = startResponse
    this.#began = shared.clock.now()
    this.#context = new DerivedContext(environ.gantry, () => this.#done())
  }

  run(application: Application): Body | Promise<Body> {
    const { gantry, 'wsgi.input': input } = this.#environ
    this.#environ.gantry = this.#context
    if (!(input instanceof RequestInput && input.ended)) {
      this.#input = relayedInput(input)
      this.#environ['wsgi.input'] = this.#input
    }
    const given = application(this.#environ, (status, headers, excInfo) => this.#start(status, headers, excInfo))
    // Whatever came at once needs no deadline.
    if (Array.isArray(given)) return given
    const { firstByte, total, deadlines } = this.#shared
    this.deadline = this.#began + (this.#sent ? total : Math.min(firstByte, total))
    // Also where the connection was handed over within the call.
    if (this.#over || this.deadline === Number.POSITIVE_INFINITY) return given
    deadlines.add(this)
    // Its client has all of it, or has gone: there is nobody to be told of a deadline.
    gantry.onFinished(() => this.#done())
    return typeof (given as Promise<Body>)?.then === 'function'
      ? this.#race(given as Promise<Body>)
      : this.#timed(given as Body)
  }

  // ---- the application's side --------------------------------------------------------------------------------------

  #start(status: string, headers: Headers, excInfo: unknown): Write {
    if (this.#aborted) throw this.#aborted
    const write = this.#startResponse(status, headers, excInfo)
    this.#head = [status, headers]
    return (chunk) => {
      if (this.#aborted) {
        const refused = Promise.reject(this.#aborted)
        // Nobody has to await a write.
        refused.catch(ignore)
        return refused
      }
      this.#leaving(chunk)
      return write(chunk)
    }
  }

  /** The head leaves with `chunk`, if it has not: from here on only the whole is timed. */
  #leaving(chunk: Uint8Array): void {
    this.#bytes += chunk.length
    if (this.#sent) return
    this.#sent = true
    // A deadline that has passed is not set again.
    if (this.deadline !== Number.POSITIVE_INFINITY) this.deadline = this.#began + this.#shared.total
    if (this.#shared.total === Number.POSITIVE_INFINITY) this.#done()
  }

  #race(given: Promise<Body>): Promise<Body> {
    return new Promise((resolve, reject) => {
      this.#answer = resolve
      this.#pending = given.then(
        (body) => {
          if (this.#aborted) return this.#dispose(body)
          this.#answer = undefined
          this.#pending = undefined
          resolve(this.#timed(body))
          return undefined
        },
        (error: unknown) => {
          if (this.#aborted) return this.#failedLate(error)
          this.#answer = undefined
          this.#pending = undefined
          this.#done()
          reject(error)
        },
      )
    })
  }

  /** A body that came too late. */
  async #dispose(body: Body): Promise<void> {
    this.#open.give(body)
    await this.#open.close((error) => this.#failedLate(error))
  }

  /** The body under its deadline; the application's own where none is left for it. */
  #timed(body: Body): Body {
    const iterable = typeof body === 'object' && body !== null
    const nothingToTime = this.#sent && this.#shared.total === Number.POSITIVE_INFINITY
    if (!iterable || Array.isArray(body) || nothingToTime) {
      this.#done()
      return body
    }
    this.#open.give(body)
    const close = (): void | Promise<void> => this.#close()
    if (Symbol.asyncIterator in body) return { [Symbol.asyncIterator]: () => this.#asynchronous(), close }
    return { [Symbol.iterator]: () => this.#synchronous(), close }
  }

  #asynchronous(): AsyncIterator<Uint8Array> {
    const iterator = this.#open.iterate() as AsyncIterator<Uint8Array>
    return {
      next: () => {
        if (this.#error) return Promise.reject(this.#error)
        const pending = iterator.next()
        if (this.deadline === Number.POSITIVE_INFINITY && this.#sent) return this.#watched(pending)
        return new Promise((resolve, reject) => {
          this.#interrupt = reject
          this.#pending = this.#watched(pending).then(
            (step) => {
              if (this.#aborted) return
              this.#interrupt = undefined
              this.#pending = undefined
              this.#saw(step)
              resolve(step)
            },
            (error: unknown) => {
              if (this.#aborted) return this.#failedLate(error)
              this.#interrupt = undefined
              this.#pending = undefined
              this.#done()
              reject(error)
            },
          )
        })
      },
      return: () => this.#return(iterator) as Promise<IteratorResult<Uint8Array>>,
    }
  }

  /** An iterator that is over needs no `return()`. */
  #watched(pending: Promise<IteratorResult<Uint8Array>>): Promise<IteratorResult<Uint8Array>> {
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

  #synchronous(): Iterator<Uint8Array> {
    const iterator = this.#open.iterate() as Iterator<Uint8Array>
    return {
      next: () => {
        if (this.#error) throw this.#error
        let step: IteratorResult<Uint8Array>
        try {
          step = iterator.next()
        } catch (error) {
          this.#open.iterator = undefined
          this.#done()
          throw error
        }
        if (step.done) this.#open.iterator = undefined
        this.#saw(step)
        return step
      },
      return: () => this.#return(iterator) as IteratorResult<Uint8Array>,
    }
  }

  #saw({ done, value }: IteratorResult<Uint8Array>): void {
    if (done) this.#done()
    else if (value instanceof Uint8Array && value.length > 0) this.#leaving(value)
  }

  #return(iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>): unknown {
    this.#open.iterator = undefined
    const over = { done: true, value: undefined }
    if (iterator.return) return iterator.return()
    return Symbol.asyncIterator in iterator ? Promise.resolve(over) : over
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  /** There is nothing to time any more. */
  #done(): void {
    this.#over = true
    this.deadline = Number.POSITIVE_INFINITY
    this.#shared.deadlines.delete(this)
  }

  /** Of Expirable: too late. */
  expire(): void {
    const { firstByte, total, deadlines, clock } = this.#shared
    deadlines.delete(this)
    const [what, limit] = this.#sent || total < firstByte ? ['finish', total] : ['begin', firstByte]
    const message = `the application did not ${what} its response within ${limit} ms (timeout)`
    const error = httpError('APPLICATION_TIMEOUT', message)
    this.#error = error
    this.#aborted = new AbortError('DEADLINE', message, { cause: error })
    if (this.#sent) this.#cutResponse(error)
    const answer = this.#answer
    const interrupt = this.#interrupt
    this.#answer = undefined
    this.#interrupt = undefined
    answer?.(this.#failing(error))
    interrupt?.(error)
    this.#input?.fail(this.#aborted)
    this.#context.cut(this.#aborted, {
      status: this.#sent ? Number(this.#head?.[0].slice(0, 3)) : 0,
      bytes: this.#bytes,
      milliseconds: clock.now() - this.#began,
    })
  }

  /** PEP 3333: startResponse with excInfo after the head is what cuts a response, also one that waits for its client. */
  #cutResponse(error: HttpError): void {
    try {
      this.#startResponse(this.#head![0], this.#head![1], error)
    } catch {
      // As it is to be: it throws what it is given.
    }
  }

  /** A body that fails before its first chunk, so that whoever is outside answers, and whose `close()` waits for the application. */
  #failing(error: HttpError): Body {
    return {
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
      close: () => this.#pending,
    }
  }

  #close(): void | Promise<void> {
    this.#done()
    // Else whoever closes has waited already, or there is nothing to wait for.
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

  /** As after an abort in exchange.ts: a `next()` has 5 s to come in before the body is closed, and is waited for all the same. */
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

  /** It was told of the deadline by rejections; that it passes them on is no failure of its own. */
  #failedLate(error: unknown): void {
    if (error instanceof AbortError || error === this.#error || (error as Error)?.name === 'AbortError') return
    const message = 'the application failed after its deadline'
    const { log } = this.#shared
    if (log) log.warn({ requestId: this.#context.requestId, err: error }, message)
    else this.#environ['wsgi.errors'].write(`${message}: ${textOfThrown(error)}\n`)
  }
}
