/**
 * Adds a hint to the errors of a plain function that was taken for a WSGI application by default: if its first requests
 * fail as a Node listener or a fetch handler would fail, the error suggests `--interface`. After the first valid
 * response the function is called directly. Responses never change.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'

/** The methods of a ServerResponse that a listener usually calls first. */
const RESPONSE_METHODS = ['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead'] as const

/** `function (req, res) {`, `async (request, response) =>`: used only for the hint. */
const NAMED_AS_LISTENER =
  /^(?:async\s+)?(?:function\b[^(]*)?\(?\s*_?(?:req|request)\s*(?:,\s*_?(?:res|response)\b|\)?\s*(?:=>|\{))/

/** Wraps `application` so that its errors suggest the interface that it may have instead. */
export function withInterfaceHint(application: Application, shown: string): Application {
  let current: Application = probe
  const stopProbing = (body: Body): Body => {
    current = application
    return body
  }

  function probe(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    const evidence = { response: false, started: false }
    const watched = watch(startResponse, evidence)
    const checkResult = (result: unknown): Body => {
      if (evidence.started && result !== undefined) return stopProbing(result as Body)
      if (isResponse(result)) throw failure(`${shown} returned a Response`, 'fetch', shown)
      if (result === undefined && (evidence.response || !evidence.started)) {
        throw failure(`${shown} returned nothing`, 'node', shown)
      }
      // An application may call startResponse later.
      return result as Body
    }
    const explain = (error: unknown): never => {
      const likely = !evidence.started && (evidence.response || looksLikeListener(application))
      if (!likely || !(error instanceof Error)) throw error
      throw failure(error.message, evidence.response || application.length > 1 ? 'node' : 'fetch', shown, error)
    }
    let result: unknown
    try {
      result = application(environ, watched)
    } catch (error) {
      return explain(error)
    }
    if (typeof (result as PromiseLike<unknown> | undefined)?.then !== 'function') return checkResult(result)
    return (result as Promise<unknown>).then(checkResult, explain)
  }

  return (environ, startResponse) => current(environ, startResponse)
}

function looksLikeListener(application: Application): boolean {
  return NAMED_AS_LISTENER.test(Function.prototype.toString.call(application).slice(0, 200))
}

/** Wraps `startResponse` and records whether it is called, or is used as a ServerResponse. */
function watch(startResponse: StartResponse, evidence: { response: boolean; started: boolean }): StartResponse {
  const watched: StartResponse = (...args) => {
    evidence.started = true
    return startResponse(...args)
  }
  for (const name of RESPONSE_METHODS) {
    Object.defineProperty(watched, name, {
      configurable: true,
      get: () => {
        evidence.response = true
        return undefined
      },
    })
  }
  return watched
}

function isResponse(result: unknown): boolean {
  const { status, headers } = (result ?? {}) as { status?: unknown; headers?: unknown }
  return typeof status === 'number' && typeof headers === 'object'
}

function failure(what: string, likely: 'node' | 'fetch', shown: string, cause?: Error): Error {
  const is = likely === 'node' ? 'a listener of (req, res)' : 'a fetch handler'
  const error = new TypeError(`${what} (if ${shown} exports ${is}, use --interface ${likely})`, { cause })
  // The stack should show where the application failed, not this file.
  if (cause?.stack) error.stack = `${error.name}: ${error.message}\n${cause.stack.split('\n').slice(1).join('\n')}`
  return error
}
