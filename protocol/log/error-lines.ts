/** `wsgi.errors`: logs the text of an application line by line, with the request's id. */

import type { ErrorStream } from '../contract/application.ts'
import type { Logger } from './logger.ts'

/** A longer line is logged in pieces of this many characters, so that memory is bounded. */
const LINE_MAX = 16 * 1024

export class ErrorLines implements ErrorStream {
  readonly #log: Logger
  readonly #context: { readonly requestId: string }
  #partial = ''

  constructor(log: Logger, context: { readonly requestId: string }) {
    this.#log = log
    this.#context = context
  }

  write(text: string): void {
    if (typeof text !== 'string') throw new TypeError(`wsgi.errors.write: expected a string, got ${typeof text}`)
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop()!
    for (const line of lines) this.#line(line)
    while (this.#partial.length > LINE_MAX) {
      this.#line(this.#partial.slice(0, LINE_MAX))
      this.#partial = this.#partial.slice(LINE_MAX)
    }
  }

  writelines(lines: Iterable<string>): void {
    for (const line of lines) this.write(line)
  }

  flush(): void {
    const rest = this.#partial
    this.#partial = ''
    if (rest !== '') this.#line(rest)
  }

  #line(text: string): void {
    this.#log.error({ requestId: this.#context.requestId, source: 'wsgi.errors' }, text)
  }
}
