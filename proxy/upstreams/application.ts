/**
 * An application of this process as an upstream of the pool, for example an HTTP server behind `http(url)`. After a
 * request that could not be delivered the upstream has no slots for a pause, and then one slot, for a request that
 * tries again.
 */

import { isFailure } from '../../pool/replay.ts'
import type { Attempt, Upstream, UpstreamState } from '../../pool/upstream.ts'
import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import type { ReplayableBody, SlotUser } from '../../protocol/frames/caller.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { backoff } from '../../protocol/net/backoff.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import { LastReason, type Phase, whyUnreachable } from '../../protocol/net/unreachable.ts'
import { ReplayedInput } from './replayed-input.ts'

/**
 * Requests at once: as many as `http` opens connections, so that further requests wait in the pool's queue and not in
 * `http`.
 */
const SLOTS = 256

/** How long an unreachable server gets no requests, ms: as long as a dialer waits for a container. */
const PAUSE = { first: 50, most: 1_000 }

/** The same failure is logged again if there was none for this long, ms. */
const FORGOTTEN = 60_000

interface ApplicationUpstreamOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Returns numbers in [0, 1). */
  readonly random: () => number
  readonly slots?: number | undefined
  readonly onClosed?: (() => void) | undefined
}

export class ApplicationUpstream implements Upstream {
  readonly name: string
  onChange: () => void = () => {}
  readonly #application: Application
  readonly #options: ApplicationUpstreamOptions
  #inFlight = 0
  #reached = false
  /** Requests in a row that could not be delivered. */
  #failures = 0
  #pause: Timer | undefined
  /** The last logged reasons why the server was not reached, and why it did not answer. */
  readonly #reason: LastReason = new LastReason()
  readonly #answers: LastReason = new LastReason()
  #unansweredAt = 0
  #state: UpstreamState = 'ready'

  constructor(name: string, application: Application, options: ApplicationUpstreamOptions) {
    this.name = name
    this.#application = application
    this.#options = options
  }

  get grant(): number {
    if (this.#pause) return 0
    return this.#failures > 0 ? 1 : (this.#options.slots ?? SLOTS)
  }

  get state(): UpstreamState {
    return this.#state
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get reached(): boolean {
    return this.#reached
  }

  demand(): void {}

  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user: SlotUser): Attempt {
    // Keeps the bytes that are read, so that another member can get the complete body.
    const replayed = new ReplayedInput(body)
    environ['wsgi.input'] = replayed.input
    const call = new ApplicationCall(environ, replayed, this.#owner, user)
    this.#inFlight++
    this.onChange()
    return call.run(this.#application, startResponse)
  }

  close(): void {
    if (this.#state !== 'ready') return
    this.#state = 'draining'
    this.onChange()
    this.#endIfIdle()
  }

  destroy(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#pause?.cancel()
    this.onChange()
    this.#options.onClosed?.()
  }

  readonly #owner: ApplicationCallOwner = {
    release: () => this.#release(),
    delivered: () => {
      const { log } = this.#options
      const isFirst = !this.#reached
      this.#reached = true
      if (this.#failures > 0) {
        this.#failures = 0
        this.#reason.end()
        log.info({ address: this.name }, 'server is reached again')
        this.onChange()
      } else if (isFirst) log.info({ address: this.name }, 'server is reached')
    },
    undelivered: (error, requestId) => this.#undelivered(error, requestId),
    unanswered: (error, requestId) => this.#unanswered(error, requestId),
  }

  #undelivered(error: Error, requestId: string): void {
    // Counts only the first of several requests that fail together.
    if (this.#pause || this.#state === 'closed') return
    const { clock, log, random } = this.#options
    this.#failures++
    const why = whyFailed(error)
    if (this.#reason.changes(why)) {
      log.warn({ address: this.name, requestId, ...why }, 'server cannot be reached; trying again')
    }
    this.#pause = clock.after(backoff(this.#failures, PAUSE, random), () => {
      this.#pause = undefined
      this.onChange()
    })
    this.onChange()
  }

  /**
   * The server received the request and did not begin a valid response. The exchange logs the failure of the request.
   */
  #unanswered(error: Error, requestId: string): void {
    const { clock, log } = this.#options
    const now = clock.now()
    if (now - this.#unansweredAt >= FORGOTTEN) this.#answers.end()
    this.#unansweredAt = now
    const why = whyFailed(error)
    if (this.#answers.changes(why)) {
      log.warn({ address: this.name, requestId, ...why }, 'server does not answer a request')
    }
  }

  #release(): void {
    this.#inFlight--
    this.onChange()
    this.#endIfIdle()
  }

