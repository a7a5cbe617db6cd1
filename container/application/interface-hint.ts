/**
 * A plain function was taken for a WSGI application since nothing said otherwise. If its first requests fail in the way that a Node listener or
 * a fetch handler fails there, the failure says so: that is where someone looks who forgot `--interface`. Once it has answered as an
 * application does, nothing stands before it any more. It changes no answer.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'

/** What is done with a ServerResponse first. */
const RESPONSE_METHODS = ['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead'] as const

/** `function (req, res) {`, `async (request, response) =>`: only a hint for a message. */
const NAMED_AS_LISTENER =
  /^(?:async\s+)?(?:function\b[^(]*)?\(?\s*_?(?:req|request)\s*(?:,\s*_?(?:res|response)\b|\)?\s*(?:=>|\{))/

/** `application`, whose failures say what it may be instead. */
export function withInterfaceHint(application: Application, shown: string): Application {
  let current: Application = probe
  const trusted = (body: Body): Body => {
    current = application
    return body
  }

  function probe(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    const evidence = { response: false, started: false }
    const watched = watch(startResponse, evidence)
    const judge = (given: unknown): Body => {
      if (evidence.started && given !== undefined) return trusted(given as Body)
      if (isResponse(given)) throw failure(`${shown} answered a Response`, 'fetch', shown)
      if (given === undefined && (evidence.response || !evidence.started)) {
        throw failure(`${shown} returned nothing`, 'node', shown)
      }
      // An application may call startResponse later.
      return given as Body
    }
    const explain = (error: unknown): never => {
      const likely = !evidence.started && (evidence.response || looksLikeListener(application))
      if (!likely || !(error instanceof Error)) throw error
      throw failure(error.message, evidence.response || application.length > 1 ? 'node' : 'fetch', shown, error)
    }
    let given: unknown
    try {
      given = application(environ, watched)
      if (typeof (given as PromiseLike<unknown> | undefined)?.then !== 'function') return judge(given)
    } catch (error) {
      return explain(error)
    }
    return (given as Promise<unknown>).then(judge, explain)
  }

  return (environ, startResponse) => current(environ, startResponse)
}

function looksLikeListener(application: Application): boolean {
  return NAMED_AS_LISTENER.test(Function.prototype.toString.call(application).slice(0, 200))
}

/** `startResponse`, which notes whether it is used as what it is, or as a ServerResponse. */
function watch(startResponse: StartResponse, evidence: { response: boolean; started: boolean }): StartResponse {
  const watched: StartResponse = (...given) => {
    evidence.started = true
    return startResponse(...given)
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

function isResponse(given: unknown): boolean {
  const { status, headers } = (given ?? {}) as { status?: unknown; headers?: unknown }
  return typeof status === 'number' && typeof headers === 'object'
}

function failure(what: string, likely: 'node' | 'fetch', shown: string, cause?: Error): Error {
  const is = likely === 'node' ? 'a listener of (req, res)' : 'a fetch handler'
  const error = new TypeError(`${what} (if ${shown} exports ${is}, give --interface ${likely})`, { cause })
  // The place that matters is the application's.
  if (cause?.stack) error.stack = `${error.name}: ${error.message}\n${cause.stack.split('\n').slice(1).join('\n')}`
  return error
}
