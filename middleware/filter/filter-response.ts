/**
 * Changes the responses of an application: middleware decides about each head (`filter.ts`), and this file keeps the
 * contract on both sides whatever the application does (`write`, a late startResponse, excInfo, generators, arrays,
 * aborts).
 */

import type { Application, Body, Environ, Headers, StartResponse, Write } from '../../protocol/contract/application.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
import { checkHead, shown } from '../../protocol/contract/response-head.ts'
import { yieldToEventLoop } from '../../protocol/net/event-loop.ts'
import { hasContent } from '../shared/response-fields.ts'
import type { Awaitable, ChangedResponse, Decide, Filter, FilterDecision } from './filter.ts'
import { filterChunks } from './filter-chunks.ts'
import { checkChunk, EMPTY, isPromise, isWhole, stepSync } from './filtered-bodies.ts'
import { filteredStream, replacementBody, unchangedRest } from './filtered-stream.ts'
import { ResponseState } from './response-state.ts'

export type { ChangedResponse, Decide, Filter, FilterDecision, Hold, ReplacedResponse } from './filter.ts'

type Step = IteratorResult<Uint8Array>

const ignore = (): void => {}

/**
 * Calls `application` and applies the decision of `decide` to its response.
 *
 * `decide` is called at each `startResponse`: again if a call with excInfo replaces a head that was not sent; the
 * earlier filter is then closed. A 101 passes without a decision. A response without content (HEAD, 204, 205, 304) gets
 * the decided head, and its filter is closed unused.
 *
 * Written bytes pass the filter in order, and before iterated ones. The output for a chunk is sent before the next
 * chunk is requested. If a filter throws, the response fails: with a 500, or with a visible abort after the head was
 * sent. A body that was passed on unchanged stays unchanged, even if a later excInfo response would have been filtered.
 *
 * @throws whatever the application throws
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
  readonly #state: ResponseState
  readonly #decide: Decide
  /** The method of the request, before inner middleware may change the environ. */
  readonly #method: string

  constructor(environ: Environ, server: StartResponse, decide: Decide) {
    this.#state = new ResponseState(environ, server)
    this.#decide = decide
    this.#method = environ.REQUEST_METHOD
  }

  call(application: Application): Body | Promise<Body> {
    let given: Body | Promise<Body>
    try {
      const start: StartResponse = (status, headers, excInfo) => this.#startResponse(status, headers, excInfo)
      given = application(this.#state.environ, start)
    } catch (error) {
      return this.#onThrow(error)
    }
    if (!isPromise(given)) return this.#onBody(given)
    return given.then(
      (body) => this.#onBody(body),
      (error: unknown) => this.#onThrow(error),
    )
  }

  /** Sends what was written before, so that the client sees the same end as without the filter. */
  #onThrow(error: unknown): never | Promise<never> {
    const { pending } = this.#state.writes
    if (!pending) return this.#state.failWith(error)
    return pending.catch(ignore).then(() => this.#state.failWith(error))
  }

  // ---- startResponse ---------------------------------------------------------------------------------------------

  #startResponse(status: string, headers: Headers, excInfo: unknown): Write {
    const state = this.#state
    const hasExcInfo = excInfo !== undefined && excInfo !== null
    // After the body was closed, bytes of a replacement may be on their way: this head must not precede them.
    if (state.bodies.own.closed) {
      throw localError('START_AFTER_END', `startResponse was called (${shown(status)}) after the body was closed`)
    }
    if (state.isDecided && !hasExcInfo) {
      throw localError(
        'START_TWICE',
        `startResponse was called a second time (${shown(status)}) without excInfo; give the error as third argument`,
      )
    }
    if (hasExcInfo && state.hasBytes) {
      state.active.fail(excInfo)
      state.abort(status, headers, excInfo)
      throw excInfo
    }
    // A head is checked here, at the application's call, although the server may get it later.
    const head = checkHead(status, headers, typeof state.environ['HTTP_UPGRADE'] === 'string')
    state.excInfo = excInfo
    state.release()
    try {
      this.#apply(head.code === 101 ? { status, headers } : this.#decide(status, head.headers), status, headers)
    } catch (error) {
      state.active.fail(error)
      state.release()
      throw error
    }
    state.isDecided = true
    return (chunk) => this.#onWrite(chunk)
  }

  /** @param status of the application, as are `headers` */
  #apply(decision: FilterDecision, status: string, headers: Headers): void {
    const state = this.#state
    if (state.isPassedOn) {
      // Too late to change the body: a decision that would change it is ignored.
      const isUnchanged = !('replace' in decision || decision.filter || decision.hold)
      if ('filter' in decision || 'hold' in decision) closeUnused(decision)
      if (isUnchanged) state.sendHead((decision as ChangedResponse).status, (decision as ChangedResponse).headers)
      else state.sendHead(status, headers)
      return
    }
    if ('replace' in decision) {
      state.active.replacement = decision.replace
      return
    }
    state.active.filter = decision.hold ?? decision.filter
    if (hasContent(this.#method, decision.status)) {
      state.hold = decision.hold
      state.whole = state.hasReturned ? undefined : decision.whole
    } else {
      state.dropsBody = state.active.filter !== undefined && this.#method === 'HEAD'
      state.release(true)
    }
    if (state.hold || state.whole) state.head = decision
    else state.sendHead(decision.status, decision.headers)
  }

  // ---- write -----------------------------------------------------------------------------------------------------

  #onWrite(chunk: Uint8Array): Promise<void> {
    let outcome: Promise<void>
    try {
      outcome = this.#acceptWrite(chunk)
    } catch (error) {
      outcome = Promise.reject(error)
    }
    // An application need not await a write: an unhandled rejection must not end the process.
    outcome.catch(ignore)
    return outcome
  }

  #acceptWrite(chunk: Uint8Array): Promise<void> {
    const state = this.#state
    if (state.isPassedOn) return state.write!(chunk)
    state.active.check()
    if (state.isOver || state.isClosed) {
      throw localError('WRITE_AFTER_END', 'write() was called after the end of the response')
    }
    checkChunk(chunk)
    state.hasBytes = true
    if (state.active.replacement) return yieldToEventLoop()
    state.sendKeptHead()
    if (state.dropsBody) return state.write!(EMPTY)
    if (state.writes.pending) return this.#queueWrite(chunk)
    if (chunk.length === 0) return state.hold ? Promise.resolve() : state.write!(chunk)
    const output = state.active.push(chunk)
    if (isPromise(output)) return this.#queueWrite(chunk, output)
    // Empty output is written too: the first write sends the head.
    return state.hold ? yieldToEventLoop() : state.write!(output)
  }

  /** @param pushed the result of the push, if it has begun */
  #queueWrite(chunk: Uint8Array, pushed?: Promise<Uint8Array>): Promise<void> {
    try {
      return this.#state.writes.add(chunk.length, () => this.#runWrite(chunk, pushed))
    } catch (error) {
      this.#state.active.fail(error)
      throw error
    }
  }

  async #runWrite(chunk: Uint8Array, pushed: Promise<Uint8Array> | undefined): Promise<void> {
    const state = this.#state
    try {
      state.active.check()
      const output = pushed
        ? await state.active.interruptible(pushed)
        : chunk.length === 0
          ? EMPTY
          : await state.active.push(chunk)
      state.active.check()
      if (state.isClosed) {
        throw localError('WRITE_AFTER_END', 'the response was closed during a write()')
      }
      if (!state.hold) await state.write!(output ?? EMPTY)
    } catch (error) {
      state.active.fail(error)
      throw error
    }
  }

  // ---- the body --------------------------------------------------------------------------------------------------

  #onBody(body: Body): Body | Promise<Body> {
    const state = this.#state
    const iterable = body as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null
    const isAsync = typeof iterable?.[Symbol.asyncIterator] === 'function'
    if (typeof body !== 'object' || (!isAsync && typeof iterable?.[Symbol.iterator] !== 'function')) {
      // The server refuses the body with a message of its own.
      state.release()
      return body
    }
    state.bodies.give(body)
    try {
      let first: Step | undefined
      if (!state.isDecided && !isAsync && !Array.isArray(body)) {
        // A generator calls startResponse in its first step: taken here, the body can stay synchronous.
        state.hasReturned = true
        first = stepSync(state.bodies.own)
      }
      if (!state.writes.pending) return this.#answer(body, first)
      // Written bytes go before iterated ones.
      return state.writes.pending.then(() => this.#answer(body, first)).catch((error: unknown) => state.failWith(error))
    } catch (error) {
      return state.failWith(error)
    }
  }

  #answer(body: Body, first: Step | undefined): Body | Promise<Body> {
    const state = this.#state
    state.active.check()
    state.hasReturned = true
    if (state.active.replacement) return this.#answerInstead(state.active.replacement)
    if (state.hold || state.dropsBody || (!state.isDecided && !Array.isArray(body))) return filteredStream(state, first)
    if (Array.isArray(body) && !state.hasBytes && isWhole(body)) {
      const { whole } = state
      if (whole && state.head) return this.#answerWhole(body, whole)
      if (state.active.filter) return this.#filterArray(body, state.active.filter as Filter)
    }
    state.sendKeptHead()
    if (state.active.filter) return filteredStream(state, first)
    state.isPassedOn = true
    return first ? unchangedRest(state, first) : body
  }

  /** Closes the application's body; `application` answers. */
  #answerInstead(application: Application): Body | Promise<Body> {
    const state = this.#state
    state.release()
    state.bodies.closeOwn()
    const given = state.callReplacement(application)
    if (!isPromise(given)) return replacementBody(state, given)
    return given.then(
      (body) => replacementBody(state, body),
      (error: unknown) => state.failWith(error),
    )
  }

  #answerWhole(chunks: Uint8Array[], whole: (body: Uint8Array) => Awaitable<Application>): Body | Promise<Body> {
    const state = this.#state
    state.release()
    const application = whole(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    const run = (settled: Application): Body | Promise<Body> => {
      const given = state.callReplacement(settled)
      return isPromise(given) ? given.then((body) => replacementBody(state, body)) : replacementBody(state, given)
    }
    if (!isPromise(application)) return run(application)
    return application.then(run).catch((error: unknown) => state.failWith(error))
  }

  #filterArray(chunks: Uint8Array[], filter: Filter): Body | Promise<Body> {
    const state = this.#state
    state.hasBytes = true
    const finish = (output: Uint8Array[]): Body => {
      state.isOver = true
      state.release()
      return replacementBody(state, output)
    }
    const output = filterChunks(chunks, filter)
    if (!isPromise(output)) return finish(output)
    return output.then(finish).catch((error: unknown) => state.failWith(error))
  }
}

function closeUnused({ filter, hold }: ChangedResponse): void {
  filter?.close?.()
  hold?.close?.()
}
