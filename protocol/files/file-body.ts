/**
 * A file as a body. Small files are read as a whole and are an array, so that head and body are sent in one write;
 * other files are streamed. The middleware `staticFiles` handles headers.
 */

import { constants, fstat, open, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Body } from '../contract/application.ts'
import {
  FILE_BLOCK,
  FileBlocks,
  type FileRange,
  isHandle,
  type OpenFile,
  ownedDescriptor,
  pieceSource,
  readRange,
} from './file-blocks.ts'

/** Options of `fileBody`. */
export interface FileBodyOptions {
  /** The bytes from `start` up to and including `end`; without `end`, up to the end of the file. Default: all. */
  readonly range?: { readonly start: number; readonly end?: number }
  /** The bytes of one chunk of a file that is streamed. Default 256 KiB, which is the fastest in measurements. */
  readonly blockSize?: number
}

/** The body of a file, with its length. */
export type FileBody = Body & {
  /** The bytes of the body: the value for Content-Length. */
  readonly contentLength: number
  /** The stats of the file when it was opened. */
  readonly stats: Stats
}

/** Up to this size a file is read as a whole, bytes: as much as a gateway joins with the head. */
const SMALL_FILE: number = 64 * 1024

const openAsync = promisify(open)
const fstatAsync = promisify(fstat)

/** Opening a FIFO must not wait for a writer, and opening a terminal must not make it the controlling terminal. */
export const OPEN_FLAGS: number = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)

/**
 * Opens a file and returns a body with its bytes. The file is closed with the body, also if it is a handle.
 *
 * The body has as many bytes as the file when it was opened. If the file grows, the new bytes are not sent. If the file
 * is truncated, the body fails, so that the client sees that the response is incomplete.
 *
 * @param file a path, a `file:` URL, or a `FileHandle`, whose position does not change
 * @throws Error of `node:fs` (ENOENT, EACCES…) if the file cannot be opened
 * @throws TypeError if it is not a regular file, or if the block size is not a positive integer
 * @throws RangeError if the range is not within the file
 * @example
 * ```ts
 * import { type Application, call, fileBody } from 'gantry/protocol'
 *
 * const application: Application = async (_environ, startResponse) => {
 *   const body = await fileBody(new URL(import.meta.url))
 *   startResponse('200 OK', [
 *     ['Content-Type', 'text/plain'],
 *     ['Content-Length', String(body.contentLength)],
 *   ])
 *   return body
 * }
 * const response = await call(application)
 * console.log(response.body.length === Number(response.header('content-length'))) // true
 * ```
 */
export async function fileBody(file: string | URL | FileHandle, options: FileBodyOptions = {}): Promise<FileBody> {
  const opened: OpenFile = isHandle(file) ? file : ownedDescriptor(await openAsync(file, OPEN_FLAGS))
  const { blockSize = FILE_BLOCK } = options
  let stats: Stats
  let range: FileRange
  try {
    if (!Number.isInteger(blockSize) || blockSize < 1) {
      throw new TypeError(`the block size of fileBody is ${String(blockSize)}: expected a positive integer (bytes)`)
    }
    stats = await fstatAsync(opened.fd)
    if (!stats.isFile()) {
      throw new TypeError(`fileBody got ${isHandle(file) ? 'a handle' : String(file)}: expected a regular file`)
    }
    range = rangeOf(options.range, stats.size)
  } catch (error) {
    await opened.close().catch(() => {})
    throw error
  }
  const contentLength = range.end + 1 - range.start
  return Object.assign(await bodyOfPieces(opened, [range], contentLength, blockSize), { contentLength, stats })
}

/**
 * Returns ranges of an open file, and bytes between them, as one body. `file` is closed with the body, and if the
 * promise rejects.
 *
 * @param length the bytes of the whole body
 */
export async function bodyOfPieces(
  file: OpenFile,
  pieces: readonly (FileRange | Uint8Array)[],
  length: number,
  blockSize: number = FILE_BLOCK,
): Promise<Body> {
  if (length > SMALL_FILE) return new FileBlocks(pieceSource(file.fd, pieces, blockSize), () => file.close())
  const chunks: Uint8Array[] = []
  try {
    for (const piece of pieces) {
      if (piece instanceof Uint8Array) chunks.push(piece)
      else if (piece.end >= piece.start) chunks.push(await readRange(file.fd, piece))
    }
  } finally {
    await file.close()
  }
  return chunks
}

function rangeOf(range: FileBodyOptions['range'], size: number): FileRange {
  if (!range) return { start: 0, end: size - 1 }
  const { start, end = size - 1 } = range
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end < start || end >= size) {
    throw new RangeError(`the range of fileBody is ${start}-${end}: expected a range within ${size} bytes`)
  }
  return { start, end }
}
