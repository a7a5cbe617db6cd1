/**
 * The bytes of an open file as an async iterable, block by block, for `fileBody` and `wsgi.file_wrapper`. It closes the
 * file exactly once. It reads by descriptor and callback: `FileHandle.read` takes about 25 µs more for each call.
 */

import { closeSync, read } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { localError } from '../contract/coded-errors.ts'
import type { LocalProtocolError } from '../contract/errors.ts'
import { countRead } from '../net/large-reads.ts'

/**
 * The block size. CPU time for 1 MiB from the page cache, by block size: 560 µs for 64 KiB, 480 for 128 KiB, 370 for
 * 256 KiB, 460 for 512 KiB. Most of it is the cost of new memory. Blocks are not read ahead: the kernel does that, a
 * slow reader would hold twice as much memory, and in a few runs on a busy machine it took more CPU time, not less.
 */
export const FILE_BLOCK: number = 256 * 1024

/** An open file. The code that receives it must close it. */
export interface OpenFile {
  readonly fd: number
  close(): Promise<void>
}

/** The bytes from `start` up to and including `end`, as in a Range field. */
export interface FileRange {
  readonly start: number
  readonly end: number
}

/**
 * An open file for a descriptor that no other code uses. Later calls of `close` do nothing: the descriptor could belong
 * to another file by then. It closes synchronously, since closing a file that was only read does not block.
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

/**
 * Reads at most `length` bytes.
 *
 * @param position undefined reads at the current position of the descriptor, and advances it
 */
export function readAt(fd: number, length: number, position: number | undefined): Promise<Uint8Array> {
  // Only small chunks come from Node's buffer pool: a slice keeps the whole pool block alive while the gateway has it.
  const buffer = length < 4096 ? Buffer.allocUnsafe(length) : Buffer.allocUnsafeSlow(length)
  return new Promise((resolve, reject) =>
    read(fd, buffer, 0, length, position ?? null, (error, count) => {
      if (error) reject(error)
      else resolve(count === length ? buffer : buffer.subarray(0, count))
    }),
  )
}

/**
 * Reads exactly the bytes of `range`.
 *
 * @throws LocalProtocolError (FILE_TRUNCATED) if the file ends before
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
    `the file ends at byte ${at}, expected bytes up to ${end}: the file was truncated while it was served`,
  )
}

/** Returns the next block; undefined or an empty block at the end. It is not called while a block is pending. */
type BlockSource = () => Promise<Uint8Array | undefined>

/** A source of ranges of a file and of bytes between them. @throws as `readRange` */
export function pieceSource(fd: number, pieces: readonly (FileRange | Uint8Array)[], blockSize: number): BlockSource {
  let next = 0
  let range: FileRange | undefined
  let position = 0
  return async () => {
    while (!range) {
      const piece = pieces[next++]
      if (!piece || piece instanceof Uint8Array) return piece
      // The range of an empty file is empty.
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

/** The blocks of a source as a body. */
export class FileBlocks implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BlockSource
  readonly #close: () => unknown
  /** The read in progress. */
  #reading: Promise<Uint8Array | undefined> | undefined
  /** The result of the last `next()`: results are in the order of the calls. */
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

  /** Closes the file after the read in progress: before that, the descriptor could be reused for another file. */
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
    countRead(chunk.length)
    return { done: false, value: chunk }
  }

  async #end(): Promise<void> {
    this.#over = true
    try {
      await this.#reading
    } catch {
      // The caller of next() has the error.
    }
    await this.#close()
  }
}

/** Whether `file` is a `FileHandle`, of any copy of its class. */
export function isHandle(file: unknown): file is FileHandle {
  return typeof file === 'object' && file !== null && 'fd' in file && typeof file.fd === 'number' && 'stat' in file
}
