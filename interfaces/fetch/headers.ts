/** Makes `Headers` from an environ's header lines, and copies `Headers`. */

import type { Environ } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'

/** @throws HttpError 400 if a name or value is not valid in Headers: uwsgi peers can send such variables */
export function headersFrom(environ: Environ): Headers {
  try {
    return new Headers(environ.gantry.rawHeaders as [string, string][])
  } catch (error) {
    throw httpError('BAD_HEADER', 'the class Headers does not accept a header field of the request', { cause: error })
  }
}

/** Makes the fields of `to` equal to those of `from`. */
export function copyHeaders(from: Headers, to: Headers): void {
  for (const name of [...to.keys()]) to.delete(name)
  for (const [name, value] of from) to.append(name, value)
}