  #endIfIdle(): void {
    if (this.#state === 'draining' && this.#inFlight === 0) this.destroy()
  }
}

/** Receives the events of a call. */
interface ApplicationCallOwner {
  /** The slot of the call is free. */
  release(): void
  /** The server has sent a response. */
  delivered(): void
  /** No byte of the request can have reached the server. */
  undelivered(error: Error, requestId: string): void
  /** The server received the request and did not answer it. */
  unanswered(error: Error, requestId: string): void
}

function whyFailed(error: Error): ReturnType<typeof whyUnreachable> {
  const { phase = 'first-byte', cause } = error as { phase?: Phase; cause?: unknown }
  return whyUnreachable(cause instanceof Error ? cause : error, phase)
}

/**
 * One call. `http` enforces the timeouts. The call holds its slot until its body is closed, or until an upgrade has
 * made it a connection.
 */
class ApplicationCall implements Attempt {
  readonly timed = true
  readonly #environ: Environ
  readonly #input: ReplayedInput
  readonly #owner: ApplicationCallOwner
  readonly #user: SlotUser
  readonly #result: PromiseWithResolvers<Body> = Promise.withResolvers()
  #released = false
  #given = false
  #delivered = false
  #reason: Error | undefined

  constructor(environ: Environ, input: ReplayedInput, owner: ApplicationCallOwner, user: SlotUser) {
    this.#environ = environ
    this.#input = input
    this.#owner = owner
    this.#user = user
  }

  get response(): Promise<Body> {
    return this.#result.promise
  }

  run(application: Application, startResponse: StartResponse): this {
    const start: StartResponse = (status, headers, excInfo) => {
      if (this.#reason) throw this.#reason
      this.#delivered = true
      this.#owner.delivered()
      const write = startResponse(status, headers, excInfo)
      // An upgraded connection may last for days, so it frees its slot, as over frames.
      if (status.startsWith('101')) this.#free()
      return write
    }
    this.#finish(application, start)
    return this
  }

  abort(reason: Error): void {
    if (this.#reason) return
    this.#reason = reason
    // The application learns of the abort by its client's signal, or when its body is closed after it arrives.
    if (!this.#given) this.#result.reject(reason)
    this.#free()
  }

  async #finish(application: Application, start: StartResponse): Promise<void> {
    try {
      const body = await application(this.#environ, start)
      if (this.#reason) {
        await body.close?.()
        return
      }
      this.#given = true
      this.#result.resolve(new ReleasingBody(body, () => this.#free()))
    } catch (error) {
      // The failed application must not read from the upload or respond any more: another attempt may do so.
      this.#reason ??= error as Error
      this.#input.abort(error as Error)
      const { requestId } = this.#environ.gantry
      if (isFailure(error) && error.ran === 'no') this.#owner.undelivered(error, requestId)
      else if (!this.#delivered && error instanceof HttpError && (error.status === 502 || error.status === 504))
        this.#owner.unanswered(error, requestId)
      this.#free()
      this.#result.reject(error)
    }
  }

  #free(): void {
    if (this.#released) return
    this.#released = true
    this.#user.released()
    this.#owner.release()
  }
}

/** Frees the slot when `close()` is done. */
class ReleasingBody implements AsyncIterable<Uint8Array> {
  readonly #body: Body
  readonly #release: () => void

  constructor(body: Body, release: () => void) {
    this.#body = body
    this.#release = release
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    const body = this.#body
    if (Symbol.asyncIterator in body) return body[Symbol.asyncIterator]()
    const iterator = body[Symbol.iterator]()
    return {
      next: async () => iterator.next(),
      return: async () => {
        iterator.return?.()
        return { done: true, value: undefined }
      },
    }
  }

  close(): void | Promise<void> {
    // The application ends only when its `close()` does.
    try {
      const closing = this.#body.close?.()
      if (closing instanceof Promise) {
        closing.then(this.#release, this.#release)
        return closing
      }
    } catch (error) {
      this.#release()
      throw error
    }
    this.#release()
  }
}
