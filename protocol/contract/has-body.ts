/** Whether a request has a body, for interfaces whose requests say so before anything is read. */

import type { Environ, Input } from './application.ts'
import type { RequestInput } from './input.ts'

/** Whether there is a body, which may be empty if it was chunked (RFC 9112 §6.3). Only where neither a length nor the input says so is it guessed by the method. */
export function hasBody(environ: Environ, input: Input): boolean {
  if (environ.CONTENT_LENGTH !== undefined) return Number(environ.CONTENT_LENGTH) > 0
  const { hasBody } = input as Partial<RequestInput>
  if (hasBody !== undefined) return hasBody
  return /^(?:POST|PUT|PATCH)$/.test(environ.REQUEST_METHOD)
}
