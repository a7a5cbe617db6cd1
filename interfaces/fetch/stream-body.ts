/** A response's stream as an application's body: a chunk is read when it is asked for, and a stream that is whole at once is a list. */

import { AbortError } from '../../protocol/contract/errors.ts'

/** Turns of the microtask queue in which a body that is whole says so: the platform's own strings and buffers do within two. */
const MICROTASKS = 3

type Read = ReturnType<ReadableStreamDefaultReader<Uint8Array>['read']>

/** @param signal aborts reading: an abort must not wait for a chunk that may never come */
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
  // One that fails next is sent up to there, as it would be a moment later.
  if (body.hasSettled && (await second.catch(ignore))?.done) return body.whole([value])
  body.putBack(value, second)
  return body
}

export class StreamBody implements AsyncIterable<Uint8Array> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #signal: AbortSignal
  /** Reads that were begun and not yet given, oldest first. */
  #pending: Read[] = []
  #over = false
  /** Whether the last read that was begun has settled. */
  hasSettled = false

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, signal: AbortSignal) {
    this.#reader = reader
    this.#signal = signal
    if (signal.aborted) this.#abort()
    else signal.addEventListener('abort', this.#abort, { once: true })
  }

  readonly #abort = (): void => {
    // Of who made the stream; that its cancellation fails is nothing to a response that is over.
    void this.#reader.cancel(this.#signal.reason).catch(ignore)
  }

  /** Begins a read. It is given by `next`, unless `putBack` says otherwise. */
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
    // A stream that we cancelled ends as if it were whole: whoever iterates must see that it is not.
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
