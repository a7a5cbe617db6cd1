/** Checks a response body: how the server iterates and closes it, and what the application yields. */

import type { Body } from '../application.ts'
import { type Fail, show } from './rules.ts'
import { fingerprint } from './snapshots.ts'

/** The events that a guarded body reports to its call. Each method may throw. */
export interface BodyWatch {
  /** `next()` was called. */
  requested(): void
  /** The body yielded a chunk, which is a Uint8Array. */
  chunk(chunk: Uint8Array): void
  /** The iterator has ended. */
  ended(): void
  /** `next()` threw or rejected, which breaks a rule if the response is complete. */
  failed(error: unknown, what: string): void
  /** `return()` or `close()` threw or rejected, which always breaks a rule. */
  failedLate(error: unknown, what: string): void
  /** `close()` was called. */
  didClose(): void
  /** `return()` of the iterator was called. */
  didRelease(): void
  readonly closed: boolean
}

type AnyIterator = Iterator<unknown> | AsyncIterator<unknown>
type AnyResult = IteratorResult<unknown> | Promise<IteratorResult<unknown>>

/** A body that is checked. */
export interface GuardedBody {
  readonly body: Body
  /** Whether there is an iterator that was not read to its end and whose `return()` was not called. */
  leftOpen(): boolean
}

export function isChunk(chunk: unknown, fail: Fail, where: string): chunk is Uint8Array {
  if (chunk instanceof Uint8Array) return true
  fail('CHUNK_TYPE', `${where} has ${show(chunk)}`)
  return false
}

/** Whether `body` is an iterable. */
export function isBody(body: unknown, fail: Fail): body is Body {
  if (typeof body !== 'object' || body === null || body instanceof Uint8Array) {
    fail('BODY_ITERABLE', `the application returned ${show(body)}`)
    return false
  }
  const iterable = body as Partial<Iterable<unknown> & AsyncIterable<unknown>>
  if (typeof iterable[Symbol.asyncIterator] !== 'function' && typeof iterable[Symbol.iterator] !== 'function') {
    fail('BODY_ITERABLE', `the application returned ${show(body)}`)
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

/** Returns the result of `action`. If `action` throws or rejects, `failed` is called with the error first. */
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
 * An array stays an array, so that a gateway joins its chunks and computes its length as without lint. The whole array
 * is checked when it is returned. A second iteration of an array cannot be detected.
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

/** Checks each `next()` of a body that is not an array. It stays synchronous if the body is. */
export function guardBody(body: Body, watch: BodyWatch, fail: Fail): GuardedBody {
  if (Array.isArray(body)) return guardArray(body, watch, fail)
  const asynchronous = typeof (body as Partial<AsyncIterable<Uint8Array>>)[Symbol.asyncIterator] === 'function'
  let iterator: AnyIterator | undefined
  let done = false
  let pending = false
  /** The last chunk, and its fingerprint when `next()` was called: from then on only the application runs. */
  let last: Uint8Array | undefined
  let print = 0

  /** If a check fails, the server sees a next() that threw and does not call return(): call it here. */
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
    // A length of 0: the server has transferred the buffer, as it may.
    if (last && last.length > 0 && fingerprint(last) !== print) fail('CHUNK_CHANGED', `a chunk of ${last.length} bytes`)
    last = undefined
    if (typeof result !== 'object' || result === null) {
      fail('BODY_RESULT', `next() returned ${show(result)}`)
    } else if (result.done) {
      done = true
      watch.ended()
    } else if (isChunk(result.value, fail, 'the body')) {
      watch.chunk(result.value)
      last = result.value
    }
    return result as IteratorResult<Uint8Array>
  }

  /** Runs a step of the iterator. An iterator that throws has ended, so its return() is not called. */
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
      fail('BODY_RESULT', `next() of an async iterable returned ${show(result)}`)
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
    watch.requested()
    if (last) print = fingerprint(last)
    return step(() => iterator!.next())
  }

  function begin(): unknown {
    if (iterator) fail('BODY_ITERATED_TWICE', 'a second iterator was requested')
    if (watch.closed) fail('NEXT_AFTER_CLOSE', 'an iterator was requested')
    const made = asynchronous
      ? (body as AsyncIterable<unknown>)[Symbol.asyncIterator]()
      : (body as Iterable<unknown>)[Symbol.iterator]()
    iterator = made
    if (typeof made?.next !== 'function') fail('BODY_RESULT', `an iterator without next(): ${show(made)}`)
    return {
      next,
      // Present only if the application's iterator has it: servers check that.
      ...(typeof made.return === 'function' ? { return: returnIterator } : {}),
      [asynchronous ? Symbol.asyncIterator : Symbol.iterator]() {
        return this
      },
    }
  }

  function returnIterator(value?: unknown): AnyResult {
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
