/** `Headers` made of an environ's lines, and made equal. */

import type { Environ } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'

/** @throws HttpError 400: peers that are no HTTP servers (uwsgi) may name variables that are no fields */
export function headersFrom(environ: Environ): Headers {
  try {
    return new Headers(environ.gantry.rawHeaders as [string, string][])
  } catch (error) {
    throw httpError('BAD_HEADER', 'the class Headers does not accept a header field of the request', { cause: error })
  }
}

/** Makes `to` say what `from` says. */
export function copyHeaders(from: Headers, to: Headers): void {
  for (const name of [...to.keys()]) to.delete(name)
  for (const [name, value] of from) to.append(name, value)
}
