/** Checks `wsgi.errors` and `wsgi.file_wrapper`. */

import type { FileHandle } from 'node:fs/promises'
import type { Body, ErrorStream, FileLike, FileWrapper } from '../application.ts'
import { guardedProxy } from './guarded-proxy.ts'
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
  return guardedProxy(
    errors,
    {
      write: (text: string) => {
        if (typeof text !== 'string') fail('ERRORS_TEXT', `write(${show(text)})`)
        errors.write(text)
      },
      writelines: (lines: Iterable<string>) => {
        // A generator is checked line by line as it is read: it may be long.
        if (!Array.isArray(lines)) return errors.writelines(checked(lines))
        lines.forEach(check)
        return errors.writelines(lines)
      },
      flush: () => errors.flush(),
    },
    (name) => fail('STREAM_MEMBERS', `wsgi.errors.${name} was used`),
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
      fail('FILE_WRAPPER_BODY', `it returned ${show(body)}`)
    } else if (typeof (file as FileLike | null)?.close === 'function' && typeof body.close !== 'function') {
      fail('FILE_WRAPPER_BODY', 'it returned a body without close()')
    }
    return body
  }
}
