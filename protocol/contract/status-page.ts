/**
 * Error responses as applications: a small HTML page, or JSON for clients that prefer it. They contain the id of the
 * request (also as `X-Request-Id`), and never the cause.
 */

import type { Application, Headers } from './application.ts'
import { REASONS } from './reasons.ts'

/** Options of `statusPage`. */
export interface StatusPageOptions {
  /** Additional response headers, such as Retry-After. */
  headers?: ReadonlyArray<readonly [string, string]>
}

/** What the reader of the page should know, by status. */
const ADVICE: Readonly<Record<number, string>> = {
  408: 'The request took too long to arrive.',
  413: 'The request is larger than this server takes.',
  414: 'The address is longer than this server takes.',
  431: 'The request headers are larger than this server takes.',
  500: 'The application failed. It was logged under the id below.',
  502: 'The application could not be reached or ended the request early.',
  503: 'The application is busy or starting. Try again in a moment.',
  504: 'The application did not answer in time.',
}

/**
 * Returns an application that responds with a plain page for an error status.
 *
 * @param status 400 to 599
 * @throws TypeError if `status` is not a number, for example if it is the options of the middleware `errorPage`
 * @example
 * ```ts
 * import { statusPage } from 'gantry'
 * import { mount } from 'gantry/middleware'
 * import { call } from 'gantry/protocol'
 * import { application } from './app.ts'
 *
 * const site = mount({ '/api': application }, { notFound: statusPage(404) })
 * const response = await call(site, { path: '/other' })
 * console.log(response.status) // 404
 * ```
 */
export function statusPage(status: number, options: StatusPageOptions = {}): Application {
  if (typeof status !== 'number') {
    throw new TypeError(
      `statusPage: the status is of type ${typeof status}, expected a number; the middleware errorPage is in gantry/middleware`,
    )
  }
  const title = REASONS[status] ?? 'Error'
  return (environ, startResponse) => {
    const json = prefersJson(environ['HTTP_ACCEPT'])
    const id = environ.gantry.requestId
    const body = Buffer.from(
      json
        ? `${JSON.stringify({ status, error: title, message: ADVICE[status], requestId: id })}\n`
        : page(status, title, id),
    )
    const headers: Headers = [
      ['Content-Type', json ? 'application/json' : 'text/html; charset=utf-8'],
      ['Content-Length', String(body.length)],
      ['Cache-Control', 'no-store'],
      ['X-Request-Id', id],
    ]
    for (const [name, value] of options.headers ?? []) headers.push([name, value])
    startResponse(`${status} ${title}`, headers)
    return [body]
  }
}

/** The page as HTML. The id consists of `[\w.-]`; special characters are removed nevertheless. */
function page(status: number, title: string, id: string): string {
  const advice = ADVICE[status]
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${status} ${title}</title>
<body style="font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem">
<h1 style="font-size:1.5rem">${status} ${title}</h1>
${advice ? `<p>${advice}</p>\n` : ''}<p style="color:#777"><small>Request ${id.replace(/[<>&"]/g, '')}</small></p>
</body></html>
`
}

/** Whether `Accept` names JSON, and does not name HTML. */
export function prefersJson(accept: unknown): boolean {
  return typeof accept === 'string' && /application\/(?:[\w.+-]+\+)?json/i.test(accept) && !/text\/html/i.test(accept)
}
