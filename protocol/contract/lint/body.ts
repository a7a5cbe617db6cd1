/** A response's body seen through glass: how the server iterates and closes it, and what the application yields. */

import type { Body } from '../application.ts'
import { fingerprint } from './given.ts'
import { type Fail, show } from './rules.ts'

/** What a body tells the call it belongs to. Each may throw. */
export interface BodyWatch {
  /** `next()` was called. */
  asked(): void
  /** A chunk came, checked to be bytes. */
  chunk(chunk: Uint8Array): void
  /** The iterator is at its end. */
  ended(): void
  /** `next()` threw or rejected: a fault where the response is over. */
  failed(error: unknown, what: string): void
  /** `return()` or `close()` threw or rejected, which is too late. */
  failedLate(error: unknown, what: string): void
  /** `close()` was called. */
  didClose(): void
  /** The iterator was returned. */
  didRelease(): void
  readonly closed: boolean
}

type AnyIterator = Iterator<unknown> | AsyncIterator<unknown>
type AnyResult = IteratorResult<unknown> | Promise<IteratorResult<unknown>>

/** A body under watch. */
export interface GuardedBody {
  readonly body: Body
  /** Whether an iterator was begun, not read to its end, and not returned. */
  leftOpen(): boolean
}

export function isChunk(chunk: unknown, fail: Fail, where: string): chunk is Uint8Array {
  if (chunk instanceof Uint8Array) return true
  fail('CHUNK_TYPE', `${where} gave ${show(chunk)}`)
  return false
}

/** Whether `body` can be one at all. */
export function isBody(body: unknown, fail: Fail): body is Body {
  if (typeof body !== 'object' || body === null || body instanceof Uint8Array) {
    fail('BODY_ITERABLE', `the application gave ${show(body)}`)
    return false
  }
  const iterable = body as Partial<Iterable<unknown> & AsyncIterable<unknown>>
  if (typeof iterable[Symbol.asyncIterator] !== 'function' && typeof iterable[Symbol.iterator] !== 'function') {
    fail('BODY_ITERABLE', `the application gave ${show(body)}`)
    return false
  }
  const { close } = body as { close?: unknown }
  if (close !== undefined && typeof close !== 'function') fail('BODY_CLOSE', `close is ${show(close)}`)
  return true
}

function closer(body: Body, watch: BodyWatch, fail: Fail): () => void | Promise<void> {
  return () => {
    if (watch.closed) fail('CLOSE_TWICE', 'close() was called again')
    watch.didClose()
    return attempt(
      () => body.close?.(),
      (error) => watch.failedLate(error, 'close()'),
    )
  }
}

/** What `action` gives or throws, and `failed` told first of what it throws or rejects with. */
function attempt<T>(action: () => T, failed: (error: unknown) => void): T {
  let result: T
  try {
    result = action()
  } catch (error) {
    failed(error)
    throw error
  }
  if (typeof (result as Promise<unknown> | null | undefined)?.then !== 'function') return result
  return (result as Promise<unknown>).then(undefined, (error: unknown) => {
    failed(error)
    throw error
  }) as T
}

/**
 * An array stays an array, so that a gateway coalesces it and finds its length as it would without lint. It is checked as a
 * whole when it is returned; whether it is iterated twice cannot be seen.
 */
function guardArray(body: Body & unknown[], watch: BodyWatch, fail: Fail): GuardedBody {
  const chunks: Uint8Array[] = []
  for (const chunk of body) {
    if (isChunk(chunk, fail, 'the array')) watch.chunk(chunk)
    chunks.push(chunk as Uint8Array)
  }
  watch.ended()
  Object.defineProperty(chunks, 'close', { value: closer(body, watch, fail) })
  return { body: chunks, leftOpen: () => false }
}

