/**
 * Middleware before the proxy's pool while an application is developed: answers with what its last load failed of where no container serves, lays
 * that over its pages where an older one still does, and tells browsers when to look again. What there is to be seen is `state.ts`.
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

export interface LoadErrorsOptions {
  readonly state: LoadState
  readonly clock: Clock
  /** The module as it was given. */
  readonly module: string
}

/** For an application to come up while a request waits for it: long enough for most, short enough for a person not to wonder. */
const PATIENCE_MILLISECONDS = 5_000
/** For the end of a container to be known, once the link to it has broken. */
const CRASH_MILLISECONDS = 1_000
/** Tabs that show an error at once. Each is a connection; beyond, they are told to ask again later. */
const MOST_WATCHERS = 256

export function showLoadErrors({ state, clock, module }: LoadErrorsOptions): Middleware {
  /** A promise that gives up after a while, or with the request. */
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
        // As a page of the process that crashed: one that asked again as soon as the same is started again might crash it again, and so on.
        return failed(state.served, state.crash!.failure, `${module} has crashed`)(environ, startResponse)
      }
    }

    return async (environ, startResponse) => {
      if (environ.PATH_INFO.startsWith(DEV_PREFIX)) return own(environ, startResponse)
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

  function own(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    const answer = (status: number): Body | Promise<Body> => statusPage(status)(environ, startResponse)
    if (!isKnownHost(environ)) return answer(403)
    if (environ.PATH_INFO === EVENTS_PATH) {
      if (isForeign(environ)) return answer(403)
      return events(state, environ, startResponse)
    }
    if (environ.PATH_INFO !== ERROR_PATH) return answer(404)
    const { failure } = state
    if (failure) return shown(failure, `${module} cannot be loaded; what is served is older`)(environ, startResponse)
    startResponse('200 OK', [
      ['Content-Type', 'text/plain; charset=utf-8'],
      ['Cache-Control', 'no-store'],
    ])
    return [Buffer.from(`${module} is as it is written.\n`)]
  }
}

function stillLoading(module: string): Failure {
  const message = `${module} has begun to load and has not ended: it, or a module that it imports, waits for something at its top level.`
  return { name: 'Loading', message, stack: `Loading: ${message}`, code: 'LOADING' satisfies OtherCode }
}

/**
 * Details only for whom they are meant; for others what they would get elsewhere.
 *
 * @param shown a name of the state's
 */
function failed(shown: string, failure: Failure, title: string): Application {
  const status = failure.code === 'LOADING' ? 503 : 500
  return async (environ, startResponse) => {
    if (!isKnownHost(environ)) return statusPage(status)(environ, startResponse)
    const { errorView } = await import('./page.ts')
    const view = { error: errorOf(failure), status, title, shown, method: environ.REQUEST_METHOD }
    const page = await errorView(view, environ['HTTP_ACCEPT'])
    // Nothing was begun that excInfo would have to replace.
    return page(environ, (line, headers) => startResponse(line, headers))
  }
}

/** Says `changed` once what the page shows is no more, and ends. */
function events(state: LoadState, environ: Environ, startResponse: StartResponse): Body {
  const before = state.edition
  const shown = new URLSearchParams(environ.QUERY_STRING).get('shown') ?? state.now
  startResponse('200 OK', [
    ['Content-Type', 'text/event-stream'],
    ['Cache-Control', 'no-store'],
    // nginx would keep events back until it has a buffer of them.
    ['X-Accel-Buffering', 'no'],
  ])
  return (async function* () {
    // A refusal would end the source for good (HTML §9.2.3): it comes back after ten seconds, by when others may have left.
    if (state.watcherCount >= MOST_WATCHERS && !state.outdated(shown)) {
      yield Buffer.from('retry: 10000\n\n')
      return
    }
    // One second: the time between two tries while this server is started anew.
    yield Buffer.from('retry: 1000\n\n')
    const changed = await state.until(() => state.outdated(shown) || state.edition !== before, environ.gantry.signal)
    if (changed) yield Buffer.from('event: changed\ndata:\n\n')
  })()
}

/** A person's look at a page, and not a script's at data or a frame's at its part. */
function isNavigation(environ: Environ): boolean {
  if (environ.REQUEST_METHOD !== 'GET' || environ['HTTP_UPGRADE'] !== undefined) return false
  const destination = environ['HTTP_SEC_FETCH_DEST']
  if (destination !== undefined) return destination === 'document'
  return /text\/html/i.test(String(environ['HTTP_ACCEPT'] ?? ''))
}
