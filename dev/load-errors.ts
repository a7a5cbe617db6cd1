/**
 * Middleware in front of the development proxy's pool. If no container serves, it answers with the error of the last
 * load; if an older container still serves, it shows the error above its pages. It tells browsers when to reload.
 * `load-state.ts` has the error.
 */

import type { Application, Body, Environ, Middleware, StartResponse } from '../protocol/contract/application.ts'
import type { OtherCode } from '../protocol/contract/error-codes.ts'
import { HttpError } from '../protocol/contract/errors.ts'
import { statusPage } from '../protocol/contract/status-page.ts'
import type { Clock } from '../protocol/net/clock.ts'
import { isForeign, isKnownHost } from './hosts.ts'
import type { LoadState } from './load-state.ts'
import { errorOf, type Failure } from './messages.ts'
import { withOverlay } from './overlay.ts'
import { DEV_PREFIX, ERROR_PATH, EVENTS_PATH } from './paths.ts'

interface LoadErrorsOptions {
  readonly state: LoadState
  readonly clock: Clock
  /** The module as given on the command line. */
  readonly module: string
}

/** How long a request waits for an application that loads, ms: long enough for most, and short enough for a person. */
const PATIENCE_MILLISECONDS = 5_000
/** How long the report of a crashed container may take after the link to it was lost, ms. */
const CRASH_MILLISECONDS = 1_000
/** How many browser tabs may wait for a change. Each holds a connection; further ones must ask again later. */
const WATCHERS_MAX = 256

export function showLoadErrors({ state, clock, module }: LoadErrorsOptions): Middleware {
  /** Waits for `condition`; resolves with false after `milliseconds`, or when the request is aborted. */
  const until = async (condition: () => boolean, milliseconds: number, environ: Environ): Promise<boolean> => {
    const late = new AbortController()
    const timer = clock.after(milliseconds, () => late.abort())
    const met = await state.until(condition, AbortSignal.any([late.signal, environ.gantry.signal]))
    timer.cancel()
    return met
  }
  const shown = (failure: Failure, title: string): Application => failed(state.now, failure, title)

  return (application) => {
    const serve: Application = async (environ, startResponse) => {
      const began = clock.now()
      try {
        const { failure } = state
        return await (failure && isNavigation(environ) && isKnownHost(environ)
          ? withOverlay(application, environ, startResponse)
          : application(environ, startResponse))
      } catch (error) {
        if (!(error instanceof HttpError) || error.status !== 502) throw error
        const crashed = (): boolean => (state.crash?.at ?? Number.NEGATIVE_INFINITY) >= began
        if (!(await until(crashed, CRASH_MILLISECONDS, environ))) throw error
        // The page belongs to the process that crashed: a page that reloads as soon as the same version is restarted
        // might crash it again and again.
        return failed(state.served, state.crash!.failure, `${module} has crashed`)(environ, startResponse)
      }
    }

    return async (environ, startResponse) => {
      if (environ.PATH_INFO.startsWith(DEV_PREFIX)) return developmentPath(environ, startResponse)
      if (!state.serving) {
        await until(() => state.serving || !state.loading, PATIENCE_MILLISECONDS, environ)
        if (!state.serving) {
          const { failure } = state
          if (failure && !state.loading) return shown(failure, `${module} cannot be loaded`)(environ, startResponse)
          return shown(stillLoading(module), `${module} is not loaded yet`)(environ, startResponse)
        }
      }
      return serve(environ, startResponse)
    }
  }

  function developmentPath(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    const answer = (status: number): Body | Promise<Body> => statusPage(status)(environ, startResponse)
    if (!isKnownHost(environ)) return answer(403)
    if (environ.PATH_INFO === EVENTS_PATH) {
      if (isForeign(environ)) return answer(403)
      return events(state, environ, startResponse)
    }
    if (environ.PATH_INFO !== ERROR_PATH) return answer(404)
    const { failure } = state
    if (failure) return shown(failure, `${module} cannot be loaded; an older version is served`)(environ, startResponse)
    startResponse('200 OK', [
      ['Content-Type', 'text/plain; charset=utf-8'],
      ['Cache-Control', 'no-store'],
    ])
    return [Buffer.from(`${module} is loaded, without errors.\n`)]
  }
}

function stillLoading(module: string): Failure {
  const message = `${module} is still loading: a top-level await in it, or in a module that it imports, has not settled.`
  return { name: 'Loading', message, stack: `Loading: ${message}`, code: 'LOADING' satisfies OtherCode }
}

/**
 * A page about a failed load for known hosts, and a plain error page for others.
 *
 * @param shown a name from `LoadState`
 */
function failed(shown: string, failure: Failure, title: string): Application {
  const status = failure.code === 'LOADING' ? 503 : 500
  return async (environ, startResponse) => {
    if (!isKnownHost(environ)) return statusPage(status)(environ, startResponse)
    const { errorView } = await import('./page.ts')
    const view = { error: errorOf(failure), status, title, shown, method: environ.REQUEST_METHOD }
    const page = await errorView(view, environ['HTTP_ACCEPT'])
    // No response has begun, so no excInfo is needed.
    return page(environ, (line, headers) => startResponse(line, headers))
  }
}

/** An event stream that sends `changed` when the page is out of date, and ends. */
function events(state: LoadState, environ: Environ, startResponse: StartResponse): Body {
  const before = state.edition
  const shown = new URLSearchParams(environ.QUERY_STRING).get('shown') ?? state.now
  startResponse('200 OK', [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
    // Otherwise nginx would buffer the events.
    ['X-Accel-Buffering', 'no'],
  ])
  return (async function* () {
    // An error status would end the EventSource for ever (HTML §9.2.3). With `retry` it reconnects after ten seconds.
    if (state.watcherCount >= WATCHERS_MAX && !state.outdated(shown)) {
      yield Buffer.from('retry: 10000\n\n')
      return
    }
    // One second between two attempts to reconnect while this server restarts.
    yield Buffer.from('retry: 1000\n\n')
    const changed = await state.until(() => state.outdated(shown) || state.edition !== before, environ.gantry.signal)
    if (changed) yield Buffer.from('event: changed\ndata:\n\n')
  })()
}

/** Whether a person navigates to a page: not a request of a script, and not the content of a frame. */
function isNavigation(environ: Environ): boolean {
  if (environ.REQUEST_METHOD !== 'GET' || environ['HTTP_UPGRADE'] !== undefined) return false
  const destination = environ['HTTP_SEC_FETCH_DEST']
  if (destination !== undefined) return destination === 'document'
  return /text\/html/i.test(String(environ['HTTP_ACCEPT'] ?? ''))
}
