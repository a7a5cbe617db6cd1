/**
 * Answers health probes on paths of the application's port: liveness, and readiness, which the application can decide.
 * Where a second port is possible, `--health-listen` answers probes even while the application is busy.
 */

import type { Application, Environ, Middleware } from '../protocol/contract/application.ts'
import { statusPage } from '../protocol/contract/status-page.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Clock, systemClock, type Timer } from '../protocol/net/clock.ts'
import {
  aClock,
  callable,
  checkOptions,
  duration,
  listOf,
  logger,
  type OptionForms,
} from '../protocol/options/check-options.ts'

/** The options of `healthCheck`. */
export interface HealthCheckOptions {
  /**
   * Paths of liveness probes: 200 means that the process answers, also while it drains. A process that fails these
   * probes is restarted. Default `/healthz` and `/livez`.
   */
  readonly live?: readonly string[] | undefined
  /**
   * Paths of readiness probes: 200 means that requests may be sent, 503 that they should go to other processes. Default
   * `/readyz`.
   */
  readonly ready?: readonly string[] | undefined
  /**
   * Returns whether requests can be served (the database is reachable, caches are filled), or an object with `ready`
   * and further facts that the probe shows. If the function throws, rejects or times out, the process is not ready. One
   * call at a time: concurrent probes share its result. Default: always ready.
   */
  readonly check?: (() => CheckResult | Promise<CheckResult>) | undefined
  /** Timeout of `check`, ms. Default 900: Kubernetes gives a probe one second. */
  readonly timeout?: number | undefined
  /** The log for failed checks. Default: `wsgi.errors` of the probe. */
  readonly log?: Pick<Logger, 'warn'> | undefined
  /** The clock, for tests. Default: the system clock. */
  readonly clock?: Clock | undefined
}

/** What `check` returns: whether the process is ready, with facts to show. */
export type CheckResult = boolean | { readonly ready: boolean; readonly [fact: string]: boolean | number | string }

type Facts = { readonly ready: boolean; readonly [fact: string]: boolean | number | string }

const paths = listOf<string>('paths that begin with "/"', (path) => typeof path === 'string' && path.startsWith('/'))

const OPTIONS: OptionForms<HealthCheckOptions> = {
  live: paths,
  ready: paths,
  check: callable('a function that returns whether requests can be served'),
  timeout: duration,
  log: logger('warn'),
  clock: aClock,
}

/**
 * Answers liveness and readiness probes, and passes all other requests on.
 *
 * Readiness is 503 while the process drains, whatever `check` returns.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { healthCheck } from 'gantry/middleware'
 *
 * const hello: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * const database = { isConnected: () => true }
 * export const application: Application = healthCheck({ check: () => database.isConnected() })(hello)
 * ```
 */
export function healthCheck(options: HealthCheckOptions = {}): Middleware {
  checkOptions('healthCheck', options, OPTIONS)
  const { live = ['/healthz', '/livez'], ready = ['/readyz'], timeout = 900 } = options
  const readiness = new Readiness(options, timeout)
  const livenessProbe: Application = (_environ, startResponse) => answer(startResponse, true, { live: true })
  const readinessProbe: Application = (environ, startResponse) => {
    const { draining, leaving } = environ.gantry
    if (draining || leaving) return answer(startResponse, false, { ready: false, draining: true })
    const facts = readiness.check(environ)
    return facts instanceof Promise
      ? facts.then((late) => answer(startResponse, late.ready, late))
      : answer(startResponse, facts.ready, facts)
  }
  const probes = new Map<string, Application>([
    ...live.map((path) => [path, livenessProbe] as const),
    ...ready.map((path) => [path, readinessProbe] as const),
  ])
  const wrongMethod = statusPage(405, { headers: [['Allow', 'GET, HEAD']] })
  return (application) => (environ, startResponse) => {
    const probe = probes.get(environ.PATH_INFO)
    if (!probe) return application(environ, startResponse)
    const method = environ.REQUEST_METHOD
    return (method === 'GET' || method === 'HEAD' ? probe : wrongMethod)(environ, startResponse)
  }
}

function answer(startResponse: Parameters<Application>[1], good: boolean, facts: object): Uint8Array[] {
  const body = Buffer.from(`${JSON.stringify(facts)}\n`)
  startResponse(good ? '200 OK' : '503 Service Unavailable', [
    ['Content-Type', 'application/json'],
    ['Content-Length', String(body.length)],
    ['Cache-Control', 'no-store'],
  ])
  return [body]
}

/** Calls the check, one call at a time: probes must not pile further calls onto a database that hangs. */
class Readiness {
  readonly #check: () => CheckResult | Promise<CheckResult>
  readonly #timeout: number
  readonly #clock: Clock
  readonly #log: Pick<Logger, 'warn'> | undefined
  #pending: Promise<Facts> | undefined

  constructor({ check = () => true, clock = systemClock, log }: HealthCheckOptions, timeout: number) {
    this.#check = check
    this.#timeout = timeout
    this.#clock = clock
    this.#log = log
  }

  check(environ: Environ): Facts | Promise<Facts> {
    if (this.#pending) return this.#within(environ, this.#pending)
    let result: CheckResult | Promise<CheckResult>
    try {
      result = this.#check()
    } catch (error) {
      return this.#failed(environ, error)
    }
    if (typeof (result as Promise<CheckResult> | undefined)?.then !== 'function') return factsOf(result as CheckResult)
    const pending = Promise.resolve(result)
      .then(factsOf)
      .finally(() => {
        this.#pending = undefined
      })
    this.#pending = pending
    return this.#within(environ, pending)
  }

  #within(environ: Environ, pending: Promise<Facts>): Promise<Facts> {
    let timer: Timer | undefined
    const late = new Promise<never>((_, reject) => {
      timer = this.#clock.after(this.#timeout, () =>
        reject(new Error(`the readiness check timed out after ${this.#timeout} ms`)),
      )
    })
    return Promise.race([pending, late])
      .catch((error: unknown) => this.#failed(environ, error))
      .finally(() => timer?.cancel())
  }

  /** The reason goes to the log alone: anyone may send probes. */
  #failed(environ: Environ, error: unknown): Facts {
    const message = 'the readiness check failed'
    if (this.#log) this.#log.warn({ requestId: environ.gantry.requestId, err: error }, message)
    else environ['wsgi.errors'].write(`${message}: ${error instanceof Error ? error.message : String(error)}\n`)
    return { ready: false }
  }
}

function factsOf(result: CheckResult): Facts {
  return typeof result === 'object' && result !== null
    ? { ...result, ready: result.ready === true }
    : { ready: result === true }
}
