/**
 * `wsgi.file_wrapper`: a file, or what reads like one, as a body: from where it stands to its end, a block at a time, and closed with it
 * (PEP 3333 §"Optional Platform-Specific File Handling"). Files by name, and parts of files, are `fileBody`'s.
 */

import type { FileHandle } from 'node:fs/promises'
import type { Body, FileLike } from '../contract/application.ts'
import { FILE_BLOCK, FileBlocks, isHandle, readAt } from './file-blocks.ts'

/**
 * @param file a `FileHandle` of `node:fs/promises`, or anything whose `read(size)` gives bytes and, at its end, none
 * @param blockSize bytes per chunk; 256 KiB unless told
 * @throws TypeError when it has no `read`, or for a block size that is no positive integer
 */
export function fileWrapper(file: FileLike | FileHandle, blockSize: number = FILE_BLOCK): Body {
  if (typeof file?.read !== 'function') {
    throw new TypeError(
      `wsgi.file_wrapper was given ${String(file)}: expected a FileHandle or an object with read(size)`,
    )
  }
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new TypeError(`wsgi.file_wrapper was given the block size ${String(blockSize)}: expected a positive integer`)
  }
  if (isHandle(file))
    return new FileBlocks(
      () => readAt(file.fd, blockSize, undefined),
      () => file.close(),
    )
  return {
    // Not read ahead: what is no file may be slow to give its next block, or not want to be asked for it.
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const chunk = await file.read(blockSize)
        if (chunk === null || chunk.length === 0) return
        yield chunk
      }
    },
    close: () => file.close?.(),
  }
}
