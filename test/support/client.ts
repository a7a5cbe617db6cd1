/** The interface of a client for the behaviour suite, whatever its wire: HTTP bytes, or an in-memory sink. */

export type Fields = [name: string, value: string][]

export interface RequestOptions {
  method?: string
  target: string
  /** The fields in the order in which they are sent. `Host` is added as the first field unless the list has it. */
  headers?: Fields
  /**
   * The body, with a Content-Length unless `chunked`. `'stream'`: the test sends the body, chunked unless a
   * Content-Length is given.
   */
  body?: Uint8Array | string | 'stream' | undefined
  chunked?: boolean
  /** The x of HTTP/1.x. */
  minor?: 0 | 1
}

export interface Head {
  status: number
  reason: string
  headers: Fields
}

/** A response, as far as it was received. */
export interface Answer extends Head {
  /** 0 if no head was received. */
  status: number
  body: Buffer
  trailers: Fields
  informational: Head[]
  /** Whether the response ended as its framing requires; false: it was visibly truncated. */
  complete: boolean
  /** How the end of the body is determined. */
  framing: 'none' | 'length' | 'chunked' | 'close' | 'memory'
  /** What was wrong, if the response was truncated. */
  error: string | undefined
}

/** A request in progress. */
export interface Sent {
  /** Sends more of the body; resolves when there is room for more. */
  send(chunk: Uint8Array | string): Promise<void>
  /** Ends the body. */
  finish(trailers?: Fields): void
  /** Reads no more of the response from now on. */
  pause(): void
  /** The client disconnects, with a FIN or with a reset. */
  abort(how?: 'end' | 'reset'): void
  /** The first `count` informational responses. */
  informed(count: number): Promise<Head[]>
  /** The final head; rejects if there is none. */
  head(): Promise<Head>
  /** The body so far, as soon as it has at least `length` bytes; rejects if it ends before. */
  has(length: number): Promise<Buffer>
  /** The complete response, or the received part of it. Never rejects. */
  whole(): Promise<Answer>
}

/** All values of a field, in order. */
export function fields(head: { headers: Fields }, name: string): string[] {
  const lower = name.toLowerCase()
  return head.headers.filter(([other]) => other.toLowerCase() === lower).map(([, value]) => value)
}

/** A response that is being received, and the waits for its parts. Each client fills one in. */
export class Growing {
  readonly answer: Answer = {
    status: 0,
    reason: '',
    headers: [],
    body: Buffer.alloc(0),
    trailers: [],
    informational: [],
    complete: false,
    framing: 'none',
    error: undefined,
  }
  readonly #chunks: Buffer[] = []
  #length = 0
  #over = false
  #waiting: { ready: () => boolean; resolve: () => void }[] = []

  get over(): boolean {
    return this.#over
  }

  inform(head: Head): void {
    this.answer.informational.push(head)
    this.#changed()
  }

  head(head: Head, framing: Answer['framing']): void {
    Object.assign(this.answer, head, { framing })
    this.#changed()
  }

  data(chunk: Uint8Array): void {
    this.#chunks.push(Buffer.from(chunk))
    this.#length += chunk.length
    this.#changed()
  }

  end(complete: boolean, error?: string): void {
    if (this.#over) return
    this.#over = true
    this.answer.complete = complete
    this.answer.error = error
    this.#changed()
  }

  async informed(count: number): Promise<Head[]> {
    await this.#until(() => this.answer.informational.length >= count)
    return this.answer.informational.slice(0, count)
  }

  async whenHead(): Promise<Head> {
    await this.#until(() => this.answer.status !== 0)
    return this.answer
  }

  async has(length: number): Promise<Buffer> {
    await this.#until(() => this.#length >= length)
    return this.#body()
  }

  async whole(): Promise<Answer> {
    if (!this.#over) await new Promise<void>((resolve) => this.#waiting.push({ ready: () => this.#over, resolve }))
    this.#body()
    return this.answer
  }

  #body(): Buffer {
    this.answer.body = Buffer.concat(this.#chunks)
    return this.answer.body
  }

  async #until(ready: () => boolean): Promise<void> {
    if (!ready() && !this.#over) {
      await new Promise<void>((resolve) => this.#waiting.push({ ready: () => ready() || this.#over, resolve }))
    }
    if (!ready()) {
      const { status, complete, error } = this.answer
      throw new Error(
        `the response is over (${status}, ${complete ? 'complete' : `cut: ${error}`}) and did not come so far`,
      )
    }
  }

  #changed(): void {
    const ready = this.#waiting.filter((waiter) => waiter.ready())
    this.#waiting = this.#waiting.filter((waiter) => !ready.includes(waiter))
    for (const waiter of ready) waiter.resolve()
  }
}
