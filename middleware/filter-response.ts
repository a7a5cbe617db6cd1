/**
 * What every middleware that changes a response's content stands on: `filterResponse` calls an application, asks for each
 * `startResponse` what becomes of the response, and keeps the contract on both sides whatever the application does (`write`, a late
 * startResponse, excInfo, generators, arrays, aborts).
 *
 * What a filter does to the bytes it does not know, nor why. Fields are the middleware's matter (`response-fields.ts` helps).
 */

import type { Application, Body, Environ, Headers, StartResponse, Write } from '../protocol/application.ts'
import { LocalProtocolError } from '../protocol/errors.ts'
import { WRITE_OVERRUN } from '../protocol/exchange.ts'
import { OpenBody } from '../protocol/open-body.ts'
import { checkHead, shown } from '../protocol/response-head.ts'
import { hasContent } from './response-fields.ts'

type Awaitable<T> = T | Promise<T>
type Step = IteratorResult<Uint8Array>

/** Changes a response's bytes on their way. One is made per response. */
export interface Filter {
  /** What of the output is ready now that `chunk` (never empty) has come; undefined or empty: nothing yet. At most one call at a time. */
  push(chunk: Uint8Array): Awaitable<Uint8Array | undefined>
  /** What is left at the end of the body. Not called after an abort or a failure: by it a tee knows that the body was whole. */
  end(): Awaitable<Uint8Array | undefined>
  /**
   * Frees what it holds. Called once, on every path, after `end()` too, and when nothing was ever pushed. After an abort it may come
   * while a push is pending; what that gives is dropped, and it need not settle.
   */
  close?(): void
}

/** Takes the whole body before anything is answered. How much that may be is for `push` to bound. */
export interface Hold {
  /** An application that is returned is answered instead, at once, and the held one's body is closed (too large: `errorPage(502)`). */
  push(chunk: Uint8Array): Awaitable<Application | undefined>
  /** What to answer, now that all was pushed. */
  end(): Awaitable<Application>
  /** As a filter's. */
  close?(): void
}

/** The head as it is to be sent, and what becomes of the body. */
export interface Changed {
  readonly status: string
  readonly headers: Headers
  /** Without one (and without the others) the body passes untouched: as the very object that the application gave. */
  readonly filter?: Filter | undefined
  /**
   * What to answer, in place of `filter`, when the body is all there as the application returns: an array of one chunk, or of at
   * most 64 KiB, with nothing written before. The head is decided only then.
   */
  readonly whole?: ((body: Uint8Array) => Awaitable<Application>) | undefined
  /** In place of `filter` and `whole`: nothing is answered before the end of the body. `status` and `headers` are then a HEAD's. */
  readonly hold?: Hold | undefined
}

/** The application's body is closed without being read on, and this application answers instead. */
export interface Replaced {
  readonly replace: Application
}

export type Filtered = Changed | Replaced

/** `headers` is a copy of the application's list; the middleware's to change. */
export type Decide = (status: string, headers: Headers) => Filtered

/** An array of more than one chunk counts as whole up to this size: what gateways coalesce too (protocol/response.ts). */
const WHOLE_MAX = 64 * 1024
const WHOLE_CHUNKS = 1024
/** A filter that swallows a long synchronous body lets others run this often, bytes (contract.md rule 3). */
const YIELD_AFTER = 64 * 1024

const EMPTY: Uint8Array = new Uint8Array(0)
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }
const ignore = (): void => {}
const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Calls `application`, and lets `decide` say at each `startResponse` what becomes of the response (again when a second one with
 * excInfo replaces a head that has not left; the filter before it is closed). A 101 passes undecided. A response without content
 * (HEAD, 204, 205, 304) has the head that was decided, and its filter is closed unused.
 *
 * Writes pass the filter in their order and before what is iterated; each chunk's output is on its way before the next is asked
 * for. What a filter throws fails the response: a 500, or a visible abort once the head has left. A body that was passed on
 * untouched stays so, even if an excInfo response that comes later would have been changed: that one passes as the application gave it.
 *
 * @throws what the application throws
 */