/** Any other body: each `next()` passes through here, synchronous where the application's is. */
export function guardBody(body: Body, watch: BodyWatch, fail: Fail): GuardedBody {
  if (Array.isArray(body)) return guardArray(body, watch, fail)
  const asynchronous = typeof (body as Partial<AsyncIterable<Uint8Array>>)[Symbol.asyncIterator] === 'function'
  let iterator: AnyIterator | undefined
  let done = false
  let pending = false
  /** What was given last, and what it was when the next was asked for: from there on only the application runs. */
  let last: Uint8Array | undefined
  let print = 0

  /** What lint refuses, the server sees as a next() that threw, and will not return(): that is then done here. */
  function received(result: IteratorResult<unknown>): IteratorResult<Uint8Array> {
    try {
      return checked(result)
    } catch (error) {
      if (!done) {
        done = true
        Promise.resolve(iterator?.return?.()).catch(() => {})
      }
      throw error
    }
  }

  function checked(result: IteratorResult<unknown>): IteratorResult<Uint8Array> {
    // A length of 0: the server has transferred its buffer, which is its own by then.
    if (last && last.length > 0 && fingerprint(last) !== print) fail('CHUNK_CHANGED', `a chunk of ${last.length} bytes`)
    last = undefined
    if (typeof result !== 'object' || result === null) {
      fail('BODY_RESULT', `next() gave ${show(result)}`)
    } else if (result.done) {
      done = true
      watch.ended()
    } else if (isChunk(result.value, fail, 'the body')) {
      watch.chunk(result.value)
      last = result.value
    }
    return result as IteratorResult<Uint8Array>
  }

  /** What next() and return() share: an iterator that throws is at its end, and has no return() to be run. */
  function step(call: () => AnyResult): IteratorResult<Uint8Array> | Promise<IteratorResult<Uint8Array>> {
    let result: AnyResult
    try {
      result = call()
    } catch (error) {
      done = true
      watch.failed(error, 'next()')
      throw error
    }
    if (!asynchronous) return received(result as IteratorResult<unknown>)
    if (typeof (result as Promise<unknown> | null)?.then !== 'function') {
      fail('BODY_RESULT', `next() of an async iterable gave ${show(result)}`)
      return Promise.resolve(received(result as IteratorResult<unknown>))
    }
    pending = true
    return (result as Promise<IteratorResult<unknown>>).then(
      (settled) => {
        pending = false
        return received(settled)
      },
      (error: unknown) => {
        pending = false
        done = true
        watch.failed(error, 'next()')
        throw error
      },
    )
  }

  function next(): IteratorResult<Uint8Array> | Promise<IteratorResult<Uint8Array>> {
    if (watch.closed) fail('NEXT_AFTER_CLOSE', 'next() was called')
    if (pending) fail('NEXT_WHILE_PENDING', 'next() was called')
    if (done) fail('NEXT_AFTER_DONE', 'next() was called')
    watch.asked()
    if (last) print = fingerprint(last)
    return step(() => iterator!.next())
  }

  function begin(): unknown {
    if (iterator) fail('BODY_ITERATED_TWICE', 'a second iterator was asked for')
    if (watch.closed) fail('NEXT_AFTER_CLOSE', 'an iterator was asked for')
    const made = asynchronous
      ? (body as AsyncIterable<unknown>)[Symbol.asyncIterator]()
      : (body as Iterable<unknown>)[Symbol.iterator]()
    iterator = made
    if (typeof made?.next !== 'function') fail('BODY_RESULT', `an iterator without next(): ${show(made)}`)
    return {
      next,
      // There only if the application's is there: servers ask.
      ...(typeof made.return === 'function' ? { return: giveUp } : {}),
      [asynchronous ? Symbol.asyncIterator : Symbol.iterator]() {
        return this
      },
    }
  }

  function giveUp(value?: unknown): AnyResult {
    done = true
    watch.didRelease()
    return attempt(
      () => iterator!.return!(value) as AnyResult,
      (error) => watch.failedLate(error, 'return()'),
    )
  }

  const guarded = { [asynchronous ? Symbol.asyncIterator : Symbol.iterator]: begin, close: closer(body, watch, fail) }
  return {
    body: guarded as unknown as Body,
    leftOpen: () => iterator !== undefined && !done && typeof iterator.return === 'function',
  }
}
