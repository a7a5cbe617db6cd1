/** Whether a request has a body, for interfaces whose requests say so before anything is read. */

import type { Environ, Input } from './application.ts'
import { RequestInput } from './input.ts'

/** Whether a body follows. Only where neither a length nor the input says so is it guessed by the method. */
export function hasBody(environ: Environ, input: Input): boolean {
  if (environ.CONTENT_LENGTH !== undefined) return Number(environ.CONTENT_LENGTH) > 0
  if (input instanceof RequestInput) return !input.ended || input.buffered > 0
  return /^(?:POST|PUT|PATCH)$/.test(environ.REQUEST_METHOD)
}
