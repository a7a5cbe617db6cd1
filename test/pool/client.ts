/** A client's request without a gateway: calls the application, can disconnect, and records how the request ended. */

import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import type { Context } from '../../protocol/contract/context.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { RequestInput } from '../../protocol/contract/input.ts'

export interface ClientOptions {
  method?: string
  target?: string
  headers?: string[]
  input?: RequestInput
}

export class Client {
  readonly environ: Environ
  /** The status lines that it received. */
  readonly heads: string[] = []
  headers: Headers = []
  body: Body | undefined
  error: unknown
  /** The number of times that the application's promise was settled. */
  ended = 0
  #aborted: AbortError | undefined

  constructor({ method = 'GET', target = '/', headers = [], input = new RequestInput(null) }: ClientOptions = {}) {
    this.environ = environFromHttp(
      { method, target, minor: 1, headers: ['Host', 'example.test', ...headers], upgrade: false },
      {
        remoteAddress: '192.0.2.1',
        remotePort: '5000',
        serverName: 'example.test',
        serverPort: '80',
        scheme: 'http',
      },
      { multithread: true, multiprocess: false, runOnce: false },
    )
    this.environ['wsgi.input'] = input
    const client = this
    this.context.bind(
      {
        get aborted() {
          return client.#aborted
        },
        draining: false,
        inform() {},
        trailers() {},
        upgrade() {
          throw new Error('nothing to upgrade')
        },
      },
      undefined,
    )
  }

  get context(): Context {
    return this.environ.gantry as Context
  }

  run(application: Application): this {
    const start: StartResponse = (status, headers) => {
      this.heads.push(status)
      this.headers = headers
      return async () => {}
    }
    Promise.resolve(application(this.environ, start)).then(
      (body) => {
        this.ended++
        this.body = body
      },
      (error) => {
        this.ended++
        this.error = error
      },
    )
    return this
  }

  abort(): void {
    this.#aborted = new AbortError('CLIENT_GONE', 'the client is gone')
    this.context.abort(this.#aborted)
  }

  /** `200 OK`, `503 QUEUE_FULL`, `CLIENT_GONE`, or `waits`. */
  get outcome(): string {
    if (this.ended === 0) return 'waits'
    if (this.error === undefined) return this.heads.join(' then ')
    if (this.error instanceof HttpError) return `${this.error.status} ${this.error.code}`
    return String((this.error as { code?: string }).code ?? this.error)
  }
}

/** Runs the reactions of settled promises. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
