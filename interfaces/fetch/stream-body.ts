/**
 * A response's stream as an application's body: each chunk is read on request, and a stream that is complete at once
 * becomes an array.
 */

import { AbortError } from '../../protocol/contract/errors.ts'

/** Microtasks to wait for a stream that is complete: the platform's own strings and buffers end within two. */
const MICROTASKS = 3

type Read = ReturnType<ReadableStreamDefaultReader<Uint8Array>['read']>

/** @param signal aborts the reading: an abort must not wait for a chunk that may never arrive */
export async function streamBody(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): Promise<Uint8Array[] | StreamBody> {
  const body = new StreamBody(stream.getReader(), signal)
  const first = body.startRead()
  await microtasks()
  if (!body.hasSettled) return body
  const { done, value } = await first
  if (done) return body.whole([])
  const second = body.startRead()
  await microtasks()
  // If the next read fails, the chunk is sent first, as it would be if the failure came later.
  if (body.hasSettled && (await second.catch(ignore))?.done) return body.whole([value])
  body.putBack(value, second)
  return body
}

class StreamBody implements AsyncIterable<Uint8Array> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #signal: AbortSignal
  /** Reads that have started and were not returned yet, oldest first. */
  #pending: Read[] = []
  #over = false
  /** Whether the last started read has settled. */
  hasSettled = false

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, signal: AbortSignal) {
    this.#reader = reader
    this.#signal = signal
    if (signal.aborted) this.#abort()
    else signal.addEventListener('abort', this.#abort, { once: true })
  }

  readonly #abort = (): void => {
    // The stream belongs to the handler. The response is over, so a failing cancellation does not matter.
    void this.#reader.cancel(this.#signal.reason).catch(ignore)
  }

  /** Starts a read. `next` returns its result, unless `putBack` replaces it. */
  startRead(): Read {
    this.hasSettled = false
    const read = this.#reader.read()
    const settled = (): void => {
      this.hasSettled = true
    }
    read.then(settled, settled)
    this.#pending = [read]
    return read
  }

  putBack(value: Uint8Array, then: Read): void {
    this.#pending = [Promise.resolve({ done: false, value }), then]
  }

  /** The stream was read to its end. */
  whole(chunks: Uint8Array[]): Uint8Array[] {
    this.#ended()
    return chunks
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() }
  }

  close(): Promise<void> | undefined {
    if (this.#over) return undefined
    this.#ended()
    return this.#reader.cancel().catch(ignore)
  }

  #ended(): void {
    this.#over = true
    this.#signal.removeEventListener('abort', this.#abort)
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    const step = await (this.#pending.shift() ?? this.#reader.read())
    if (!step.done) return step
    this.#ended()
    // A stream that we cancelled ends normally: the reader must see that it is not complete.
    if (this.#signal.aborted) throw abortOf(this.#signal)
    return { done: true, value: undefined }
  }
}

function abortOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new AbortError('CLIENT_GONE', 'the request was aborted')
}

async function microtasks(): Promise<void> {
  for (let count = 0; count < MICROTASKS; count++) await undefined
}

function ignore(): void {}
