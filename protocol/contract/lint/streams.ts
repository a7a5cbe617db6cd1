/** `wsgi.errors` and `wsgi.file_wrapper` seen through glass. */

import type { FileHandle } from 'node:fs/promises'
import type { Body, ErrorStream, FileLike, FileWrapper } from '../application.ts'
import { glass } from './glass.ts'
import { type Fail, show } from './rules.ts'

export function guardErrors(errors: ErrorStream, fail: Fail): ErrorStream {
  function check(line: unknown): void {
    if (typeof line !== 'string') fail('ERRORS_TEXT', `writelines of ${show(line)}`)
  }
  function* checked(lines: Iterable<string>): Iterable<string> {
    for (const line of lines) {
      check(line)
      yield line
    }
  }
  return glass(
    errors,
    {
      write: (text: string) => {
        if (typeof text !== 'string') fail('ERRORS_TEXT', `write(${show(text)})`)
        errors.write(text)
      },
      writelines: (lines: Iterable<string>) => {
        // What is made as it is asked for stays so: it may be long.
        if (!Array.isArray(lines)) return errors.writelines(checked(lines))
        lines.forEach(check)
        return errors.writelines(lines)
      },
      flush: () => errors.flush(),
    },
    (name) => fail('STREAM_MEMBERS', `wsgi.errors.${name} was asked for`),
  )
}

export function guardFileWrapper(real: FileWrapper, fail: Fail): FileWrapper {
  return (...args: [file: FileLike | FileHandle, blockSize?: number]): Body => {
    const [file, blockSize] = args
    if (typeof (file as FileLike | null)?.read !== 'function') fail('FILE_WRAPPER_FILE', `the file is ${show(file)}`)
    if (blockSize !== undefined && !(Number.isInteger(blockSize) && blockSize > 0)) {
      fail('FILE_WRAPPER_FILE', `the block size is ${show(blockSize)}`)
    }
    const body = real(...args)
    const iterable = body as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null
    if (!iterable?.[Symbol.asyncIterator] && !iterable?.[Symbol.iterator]) {
      fail('FILE_WRAPPER_BODY', `it gave ${show(body)}`)
    } else if (typeof (file as FileLike | null)?.close === 'function' && typeof body.close !== 'function') {
      fail('FILE_WRAPPER_BODY', 'it gave a body without close()')
    }
    return body
  }
}
