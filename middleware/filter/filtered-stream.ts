/** The body that the server iterates: the application's chunks through the filter, or the body of a replacement. */

import type { Application, Body } from '../../protocol/contract/application.ts'
import { yieldToEventLoop } from '../../protocol/net/event-loop.ts'
import { checkChunk, EMPTY, isPromise, step, stepSync } from './filtered-bodies.ts'
import type { FilteredState } from './response-state.ts'

type Step = IteratorResult<Uint8Array>

/** After a filter has consumed this much more than it returned, bytes, other requests may run; as in exchange.ts. */
const YIELD_AFTER = 64 * 1024

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** The application's body through the filter. @param first the application's first step, if it was taken already */
export function filteredStream(state: FilteredState, first: Step | undefined): Body {
  const stream = new FilteredStream(state, first)
  return { [Symbol.asyncIterator]: () => ({ next: () => stream.next() }), close: () => state.close() }
}

/** The rest of a synchronous body that is not changed. @param first the application's first step */
export function unchangedRest(state: FilteredState, first: Step): Body {
  let taken: Step | undefined = first
  const next = (): Step => {
    if (state.isOver) return DONE
    const result = taken ?? stepSync(state.bodies.own)
    taken = undefined
    state.isOver = result.done === true
    return result
  }
  return { [Symbol.iterator]: () => ({ next }), close: () => state.close() }
}

/** A body that answers instead of the application's, and closes both. */
export function replacementBody(state: FilteredState, body: Body): Body {
  if (!state.bodies.pending) return body
  state.bodies.other.give(body)
  const close = (): void | Promise<void> => state.close()
  // An array stays an array, so that the server finds its length. It is copied: it may be a constant of the
  // application.
  if (Array.isArray(body)) return Object.assign([...body], { close })
  return { [Symbol.asyncIterator]: () => ({ next: () => nextOfReplacement(state) }), close }
}

async function nextOfReplacement(state: FilteredState): Promise<Step> {
  const result = await step(state.bodies.other)
  if (result.done) state.isOver = true
  return result
}

class FilteredStream {
  readonly #state: FilteredState
  #first: Step | undefined
  /** Bytes that the filter consumed and did not return, since the last pause. */
  #consumed = 0

  constructor(state: FilteredState, first: Step | undefined) {
    this.#state = state
    this.#first = first
  }

  /**
   * One step of the application for each step of the server, so that no chunk is delayed: no output is an empty chunk.
   */
  async next(): Promise<Step> {
    const state = this.#state
    const { active, writes } = state
    if (writes.pending) await writes.pending
    active.check()
    if (state.isOver || state.isClosed) return DONE
    if (state.bodies.other.given) return nextOfReplacement(state)
    for (;;) {
      const taken = await this.#nextOfApplication()
      if (writes.pending) await writes.pending
      active.check()
      if (state.isClosed) return DONE
      if (active.replacement) return this.#switchTo(active.replacement)
      if (state.dropsBody) {
        if (!taken.done && taken.value.length === 0) return taken
        state.isOver = true
        return DONE
      }
      if (!active.filter || !state.isDecided) {
        state.isOver = taken.done === true
        return taken
      }
      if (taken.done) return this.#endFilter()
      checkChunk(taken.value)
      if (taken.value.length === 0 && !state.hold) return taken
      if (taken.value.length > 0) {
        const output = await this.#filterChunk(taken.value)
        if (state.isClosed) return DONE
        if (!state.hold) return { done: false, value: output }
        if (active.replacement) return this.#switchTo(active.replacement)
      }
      // A hold takes many steps within one step of the server: the server cannot stop the loop after an abort.
      const { signal } = state.environ.gantry
      if (signal.aborted) throw signal.reason
    }
  }

  #nextOfApplication(): Promise<Step> {
    const first = this.#first
    this.#first = undefined
    return first ? Promise.resolve(first) : step(this.#state.bodies.own)
  }

  async #filterChunk(chunk: Uint8Array): Promise<Uint8Array> {
    const state = this.#state
    state.hasBytes = true
    const pushed = state.active.push(chunk)
    const output = (isPromise(pushed) ? await state.active.interruptible(pushed) : pushed) ?? EMPTY
    this.#consumed += chunk.length - output.length
    if (this.#consumed >= YIELD_AFTER) {
      this.#consumed = 0
      await yieldToEventLoop()
    }
    return output
  }

  async #endFilter(): Promise<Step> {
    const state = this.#state
    const ended = state.active.filter!.end()
    const output: Uint8Array | Application | undefined = isPromise(ended)
      ? await state.active.interruptible<Uint8Array | Application | undefined>(ended)
      : ended
    if (state.isClosed) return DONE
    if (typeof output === 'function') return this.#switchTo(output)
    state.isOver = true
    state.release()
    return output && output.length > 0 ? { done: false, value: output } : DONE
  }

  /** Closes the application's body; from now on `application` answers. */
  async #switchTo(application: Application): Promise<Step> {
    const state = this.#state
    state.release()
    state.bodies.closeOwn()
    state.bodies.other.give(await state.callReplacement(application))
    if (!state.isClosed) return nextOfReplacement(state)
    // The response was closed while the application was called.
    await state.bodies.close()
    return DONE
  }
}