export function filterResponse(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  decide: Decide,
): Body | Promise<Body> {
  return new FilteredResponse(environ, startResponse, decide).call(application)
}

class FilteredResponse {
  readonly #environ: Environ
  readonly #server: StartResponse
  readonly #decide: Decide
  /** The request's, whatever middleware further in makes of the environ. */
  readonly #method: string

  /** The application has called startResponse. */
  #decided = false
  /** The server has been told a head: a further one needs excInfo. */
  #told = false
  #excInfo: unknown
  /** A head that waits for the application to return. */
  #head: Changed | undefined
  #filter: Filter | Hold | undefined
  #hold: Hold | undefined
  #whole: Changed['whole']
  #replace: Application | undefined
  /** A HEAD whose body would not be the GET's: none of it is given on, so that its length is not taken for the GET's. */
  #drops = false

  /** The application has given bytes: for it, the head has left. */
  #committed = false
  #returned = false
  /** The body is in the server's hands as it is. */
  #passed = false
  #over = false
  #closed = false
  #failure: { error: unknown } | undefined
  #closeErrors: unknown[] | undefined

  #write: Write | undefined
  /** Writes that wait for an asynchronous push. */
  #writes: Promise<void> | undefined
  #queued = 0

  readonly #body: OpenBody = new OpenBody()
  /** What a replacement gave. */
  readonly #other: OpenBody = new OpenBody()
  /** The application's body has a close(). */
  #closes = false
  #closing: Promise<unknown> | undefined
  /** A step that was taken to see the response begin. */
  #first: Awaitable<Step> | undefined
  #interrupt: (() => void) | undefined
  #swallowed = 0

  constructor(environ: Environ, server: StartResponse, decide: Decide) {
    this.#environ = environ
    this.#server = server
    this.#decide = decide
    this.#method = environ.REQUEST_METHOD
  }

