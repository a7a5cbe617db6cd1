/**
 * Refuses request bodies that are too long: before the application is called if the length is declared, otherwise while
 * the body is read. Gateways have a limit for all requests (`--body-limit`); this one is for one application, such as
 * an upload.
 */

import type { Environ, Middleware } from '../protocol/contract/application.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import type { HttpError } from '../protocol/contract/errors.ts'
import { RequestInput } from '../protocol/contract/input.ts'
import { checkOptions, type OptionForms, wholeNumber } from '../protocol/options/check-options.ts'
import { wrapInput } from './shared/wrapped-input.ts'

/** The options of `bodyLimit`. */
export interface BodyLimitOptions {
  /** Largest request body, bytes. Default 1 MiB, as nginx's client_max_body_size. */
  readonly limit?: number | undefined
}

const OPTIONS: OptionForms<BodyLimitOptions> = { limit: wholeNumber(0, 'bytes') }

const MEBIBYTE = 1024 * 1024

/**
 * Answers 413 to requests whose body is longer than `limit`.
 *
 * If the length is not declared, the application's read fails with an HttpError 413 once the body exceeds the limit.
 * The application should let that error pass: it becomes the answer, or aborts a response that has begun.
 *
 * @throws TypeError if `limit` is not a whole number of bytes
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { bodyLimit } from 'gantry/middleware'
 *
 * const upload: Application = async (environ, startResponse) => {
 *   let bytes = 0
 *   for await (const chunk of environ['wsgi.input']) bytes += chunk.length
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`${bytes} bytes\n`)]
 * }
 * export const application: Application = bodyLimit({ limit: 10 * 1024 * 1024 })(upload)
 * ```
 */
export function bodyLimit(options: BodyLimitOptions = {}): Middleware {
  checkOptions('bodyLimit', options, OPTIONS)
  const { limit = MEBIBYTE } = options
  return (application) => (environ, startResponse) => {
    const length = environ.CONTENT_LENGTH
    if (length !== undefined && length !== '') {
      // Gateways accept only digits, and no more bytes than that.
      if (Number(length) > limit) throw tooLarge(limit)
    } else {
      limitInput(environ, limit)
    }
    return application(environ, startResponse)
  }
}

function limitInput(environ: Environ, limit: number): void {
  const input = environ['wsgi.input']
  if (input instanceof RequestInput && input.ended) {
    // Without a body, or with all of it in the buffer, no further bytes can arrive.
    if (input.buffered > limit) throw tooLarge(limit)
    return
  }
  let total = 0
  environ['wsgi.input'] = wrapInput(input, (bytes) => ((total += bytes) > limit ? tooLarge(limit) : undefined))
}

function tooLarge(limit: number): HttpError {
  return httpError('BODY_TOO_LARGE', `the request body is longer than ${limit} bytes (bodyLimit)`)
}
