/**
 * `wsgi.file_wrapper`: a file as a body, read a block at a time and closed with it
 * (PEP 3333 §"Optional Platform-Specific File Handling").
 */

import type { FileHandle } from 'node:fs/promises'
import type { Body, FileLike } from './application.ts'

/** 64 KiB: what a socket write and a DATA frame carry at once. */
const BLOCK = 64 * 1024

/**
 * @param file a `FileHandle` of `node:fs/promises`, or anything whose `read(size)` gives bytes and, at its end, none
 * @param blockSize bytes per chunk
 */
export function fileWrapper(file: FileLike | FileHandle, blockSize: number = BLOCK): Body {
  const read = isHandle(file) ? handleReader(file, blockSize) : () => file.read(blockSize)
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const chunk = await read()
        if (chunk === null || chunk.length === 0) return
        yield chunk
      }
    },
    close: () => file.close?.(),
  }
}

function isHandle(file: FileLike | FileHandle): file is FileHandle {
  return 'fd' in file && typeof file.fd === 'number' && 'stat' in file
}

function handleReader(file: FileHandle, blockSize: number): () => Promise<Uint8Array> {
  return async () => {
    // A new buffer each time: the gateway may still hold the last one.
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(blockSize), 0, blockSize, null)
    return buffer.subarray(0, bytesRead)
  }
}
