/**
 * Refuses request bodies that are too long: 413 before the application is called where the length is declared, and while it is read where it
 * is not. Gateways have one limit for all (`--body-limit`); this one is for what it is put around, as an upload's mount.
 */

import type { Environ, Middleware } from '../protocol/contract/application.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import type { HttpError } from '../protocol/contract/errors.ts'
import { RequestInput } from '../protocol/contract/input.ts'
import { checkOptions, type OptionForms, wholeNumber } from '../protocol/options/check-options.ts'
import { relayedInput } from './filter/relayed-input.ts'

export interface BodyLimitOptions {
  /** Most bytes of a request's body. Default 1 MiB, as nginx's client_max_body_size. */
  readonly limit?: number | undefined
}

const OPTIONS: OptionForms<BodyLimitOptions> = { limit: wholeNumber(0, 'bytes') }

const MEBIBYTE = 1024 * 1024

/**
 * A body of unknown length that turns out too long fails the application's read with an HttpError 413: passed on, it is the answer,
 * unless a head has left already; then the response is cut.
 *
 * @throws TypeError for a limit that is not a whole number of bytes
 */
export function bodyLimit(options: BodyLimitOptions = {}): Middleware {
  checkOptions('bodyLimit', options, OPTIONS)
  const { limit = MEBIBYTE } = options
  return (application) => (environ, startResponse) => {
    const length = environ.CONTENT_LENGTH
    if (length !== undefined && length !== '') {
      // Gateways let only digits through, and no byte more than they say.
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
    // No body, or all of it is here: there is nothing to watch.
    if (input.buffered > limit) throw tooLarge(limit)
    return
  }
  let total = 0
  environ['wsgi.input'] = relayedInput(input, (bytes) => ((total += bytes) > limit ? tooLarge(limit) : undefined))
}

function tooLarge(limit: number): HttpError {
  return httpError('BODY_TOO_LARGE', `the request body is longer than ${limit} bytes (bodyLimit)`)
}
