/**
 * `wsgi.file_wrapper`: an open file, or an object that reads like one, as a body (PEP 3333, "Optional Platform-Specific
 * File Handling"). `fileBody` handles paths and ranges.
 */

import type { FileHandle } from 'node:fs/promises'
import type { Body, FileLike } from '../contract/application.ts'
import { FILE_BLOCK, FileBlocks, isHandle, readAt } from './file-blocks.ts'

/**
 * Returns a body that reads `file` from its current position to its end, and closes it.
 *
 * @param file a `FileHandle` of `node:fs/promises`, or an object whose `read(size)` returns bytes, and none at the end
 * @param blockSize bytes per chunk; default 256 KiB
 * @throws TypeError if `file` has no `read`, or if the block size is not a positive integer
 * @example
 * ```ts
 * import { open } from 'node:fs/promises'
 * import { type Application, call } from 'gantry/protocol'
 *
 * const application: Application = async (environ, startResponse) => {
 *   const file = await open(new URL(import.meta.url))
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return environ['wsgi.file_wrapper'](file)
 * }
 * const response = await call(application)
 * console.log(response.closed) // true
 * ```
 */
export function fileWrapper(file: FileLike | FileHandle, blockSize: number = FILE_BLOCK): Body {
  if (typeof file?.read !== 'function') {
    throw new TypeError(`wsgi.file_wrapper got ${String(file)}: expected a FileHandle or an object with read(size)`)
  }
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new TypeError(
      `the block size of wsgi.file_wrapper is ${String(blockSize)}: expected a positive integer (bytes)`,
    )
  }
  if (isHandle(file))
    return new FileBlocks(
      () => readAt(file.fd, blockSize, undefined),
      () => file.close(),
    )
  return {
    // Not read ahead: the object may be slow, or may not expect a read that nobody needs.
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
