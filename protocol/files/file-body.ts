/**
 * A file as a body: `fileBody(path)` opens it and gives what an application returns. Small ones are read at once and are an array, so that
 * head and body leave in one write; others are streamed. It sets no header and evaluates none: that is `staticFiles`.
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

export interface FileBodyOptions {
  /** Which bytes, the last one included; without `end`, up to the end. Default: all. */
  readonly range?: { readonly start: number; readonly end?: number }
  /** Bytes per chunk of a file that is streamed. Default 256 KiB, which was measured to be the fastest. */
  readonly blockSize?: number
}

/** A body that knows how much it is. */
export type FileBody = Body & {
  /** Bytes of the body: what Content-Length is to say. */
  readonly contentLength: number
  /** Of the file as it was opened. */
  readonly stats: Stats
}

/** Up to this size a body is read whole and leaves with its head: what the gateway joins. */
const SMALL_FILE: number = 64 * 1024

const openAsync = promisify(open)
const fstatAsync = promisify(fstat)

/** A FIFO must not hold the opener until somebody writes to it, nor a terminal become the process's own. */
export const OPEN_FLAGS: number = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)

/**
 * Opens a file, and gives a body of its bytes. The file is closed with the body, on every path; a handle too.
 *
 * Only as many bytes as the file has now are sent. When it grows, no more; when it is cut meanwhile, the body fails, so that the client
 * sees that the response is not whole.
 *
 * @param file a path (`file:` URLs too), or a `FileHandle`, whose position is not moved
 * @throws Error of `node:fs` (ENOENT, EACCES…) when it cannot be opened
 * @throws TypeError when it is no regular file
 * @throws RangeError for a range that is not within the file
 */
export async function fileBody(file: string | URL | FileHandle, options: FileBodyOptions = {}): Promise<FileBody> {
  const opened: OpenFile = isHandle(file) ? file : ownedDescriptor(await openAsync(file, OPEN_FLAGS))
  const { blockSize = FILE_BLOCK } = options
  let stats: Stats
  let range: FileRange
  try {
    if (!Number.isInteger(blockSize) || blockSize < 1) {
      throw new TypeError(`fileBody was given the block size ${String(blockSize)}: expected a positive integer`)
    }
    stats = await fstatAsync(opened.fd)
    if (!stats.isFile()) {
      throw new TypeError(`fileBody was given ${isHandle(file) ? 'a handle' : String(file)}, which is no regular file`)
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
 * Pieces of an open file, and bytes between them, as one body. `file` is closed with it, and when this rejects.
 *
 * @param length bytes of all
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
    throw new RangeError(`fileBody was given the range ${start}-${end}, and the file has ${size} bytes`)
  }
  return { start, end }
}
