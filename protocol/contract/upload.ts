/**
 * A request's body that comes from this process (a caller's bytes, or a stream of them) as a source of `wsgi.input`: the next chunk
 * is asked for only as the application reads. It knows no wire, and keeps no time.
 */

import { httpError } from './coded-errors.ts'
import { type InputSource, RequestInput } from './input.ts'

export class Upload implements InputSource {
  readonly input: RequestInput
  /** Bytes; undefined when that is not known, or there is no body. */
  readonly length: number | undefined
  readonly #iterator: AsyncIterator<Uint8Array> | undefined
  /** Bytes that are still to come, where the request said how many. */
  #left: number = Number.POSITIVE_INFINITY
  #reading = false
  #wanted = false
  #over = false

  /**
   * @param body undefined: there is none. Text is sent as UTF-8.
   * @param declared what the request's Content-Length says of an iterated body: one of another length fails the input, as a gateway
   *   would not let it through
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

  /** Nobody reads it any more: what it comes from is told. */
  stop(): void {
    if (this.#over) return
    this.#over = true
    // Its failure has nobody to be told to: the response is there.
    try {
      this.#iterator?.return?.()?.catch(ignore)
    } catch {}
  }

  #pump(): void {
    if (!this.#iterator || this.#over || this.#reading || this.input.buffered > 0) return
    this.#reading = true
    // In a promise from its very first step: one that throws has failed like one that rejects.
    next(this.#iterator).then(
      ({ done, value }) => {
        this.#reading = false
        if (!this.#over) this.#came(done ? undefined : value)
      },
      (error: unknown) => {
        if (this.#over) return
        this.#over = true
        this.input.fail(error instanceof Error ? error : new Error(String(error)))
      },
    )
  }

  #came(chunk: Uint8Array | undefined): void {
    if (chunk === undefined) {
      this.#over = true
      if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) this.#mismatch(`${this.#left} bytes short of`)
      else this.input.end()
      return
    }
    if (!(chunk instanceof Uint8Array)) {
      this.input.fail(new TypeError(`the request's body gave ${typeof chunk}: chunks are Uint8Array`))
      this.stop()
      return
    }
    this.#left -= chunk.length
    if (this.#left < 0) {
      this.#mismatch('longer than')
      this.stop()
      return
    }
    // As gateways give it: applications say `toString()` to what they read.
    this.input.push(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
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
