/**
 * The source of `wsgi.input` for a request body that comes from this process: bytes or an iterable of bytes. The next
 * chunk is requested only when the application reads.
 */

import { asBuffer } from './as-buffer.ts'
import { httpError } from './coded-errors.ts'
import { type InputSource, RequestInput } from './input.ts'

export class Upload implements InputSource {
  readonly input: RequestInput
  /** The length in bytes; undefined if it is not known or if there is no body. */
  readonly length: number | undefined
  readonly #iterator: AsyncIterator<Uint8Array> | undefined
  /** The bytes that have not arrived, if the request declares a length. */
  #left: number = Number.POSITIVE_INFINITY
  #reading = false
  #wanted = false
  #over = false

  /**
   * @param body text is sent as UTF-8; undefined if the request has no body
   * @param declared the Content-Length for an iterable: a body of another length fails the input, as in a gateway
   */
  constructor(body: Uint8Array | string | AsyncIterable<Uint8Array> | undefined, declared?: number) {
    this.input = new RequestInput(body === undefined ? null : this)
    if (body === undefined) return
    if (typeof body !== 'string' && !(body instanceof Uint8Array)) {
      this.#iterator = body[Symbol.asyncIterator]()
      if (declared !== undefined) this.#left = declared
      return
    }
    const bytes = Buffer.from(body as string)
    this.length = bytes.length
    if (bytes.length > 0) this.input.push(bytes)
    this.input.end()
  }

  wanted(): void {
    this.#wanted = true
    this.#pump()
  }

  consumed(): void {
    if (this.#wanted) this.#pump()
  }

  /** Stops reading: calls `return()` of the iterator. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    // An error of return() is ignored: the response is already complete.
    try {
      this.#iterator?.return?.()?.catch(ignore)
    } catch {}
  }

  #pump(): void {
    if (!this.#iterator || this.#over || this.#reading || this.input.buffered > 0) return
    this.#reading = true
    // `next` is async, so that an iterator that throws is handled like an iterator that rejects.
    next(this.#iterator).then(
      ({ done, value }) => {
        this.#reading = false
        if (!this.#over) this.#received(done ? undefined : value)
      },
      (error: unknown) => {
        if (this.#over) return
        this.#over = true
        this.input.fail(error instanceof Error ? error : new Error(String(error)))
      },
    )
  }

  #received(chunk: Uint8Array | undefined): void {
    if (chunk === undefined) {
      this.#over = true
      if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) this.#mismatch(`${this.#left} bytes short of`)
      else this.input.end()
      return
    }
    if (!(chunk instanceof Uint8Array)) {
      this.input.fail(new TypeError(`a chunk of the request body is of type ${typeof chunk}: expected a Uint8Array`))
      this.stop()
      return
    }
    this.#left -= chunk.length
    if (this.#left < 0) {
      this.#mismatch('longer than')
      this.stop()
      return
    }
    // A Buffer, as from a gateway: applications call `toString()` on the bytes.
    this.input.push(asBuffer(chunk))
    this.#pump()
  }

  #mismatch(how: string): void {
    this.input.fail(httpError('BODY_LENGTH', `the request body is ${how} its Content-Length`))
  }
}

async function next(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
  return await iterator.next()
}

function ignore(): void {}
