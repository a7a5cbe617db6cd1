/**
 * The bytes of an open file as an asynchronous iterable: pieces of it in order, a block at a time, closed once on every path. What
 * `fileBody` and `wsgi.file_wrapper` are made of. It opens nothing, and does not know what is sent before or after.
 *
 * It reads by descriptor and callback: a FileHandle's own `read` costs some 25 µs more for each call.
 */

import { closeSync, read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { localError } from '../contract/coded-errors.ts'
import type { LocalProtocolError } from '../contract/errors.ts'
import { relieve } from '../net/large-reads.ts'

/**
 * Bytes read at a time. Measured for 1 MiB out of the page cache, µs of CPU by block: 64 KiB 560, 128 KiB 480, 256 KiB 370,
 * 512 KiB 460. Most of it is the cost of new memory. Not read ahead: the kernel does by itself, a slow reader would hold twice as much, and
 * the few runs that tried it, on a noisy machine, took more CPU and not less.
 */
export const FILE_BLOCK: number = 256 * 1024

/** Something open that is read by its descriptor. Whoever is given it closes it. */
export interface OpenFile {
  readonly fd: number
  close(): Promise<void>
}

/** From byte `start` up to and with byte `end`, as in a Range field. */
export interface FileRange {
  readonly start: number
  readonly end: number
}

/**
 * A descriptor that is ours alone. Closed once, however often it is asked: a second close could be of another file, whose number it got.
 * At once: nothing of what was only read is written back, so that there is nothing to wait for.
 */
export function ownedDescriptor(fd: number): OpenFile {
  let closed = false
  return {
    fd,
    async close() {
      if (closed) return
      closed = true
      closeSync(fd)
    },
  }
}

/** @param position undefined: where the descriptor stands, which then moves on */
export function readAt(fd: number, length: number, position: number | undefined): Promise<Uint8Array> {
  // A slice of the pool would keep all of the pool's block alive for as long as the gateway keeps the chunk: only small ones.
  const buffer = length < 4096 ? Buffer.allocUnsafe(length) : Buffer.allocUnsafeSlow(length)
  return new Promise((resolve, reject) =>
    read(fd, buffer, 0, length, position ?? null, (error, count) => {
      if (error) reject(error)
      else resolve(count === length ? buffer : buffer.subarray(0, count))
    }),
  )
}

/**
 * Exactly the bytes of `range`.
 *
 * @throws LocalProtocolError FILE_TRUNCATED when the file ends before
 */
export async function readRange(fd: number, { start, end }: FileRange): Promise<Uint8Array> {
  let chunk = await readAt(fd, end + 1 - start, start)
  while (chunk.length < end + 1 - start) {
    const more = await readAt(fd, end + 1 - start - chunk.length, start + chunk.length)
    if (more.length === 0) throw truncated(start + chunk.length, end)
    chunk = Buffer.concat([chunk, more])
  }
  return chunk
}

function truncated(at: number, end: number): LocalProtocolError {
  return localError(
    'FILE_TRUNCATED',
    `the file was truncated while it was served: it ends at byte ${at}, and ${end} bytes were announced`,
  )
}

/** Gives blocks until undefined or an empty one. Asked again only when the last one has come. */
export type BlockSource = () => Promise<Uint8Array | undefined>

/** Pieces of a file, and bytes that stand between them. @throws as `readRange` */
export function pieceSource(fd: number, pieces: readonly (FileRange | Uint8Array)[], blockSize: number): BlockSource {
  let next = 0
  let range: FileRange | undefined
  let position = 0
  return async () => {
    while (!range) {
      const piece = pieces[next++]
      if (!piece || piece instanceof Uint8Array) return piece
      // An empty one: none of an empty file.
      if (piece.end >= piece.start) {
        range = piece
        position = piece.start
      }
    }
    const chunk = await readAt(fd, Math.min(blockSize, range.end + 1 - position), position)
    if (chunk.length === 0) throw truncated(position, range.end)
    position += chunk.length
    if (position > range.end) range = undefined
    return chunk
  }
}

export class FileBlocks implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BlockSource
  readonly #close: () => unknown
  /** The read under way. */
  #reading: Promise<Uint8Array | undefined> | undefined
  /** The last `next()`: they are answered in order. */
  #last: Promise<unknown> | undefined
  #over = false
  #closing: Promise<void> | undefined

  constructor(source: BlockSource, close: () => unknown) {
    this.#source = source
    this.#close = close
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const step = this.#last ? this.#last.then(this.#step, this.#step) : this.#step()
    this.#last = step
    const settled = (): void => {
      if (this.#last === step) this.#last = undefined
    }
    step.then(settled, settled)
    return step
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    await this.close()
    return { done: true, value: undefined }
  }

  /** Once the read under way is over: else its descriptor could be another file's by then. */
  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  readonly #step = async (): Promise<IteratorResult<Uint8Array>> => {
    if (this.#over) return { done: true, value: undefined }
    let chunk: Uint8Array | undefined
    try {
      this.#reading = this.#source()
      chunk = await this.#reading
    } catch (error) {
      this.#over = true
      throw error
    }
    this.#reading = undefined
    if (this.#over || chunk === undefined || chunk.length === 0) {
      this.#over = true
      return { done: true, value: undefined }
    }
    relieve(chunk.length)
    return { done: false, value: chunk }
  }

  async #end(): Promise<void> {
    this.#over = true
    try {
      await this.#reading
    } catch {
      // Told to who asked for it.
    }
    await this.#close()
  }
}

export function isHandle(file: unknown): file is FileHandle {
  return typeof file === 'object' && file !== null && 'fd' in file && typeof file.fd === 'number' && 'stat' in file
}
