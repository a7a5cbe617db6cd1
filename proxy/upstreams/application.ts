/**
 * An application of this process as an upstream of the pool: an HTTP server behind `http(url)`, for one. It is always ready, and has as many
 * slots as it is given.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/application.ts'
import type { ReplayableBody } from '../../protocol/frames/caller.ts'
import type { Attempt, Upstream, UpstreamState } from '../upstream.ts'
import { ReplayedInput } from './replayed-input.ts'

/** Requests at once: as many as `http` opens connections, so that what is above waits in the pool's queue and not in its. */
const SLOTS = 256

export class ApplicationUpstream implements Upstream {
  readonly name: string
  readonly grant: number
  onChange: () => void = () => {}
  readonly #application: Application
  readonly #onClosed: (() => void) | undefined
  #inFlight = 0
  #state: UpstreamState = 'ready'

  constructor(name: string, application: Application, options: { slots?: number; onClosed?: () => void } = {}) {
    this.name = name
    this.#application = application
    this.grant = options.slots ?? SLOTS
    this.#onClosed = options.onClosed
  }

  get state(): UpstreamState {
    return this.#state
  }

  get inFlight(): number {
    return this.#inFlight
  }

  demand(): void {}

  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody): Attempt {
    // What is read is kept, so that another member can be sent the whole of it.
    environ['wsgi.input'] = new ReplayedInput(body).input
    const call = new Call(environ, () => this.#release())
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
    this.onChange()
    this.#onClosed?.()
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

/** One call, which keeps its own time (`http` does): its slot is taken until its body is closed, or an upgrade has made it a connection. */
class Call implements Attempt {
  readonly timed = true
  readonly #environ: Environ
  readonly #release: () => void
  readonly #result: PromiseWithResolvers<Body> = Promise.withResolvers()
  #released = false
  #given = false
  #reason: Error | undefined

  constructor(environ: Environ, release: () => void) {
    this.#environ = environ
    this.#release = release
  }

  get response(): Promise<Body> {
    return this.#result.promise
  }

  run(application: Application, startResponse: StartResponse): this {
    const start: StartResponse = (status, headers, excInfo) => {
      if (this.#reason) throw this.#reason
      const write = startResponse(status, headers, excInfo)
      // An upgraded connection may last for days; it gives its slot back, as over frames.
      if (status.startsWith('101')) this.#free()
      return write
    }
    this.#finish(application, start)
    return this
  }

  abort(reason: Error): void {
    if (this.#reason) return
    this.#reason = reason
    // The application hears of it by its client's signal, or when its body is closed, which happens when it comes.
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
      this.#free()
      this.#result.reject(error)
    }
  }

  #free(): void {
    if (this.#released) return
    this.#released = true
    this.#release()
  }
}

/** Gives the slot back with `close()`. */
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
    this.#release()
    return this.#body.close?.()
  }
}
