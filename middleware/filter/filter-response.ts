/**
 * What every middleware that changes a response's content stands on: `filterResponse` calls an application, asks for each
 * `startResponse` what becomes of the response, and keeps the contract on both sides whatever the application does (`write`, a late
 * startResponse, excInfo, generators, arrays, aborts).
 *
 * What a filter does to the bytes it does not know, nor why. Fields are the middleware's matter (`response-fields.ts` helps).
 */

import type { Application, Body, Environ, Headers, StartResponse, Write } from '../../protocol/contract/application.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
import { checkHead, shown } from '../../protocol/contract/response-head.ts'
import type { Awaitable, Changed, Decide, Filter, Filtered, Hold } from './filter.ts'
import { checkChunk, FilteredBodies, isPromise, isWhole, step, stepSync } from './filtered-bodies.ts'
import { FilteredWrites } from './filtered-writes.ts'
import { hasContent } from './response-fields.ts'

export type { Changed, Decide, Filter, Filtered, Hold, Replaced } from './filter.ts'

type Step = IteratorResult<Uint8Array>

/** A filter that swallows a long synchronous body lets others run this often, bytes; as exchange.ts does. */
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

  #write: Write | undefined
  /** Writes that wait for an asynchronous push. */
  readonly #writes: FilteredWrites = new FilteredWrites()

  readonly #bodies: FilteredBodies = new FilteredBodies()
  /** A step that was taken to see the response begin. */
  #first: Step | undefined
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
    if (!this.#writes.pending) return this.#refuse(error)
    return this.#writes.pending.catch(ignore).then(() => this.#refuse(error))
  }

  // ---- startResponse ---------------------------------------------------------------------------------------------

  #startResponse(status: string, headers: Headers, excInfo: unknown): Write {
    const again = excInfo !== undefined && excInfo !== null
    // As it was closed, another's bytes may be under way, which its head must not be put on.
    if (this.#bodies.own.closed) {
      throw localError('START_AFTER_END', `startResponse was called (${shown(status)}) after the body was closed`)
    }
    if (this.#decided && !again) {
      throw localError(
        'START_TWICE',
        `startResponse was called a second time (${shown(status)}) without excInfo; give the error as third argument`,
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
      throw localError('WRITE_AFTER_END', 'write() was called after the end of the response')
    checkChunk(chunk)
    this.#committed = true
    if (this.#replace) return nextTick()
    this.#tellNow()
    if (this.#drops) return this.#write!(EMPTY)
    if (this.#writes.pending) return this.#queue(chunk)
    if (chunk.length === 0) return this.#hold ? Promise.resolve() : this.#write!(chunk)
    const output = this.#push(chunk)
    if (isPromise(output)) return this.#queue(chunk, output)
    // Even when nothing comes out of it: the head leaves with the first write.
    return this.#hold ? nextTick() : this.#write!(output)
  }

  /** @param pushed what its push gives, when that has begun */
  #queue(chunk: Uint8Array, pushed?: Promise<Uint8Array>): Promise<void> {
    try {
      return this.#writes.add(chunk.length, () => this.#turn(chunk, pushed))
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  async #turn(chunk: Uint8Array, pushed: Promise<Uint8Array> | undefined): Promise<void> {
    try {
      this.#check()
      const output = pushed ? await this.#interruptible(pushed) : chunk.length === 0 ? EMPTY : await this.#push(chunk)
      this.#check()
      if (this.#closed) {
        throw localError('WRITE_AFTER_END', 'the response was closed during a write()')
      }
      if (!this.#hold) await this.#write!(output ?? EMPTY)
    } catch (error) {
      this.#fail(error)
      throw error
    }
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
      // Not assigned as a literal, which V8 takes for a method of something old: it would keep the request until a full collection.
      const interrupt = (): void => resolve(undefined)
      this.#interrupt = interrupt
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
      this.#bodies.failed(error)
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
    this.#bodies.give(body)
    try {
      if (!this.#decided && !asynchronous && !Array.isArray(body)) this.#begin()
      if (!this.#writes.pending) return this.#answer(body)
      // They have to be on their way before the server iterates.
      return this.#writes.pending.then(() => this.#answer(body)).catch((error: unknown) => this.#refuse(error))
    } catch (error) {
      return this.#refuse(error)
    }
  }

  /** Takes a synchronous body's first step, in which it calls startResponse, so that it can stay synchronous. */
  #begin(): void {
    this.#returned = true
    this.#first = stepSync(this.#bodies.own)
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
    return this.#first ? this.#rest(this.#first) : body
  }

  /** The application's body is closed, and `application` answers. */
  #instead(application: Application): Body | Promise<Body> {
    this.#release()
    this.#bodies.closeOwn()
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
    if (!this.#bodies.pending) return body
    this.#bodies.other.give(body)
    const close = (): void | Promise<void> => this.#close()
    // An array stays one, so that its length is found as it would be otherwise; it may be a constant of somebody's.
    if (Array.isArray(body)) return Object.assign([...body], { close })
    return { [Symbol.asyncIterator]: () => ({ next: () => this.#nextOther() }), close }
  }

  /** A synchronous body whose first step was taken, and which is not changed. */
  #rest(first: Step): Body {
    let taken: Step | undefined = first
    const next = (): Step => {
      if (this.#over) return DONE
      const result = taken ?? stepSync(this.#bodies.own)
      taken = undefined
      this.#over = result.done === true
      return result
    }
    return { [Symbol.iterator]: () => ({ next }), close: () => this.#close() }
  }

  #stream(): Body {
    return { [Symbol.asyncIterator]: () => ({ next: () => this.#next() }), close: () => this.#close() }
  }

  /** One step of the application's for one of ours, so that nothing is delayed: what gives no output gives an empty chunk. */
  async #next(): Promise<Step> {
    if (this.#writes.pending) await this.#writes.pending
    this.#check()
    if (this.#over || this.#closed) return DONE
    if (this.#bodies.other.given) return this.#nextOther()
    for (;;) {
      const taken = await this.#stepped()
      if (this.#writes.pending) await this.#writes.pending
      this.#check()
      if (this.#closed) return DONE
      if (this.#replace) return this.#switch(this.#replace)
      if (this.#drops) {
        if (!taken.done && taken.value.length === 0) return taken
        this.#over = true
        return DONE
      }
      if (!this.#filter || !this.#decided) {
        this.#over = taken.done === true
        return taken
      }
      if (taken.done) return this.#end()
      checkChunk(taken.value)
      if (taken.value.length === 0 && !this.#hold) return taken
      if (taken.value.length > 0) {
        const output = await this.#filtered(taken.value)
        if (this.#closed) return DONE
        if (!this.#hold) return { done: false, value: output }
        if (this.#replace) return this.#switch(this.#replace)
      }
      // Nobody sees our steps meanwhile: an abort is for us to notice.
      const { signal } = this.#environ.gantry
      if (signal.aborted) throw signal.reason
    }
  }

  /** The application's next step. */
  #stepped(): Promise<Step> {
    const first = this.#first
    this.#first = undefined
    return first ? Promise.resolve(first) : step(this.#bodies.own)
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
    this.#bodies.closeOwn()
    this.#bodies.other.give(await this.#run(application))
    if (!this.#closed) return this.#nextOther()
    // It came when nobody waited for it any more.
    await this.#bodies.close()
    return DONE
  }

  async #nextOther(): Promise<Step> {
    const result = await step(this.#bodies.other)
    if (result.done) this.#over = true
    return result
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

  #close(): void | Promise<void> {
    if (this.#closed) return undefined
    this.#closed = true
    this.#release()
    this.#interrupt?.()
    return this.#bodies.close()
  }
}

/** A decision that comes too late to change the body. */
function closeUnused({ filter, hold }: Changed): void {
  filter?.close?.()
  hold?.close?.()
}