  call(application: Application): Body | Promise<Body> {
    let given: Body | Promise<Body>
    try {
      given = application(this.#environ, (status, headers, excInfo) => this.#startResponse(status, headers, excInfo))
    } catch (error) {
      return this.#threw(error)
    }
    if (!isPromise(given)) return this.#took(given)
    return given.then(
      (body) => this.#took(body),
      (error: unknown) => this.#threw(error),
    )
  }

  /** What was written before leaves first, so that the client sees the same end as it would without us. */
  #threw(error: unknown): never | Promise<never> {
    if (!this.#writes) return this.#refuse(error)
    return this.#writes.catch(ignore).then(() => this.#refuse(error))
  }

  // ---- startResponse ---------------------------------------------------------------------------------------------

  #startResponse(status: string, headers: Headers, excInfo: unknown): Write {
    const again = excInfo !== undefined && excInfo !== null
    if (this.#decided && !again) {
      throw new LocalProtocolError(
        'START_TWICE',
        `startResponse was called a second time (${shown(status)}) without excInfo`,
      )
    }
    if (again && this.#committed) {
      this.#fail(excInfo)
      // It cuts the response, and throws, if the head has left it.
      if (this.#told) this.#server(status, headers, excInfo)
      throw excInfo
    }
    // Refused here as the server would, also where the server is told later.
    const head = checkHead(status, headers, typeof this.#environ['HTTP_UPGRADE'] === 'string')
    this.#excInfo = excInfo
    this.#release()
    try {
      this.#adopt(head.code === 101 ? { status, headers } : this.#decide(status, head.headers), status, headers)
    } catch (error) {
      this.#fail(error)
      this.#release()
      throw error
    }
    this.#decided = true
    return (chunk) => this.#written(chunk)
  }

  #adopt(filtered: Filtered, status: string, headers: Headers): void {
    if (this.#passed) {
      const changes = 'replace' in filtered || filtered.filter || filtered.hold
      if ('filter' in filtered || 'hold' in filtered) closeUnused(filtered)
      this.#tell(changes ? status : (filtered as Changed).status, changes ? headers : (filtered as Changed).headers)
      return
    }
    if ('replace' in filtered) {
      this.#replace = filtered.replace
      return
    }
    const content = hasContent(this.#method, filtered.status)
    this.#filter = filtered.hold ?? filtered.filter
    if (!content) {
      this.#drops = this.#filter !== undefined && this.#method === 'HEAD'
      this.#release(true)
    } else {
      this.#hold = filtered.hold
      this.#whole = this.#returned ? undefined : filtered.whole
    }
    if (this.#hold || this.#whole) this.#head = filtered
    else this.#tell(filtered.status, filtered.headers)
  }

  #tell(status: string, headers: Headers, excInfo: unknown = this.#excInfo): Write {
    const write = this.#told ? this.#server(status, headers, excInfo) : this.#server(status, headers)
    this.#told = true
    this.#write = write
    return write
  }

  /** The head that waited for the application to return. */
  #tellNow(): void {
    const head = this.#head
    if (!head || this.#hold) return
    this.#head = undefined
    this.#whole = undefined
    this.#tell(head.status, head.headers)
  }

  // ---- write -----------------------------------------------------------------------------------------------------

  #written(chunk: Uint8Array): Promise<void> {
    let outcome: Promise<void>
    try {
      outcome = this.#accept(chunk)
    } catch (error) {
      outcome = Promise.reject(error)
    }
    // Nobody has to await a write: a rejection that nobody sees must not end the process.
    outcome.catch(ignore)
    return outcome
  }

  #accept(chunk: Uint8Array): Promise<void> {
    if (this.#passed) return this.#write!(chunk)
    this.#check()
    if (this.#over || this.#closed)
      throw new LocalProtocolError('WRITE_AFTER_END', 'write() after the end of the response')
    checkChunk(chunk)
    this.#committed = true
    if (this.#replace) return nextTick()
    this.#tellNow()
    if (this.#drops) return this.#write!(EMPTY)
    if (this.#writes) return this.#queue(chunk)
    if (chunk.length === 0) return this.#hold ? Promise.resolve() : this.#write!(chunk)
    const output = this.#push(chunk)
    if (isPromise(output)) return this.#queue(chunk, output)
    // Even when nothing comes out of it: the head leaves with the first write.
    return this.#hold ? nextTick() : this.#write!(output)
  }

  /** @param pushed what its push gives, when that has begun */
  #queue(chunk: Uint8Array, pushed?: Promise<Uint8Array>): Promise<void> {
    const before = this.#writes
    if (before && (this.#queued += chunk.length) > WRITE_OVERRUN) {
      const error = new LocalProtocolError(
        'WRITE_OVERRUN',
        `write() was called with ${this.#queued} bytes while one was pending: await what it returns`,
      )
      this.#fail(error)
      throw error
    }
    const turn = this.#turn(chunk, before, pushed).then(
      () => {
        if (this.#writes !== turn) return
        this.#writes = undefined
        this.#queued = 0
      },
      (error: unknown) => {
        this.#fail(error)
        throw error
      },
    )
    this.#writes = turn
    return turn
  }

  async #turn(chunk: Uint8Array, before: Promise<void> | undefined, pushed?: Promise<Uint8Array>): Promise<void> {
    if (before) await before
    this.#check()
    const output = pushed ? await this.#interruptible(pushed) : chunk.length === 0 ? EMPTY : await this.#push(chunk)
    this.#check()
    if (this.#closed) throw new LocalProtocolError('WRITE_AFTER_END', 'the response was closed during a write()')
    if (!this.#hold) await this.#write!(output ?? EMPTY)
  }

  // ---- the filter ------------------------------------------------------------------------------------------------

  /** A chunk's output. What fails here fails the response, also when an application catches it. */
  #push(chunk: Uint8Array): Awaitable<Uint8Array> {
    const filter = this.#filter
    if (!filter) return chunk
    if (this.#replace) return EMPTY
    try {
      const output = filter.push(chunk)
      if (!isPromise(output)) return this.#output(output)
      return output.then(
        (settled) => this.#output(settled),
        (error: unknown) => {
          this.#fail(error)
          throw error
        },
      )
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  #output(output: Uint8Array | Application | undefined): Uint8Array {
    if (typeof output !== 'function') return output ?? EMPTY
    this.#replace = output
    return EMPTY
  }

  /** A promise that also ends, with nothing, when the response is closed. */
  #interruptible<T>(pending: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#interrupt = () => resolve(undefined)
      pending.then(resolve, reject)
    })
  }

  /** Closes the filter. @param keeps what else was decided stays */
  #release(keeps = false): void {
    const filter = this.#filter
    this.#filter = undefined
    this.#hold = undefined
    if (!keeps) {
      this.#replace = undefined
      this.#whole = undefined
      this.#head = undefined
      this.#drops = false
    }
    try {
      filter?.close?.()
    } catch (error) {
      this.#closeFailed(error)
    }
  }

  // ---- the body --------------------------------------------------------------------------------------------------

  #took(body: Body): Body | Promise<Body> {
    const iterable = body as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null
    const asynchronous = typeof iterable?.[Symbol.asyncIterator] === 'function'
    if (typeof body !== 'object' || (!asynchronous && typeof iterable?.[Symbol.iterator] !== 'function')) {
      // The server refuses it, and says why.
      this.#release()
      return body
    }
    this.#body.give(body)
    this.#closes = typeof body.close === 'function'
    try {
      if (!this.#decided && !asynchronous && !Array.isArray(body)) this.#begin()
      if (!this.#writes) return this.#answer(body)
      // They have to be on their way before the server iterates.
      return this.#writes.then(() => this.#answer(body)).catch((error: unknown) => this.#refuse(error))
    } catch (error) {
      return this.#refuse(error)
    }
  }

  /** Takes a synchronous body's first step, in which it calls startResponse, so that it can stay synchronous. */
  #begin(): void {
    this.#returned = true
    const iterator = this.#body.iterate()
    try {
      this.#first = iterator.next()
    } catch (error) {
      this.#body.iterator = undefined
      throw error
    }
    if ('done' in this.#first && this.#first.done) this.#body.iterator = undefined
  }

  #answer(body: Body): Body | Promise<Body> {
    this.#check()
    this.#returned = true
    if (this.#replace) return this.#instead(this.#replace)
    if (this.#hold || this.#drops || (!this.#decided && !Array.isArray(body))) return this.#stream()
    if (Array.isArray(body) && !this.#committed && isWhole(body)) {
      const whole = this.#whole
      if (whole && this.#head) return this.#answerWhole(body, whole)
      if (this.#filter) return this.#filterArray(body, this.#filter as Filter)
    }
    this.#tellNow()
    if (this.#filter) return this.#stream()
    this.#passed = true
    return this.#first ? this.#rest(this.#first as Step) : body
  }

  /** The application's body is closed, and `application` answers. */
  #instead(application: Application): Body | Promise<Body> {
    this.#release()
    this.#closeBody()
    const given = this.#run(application)
    return isPromise(given)
      ? given.then(
          (body) => this.#withClose(body),
          (error: unknown) => this.#refuse(error),
        )
      : this.#withClose(given)
  }

  #answerWhole(chunks: Uint8Array[], whole: (body: Uint8Array) => Awaitable<Application>): Body | Promise<Body> {
    this.#release()
    const application = whole(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    if (!isPromise(application)) return this.#ranWhole(application)
    return application.then((settled) => this.#ranWhole(settled)).catch((error: unknown) => this.#refuse(error))
  }

  #ranWhole(application: Application): Body | Promise<Body> {
    const given = this.#run(application)
    return isPromise(given) ? given.then((body) => this.#withClose(body)) : this.#withClose(given)
  }

  /** An array that is all there stays one. */
  #filterArray(chunks: Uint8Array[], filter: Filter): Body | Promise<Body> {
    this.#committed = true
    const output: Uint8Array[] = []
    const keep = (out: Uint8Array | undefined): void => {
      if (out && out.length > 0) output.push(out)
    }
    for (let at = 0; at < chunks.length; at++) {
      if (chunks[at]!.length === 0) continue
      const out = filter.push(chunks[at]!)
      if (isPromise(out))
        return this.#filterSlowly(chunks, at, out, filter, output).catch((error) => this.#refuse(error))
      keep(out)
    }
    const out = filter.end()
    if (isPromise(out)) {
      return this.#filterSlowly(chunks, chunks.length, out, filter, output).catch((error) => this.#refuse(error))
    }
    keep(out)
    return this.#filteredArray(output)
  }

  /** @param pending what the push of `chunks[at]` gives, or what `end` does */
  async #filterSlowly(
    chunks: Uint8Array[],
    at: number,
    pending: Promise<Uint8Array | undefined>,
    filter: Filter,
    output: Uint8Array[],
  ): Promise<Body> {
    output.push((await pending) ?? EMPTY)
    for (let next = at + 1; next < chunks.length; next++) {
      if (chunks[next]!.length > 0) output.push((await filter.push(chunks[next]!)) ?? EMPTY)
    }
    if (at < chunks.length) output.push((await filter.end()) ?? EMPTY)
    return this.#filteredArray(output)
  }

  #filteredArray(output: Uint8Array[]): Body {
    this.#over = true
    this.#release()
    return this.#withClose(output)
  }

  #run(application: Application): Body | Promise<Body> {
    return application(this.#environ, (status, headers, excInfo) =>
      this.#tell(status, headers, excInfo ?? this.#excInfo),
    )
  }

  /** `body`, with the application's closed after it. */
  #withClose(body: Body): Body {
    const open = !this.#body.closed && this.#closes
    if (!open && !this.#closing && !this.#closeErrors) return body
    this.#other.give(body)
    const close = (): void | Promise<void> => this.#close()
    // An array stays one, so that its length is found as it would be otherwise; it may be a constant of somebody's.
    if (Array.isArray(body)) return Object.assign([...body], { close })
    return { [Symbol.asyncIterator]: () => ({ next: () => this.#nextOther() }), close }
  }

  /** A synchronous body whose first step was taken, and which is not changed. */
  #rest(first: Step): Body {
    let step: Step | undefined = first
    const next = (): Step => {
      const taken = step
      step = undefined
      if (taken) return taken
      const iterator = this.#body.iterator as Iterator<Uint8Array> | undefined
      if (!iterator) return DONE
      try {
        const result = iterator.next()
        if (result.done) this.#body.iterator = undefined
        return result
      } catch (error) {
        this.#body.iterator = undefined
        throw error
      }
    }
    return { [Symbol.iterator]: () => ({ next }), close: () => this.#close() }
  }

  #stream(): Body {
    return { [Symbol.asyncIterator]: () => ({ next: () => this.#next() }), close: () => this.#close() }
  }

  /** One step of the application's for one of ours, so that nothing is delayed: what gives no output gives an empty chunk. */
  async #next(): Promise<Step> {
    if (this.#writes) await this.#writes
    this.#check()
    if (this.#over || this.#closed) return DONE
    if (this.#other.given) return this.#nextOther()
    for (;;) {
      const step = await this.#stepped()
      if (this.#writes) await this.#writes
      this.#check()
      if (this.#closed) return DONE
      if (this.#replace) return this.#switch(this.#replace)
      if (this.#drops) {
        if (!step.done && step.value.length === 0) return step
        this.#over = true
        return DONE
      }
      if (!this.#filter || !this.#decided) return step
      if (step.done) return this.#end()
      checkChunk(step.value)
      if (step.value.length === 0 && !this.#hold) return step
      if (step.value.length > 0) {
        const output = await this.#filtered(step.value)
        if (this.#closed) return DONE
        if (!this.#hold) return { done: false, value: output }
        if (this.#replace) return this.#switch(this.#replace)
      }
      // Nobody sees our steps meanwhile: an abort is for us to notice.
      const { signal } = this.#environ.gantry
      if (signal.aborted) throw signal.reason
    }
  }

  /** The application's next step. An iterator that ended or threw is not to be returned. */
  async #stepped(): Promise<Step> {
    const first = this.#first
    this.#first = undefined
    try {
      const iterator = this.#body.iterator ?? (first ? undefined : this.#body.iterate())
      const pending = first ?? iterator!.next()
      const step = 'then' in pending ? await pending : pending
      if (step.done) this.#body.iterator = undefined
      return step
    } catch (error) {
      this.#body.iterator = undefined
      throw error
    }
  }

  async #filtered(chunk: Uint8Array): Promise<Uint8Array> {
    this.#committed = true
    const pushed = this.#push(chunk)
    const output = (isPromise(pushed) ? await this.#interruptible(pushed) : pushed) ?? EMPTY
    this.#swallowed += chunk.length - output.length
    if (this.#swallowed >= YIELD_AFTER) {
      this.#swallowed = 0
      await nextTick()
    }
    return output
  }

  async #end(): Promise<Step> {
    const ended = this.#filter!.end()
    const output: Uint8Array | Application | undefined = isPromise(ended)
      ? await this.#interruptible<Uint8Array | Application | undefined>(ended)
      : ended
    if (this.#closed) return DONE
    if (typeof output === 'function') return this.#switch(output)
    this.#over = true
    this.#release()
    return output && output.length > 0 ? { done: false, value: output } : DONE
  }

  /** `application` answers in the place of ours, whose body is closed. */
  async #switch(application: Application): Promise<Step> {
    this.#release()
    this.#closeBody()
    this.#other.give(await this.#run(application))
    if (!this.#closed) return this.#nextOther()
    this.#closing = this.#other.close(this.#closeFailed)
    return DONE
  }

  async #nextOther(): Promise<Step> {
    try {
      const iterator = this.#other.iterator ?? this.#other.iterate()
      const step = await iterator.next()
      if (step.done) {
        this.#other.iterator = undefined
        this.#over = true
      }
      return step
    } catch (error) {
      this.#other.iterator = undefined
      throw error
    }
  }

  /** The response cannot be whole any more; whoever asks for more of it is told. */
  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#interrupt?.()
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error
  }

  // ---- ends ------------------------------------------------------------------------------------------------------

  /** The response cannot be given: what is open is closed, and the server told why. */
  #refuse(error: unknown): never | Promise<never> {
    const closing = this.#close()
    if (!isPromise(closing)) throw error
    return closing.then(
      () => {
        throw error
      },
      () => {
        throw error
      },
    )
  }

  #closeBody(): void {
    this.#closing = this.#body.close(this.#closeFailed) ?? this.#closing
  }

  readonly #closeFailed = (error: unknown): void => {
    this.#closeErrors ??= []
    this.#closeErrors.push(error)
  }

  #close(): void | Promise<void> {
    if (this.#closed) return undefined
    this.#closed = true
    this.#release()
    this.#interrupt?.()
    const own = this.#body.close(this.#closeFailed)
    const others = this.#other.close(this.#closeFailed)
    if (own || others || this.#closing) {
      return Promise.all([this.#closing, own, others]).then(() => this.#tellCloseErrors())
    }
    return this.#tellCloseErrors()
  }

  /** The server logs what close() throws; the first error is most often the cause of others. */
  #tellCloseErrors(): void {
    if (this.#closeErrors) throw this.#closeErrors[0]
  }
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

function isWhole(chunks: unknown[]): chunks is Uint8Array[] {
  if (chunks.length > WHOLE_CHUNKS) return false
  let total = 0
  for (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) return false
    total += chunk.length
  }
  return chunks.length === 1 || total <= WHOLE_MAX
}

function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application gave ${shown(chunk)} as a chunk of its body: a Uint8Array is due (Buffer.from(text) makes one)`,
    )
  }
}

/** A decision that comes too late to change the body. */
function closeUnused({ filter, hold }: Changed): void {
  filter?.close?.()
  hold?.close?.()
}
