/**
 * One exchange of an application with a caller in this process: no gateway, no slots, an upload instead of a socket. It is what `call()` and
 * `toFetch()` are made of; their sinks are their own.
 */

import type { Logger } from '../log/logger.ts'
import { type Clock, Deadlines } from '../net/clock.ts'
import type { Application, Environ } from './application.ts'
import { AbortError } from './errors.ts'
import { Exchange } from './exchange.ts'
import type { ResponseSink } from './response.ts'
import type { Upload } from './upload.ts'

export class LocalExchange {
  /** Resolves once the application is done with the request. */
  readonly settled: Promise<void>
  readonly #exchange: Exchange
  readonly #upload: Upload
  readonly #sink: ResponseSink

  constructor(
    application: Application,
    environ: Environ,
    upload: Upload,
    sink: ResponseSink,
    { clock, log, requestId }: { clock: Clock; log: Logger; requestId?: string | undefined },
  ) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const settled = (): void => {
      // What is left of the upload has no reader any more.
      upload.stop()
      resolve()
    }
    const host = { clock, log, deadlines: new Deadlines(clock), draining: false, settled }
    this.settled = promise
    this.#upload = upload
    this.#sink = sink
    this.#exchange = new Exchange(application, environ, upload.input, sink, host, requestId)
  }

  /** Calls the application; nothing that it throws comes out of here. */
  run(): void {
    this.#exchange.run()
  }

  /** The sink has room again. */
  resume(): void {
    this.#exchange.resume()
  }

  /** The caller goes before the end, as a client does. Without effect on a response that is whole. */
  leave(cause?: unknown): void {
    const error = new AbortError('CLIENT_GONE', 'the client disconnected', cause === undefined ? undefined : { cause })
    this.#exchange.abort(error)
    if (!this.#upload.input.ended) this.#upload.input.fail(error)
    this.#upload.stop()
    this.#sink.abort(error)
  }
}
