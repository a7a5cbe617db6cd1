/**
 * Answers health probes on paths of the application's own port: whether the process lives, and whether it wants requests. The processes
 * also answer probes on a port of their own (`--health-listen`), which a busy application cannot keep waiting; this is for where
 * there is one port only, and for readiness that the application decides.
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

export interface HealthCheckOptions {
  /** Where 200 says that the process answers at all, drained or not: what fails here is restarted. Default `/healthz` and `/livez`. */
  readonly live?: readonly string[] | undefined
  /** Where 200 says that requests may come, and 503 that they should go elsewhere. Default `/readyz`. */
  readonly ready?: readonly string[] | undefined
  /**
   * Whether requests can be served (a database is there, caches are warm), or an object that says so and is shown. It throws, rejects or takes
   * too long: not ready. Asked by one probe at a time; others wait for the same answer. Default: always.
   */
  readonly check?: (() => CheckResult | Promise<CheckResult>) | undefined
  /** Milliseconds for `check`. Default 900: Kubernetes gives a probe one second. */
  readonly timeout?: number | undefined
  /** Where failed checks are told. Default: `wsgi.errors` of the probe. */
  readonly log?: Pick<Logger, 'warn'> | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

export type CheckResult = boolean | { readonly ready: boolean; readonly [fact: string]: boolean | number | string }

type Facts = { readonly ready: boolean; readonly [fact: string]: boolean | number | string }

const paths = listOf<string>('paths that begin with "/"', (path) => typeof path === 'string' && path.startsWith('/'))

const OPTIONS: OptionForms<HealthCheckOptions> = {
  live: paths,
  ready: paths,
  check: callable('a function that says whether requests can be served'),
  timeout: duration,
  log: logger('warn'),
  clock: aClock,
}

/** @throws TypeError for an option that is none */
export function healthCheck(options: HealthCheckOptions = {}): Middleware {
  checkOptions('healthCheck', options, OPTIONS)
  const { live = ['/healthz', '/livez'], ready = ['/readyz'], timeout = 900 } = options
  const readiness = new Readiness(options, timeout)
  const alive: Application = (_environ, startResponse) => answer(startResponse, true, { live: true })
  const ask: Application = (environ, startResponse) => {
    const { draining, leaving } = environ.gantry
    if (draining || leaving) return answer(startResponse, false, { ready: false, draining: true })
    const facts = readiness.ask(environ)
    return facts instanceof Promise
      ? facts.then((late) => answer(startResponse, late.ready, late))
      : answer(startResponse, facts.ready, facts)
  }
  const probes = new Map<string, Application>([
    ...live.map((path) => [path, alive] as const),
    ...ready.map((path) => [path, ask] as const),
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

/** Asks the check, never twice at a time: a database that hangs must not be asked once more by every probe. */
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

  ask(environ: Environ): Facts | Promise<Facts> {
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
        reject(new Error(`the check has not answered within ${this.#timeout} ms`)),
      )
    })
    return Promise.race([pending, late])
      .catch((error: unknown) => this.#failed(environ, error))
      .finally(() => timer?.cancel())
  }

  /** The reason is for the log: probes may come from anywhere. */
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
