/** Whether a request has a body, for interfaces that must know it before the body is read. */

import type { Environ, Input } from './application.ts'
import type { RequestInput } from './input.ts'

/**
 * Whether the request has a body, which may be empty if it is chunked (RFC 9112 §6.3). If neither the length nor the
 * input shows it, the method decides.
 */
export function hasBody(environ: Environ, input: Input): boolean {
  if (environ.CONTENT_LENGTH !== undefined) return Number(environ.CONTENT_LENGTH) > 0
  const { hasBody } = input as Partial<RequestInput>
  if (hasBody !== undefined) return hasBody
  return /^(?:POST|PUT|PATCH)$/.test(environ.REQUEST_METHOD)
}
