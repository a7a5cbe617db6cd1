/**
 * An exchange between an application and a caller in the same process: without gateway, slots or socket. `call()` and
 * `toFetch()` use it, each with its own sink.
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
      // Nothing reads the rest of the upload.
      upload.stop()
      resolve()
    }
    const host = { clock, log, deadlines: new Deadlines(clock), draining: false, settled }
    this.settled = promise
    this.#upload = upload
    this.#sink = sink
    this.#exchange = new Exchange(application, environ, upload.input, sink, host, requestId)
  }

  /** Calls the application. Errors of the application are not rethrown. */
  run(): void {
    this.#exchange.run()
  }

  /** Continues after the sink has returned false: it can take more. */
  resume(): void {
    this.#exchange.resume()
  }

  /** Aborts the request as a client's disconnect does. Has no effect on a complete response. */
  disconnect(cause?: unknown): void {
    const error = new AbortError('CLIENT_GONE', 'the client disconnected', cause === undefined ? undefined : { cause })
    this.#exchange.abort(error)
    if (!this.#upload.input.ended) this.#upload.input.fail(error)
    this.#upload.stop()
    this.#sink.abort(error)
  }
}
