/** Twins for the rules of `wsgi.input`, `wsgi.errors` and `wsgi.file_wrapper`. */

import type { Environ, FileLike } from '../../../../protocol/contract/application.ts'
import { call, makeEnviron } from '../../../support/call.ts'
import { bytes, doing, environ, hello, input, type Twins } from './tools.ts'

const read = (made: Environ, ...args: unknown[]): Promise<Uint8Array> =>
  (made['wsgi.input'].read as (...given: unknown[]) => Promise<Uint8Array>).apply(made['wsgi.input'], args)

/** An input whose reads return these results, one after the other. */
const answers = (...texts: string[]): (() => Promise<Uint8Array>) => {
  return async () => bytes(texts.shift() ?? '')
}

async function times(count: number, act: () => Promise<unknown>): Promise<void> {
  for (let at = 0; at < count; at++) await act()
}

const file = (): FileLike & { close(): void } => ({ read: () => null, close() {} })
const both = { headers: ['Content-Length', '2'], body: 'ab' }

export const streamTwins: Twins = {
  READ_ARGUMENTS: {
    owes: 'application',
    bad: doing((made) => read(made, 1, 2)),
    good: doing((made) => read(made, 1)),
  },
  READ_SIZE: {
    owes: 'application',
    bad: doing((made) => read(made, '2'), both),
    good: doing((made) => read(made, 2), both),
  },
  READ_WHILE_READING: {
    owes: 'application',
    bad: doing((made) => Promise.all([read(made, 1), read(made, 1)]), both),
    good: doing((made) => times(2, () => read(made, 1)), both),
  },
  READ_AFTER_CLOSE: {
    owes: 'application',
    async bad(watch) {
      const made = makeEnviron(both)
      await call(watch(hello), made)
      await made['wsgi.input'].read()
    },
    async good(watch) {
      // Middleware calls a second application with the same environ, which is the first to read the input.
      const made = makeEnviron(both)
      await call(watch(hello), made)
      await call(
        watch(async (inner, startResponse) => {
          await inner['wsgi.input'].read()
          return hello(inner, startResponse)
        }),
        made,
      )
    },
  },
  STREAM_MEMBERS: {
    owes: 'application',
    bad: input({ close() {} }, (made) => (made['wsgi.input'] as unknown as { close(): void }).close()),
    good: input({ close() {} }, (made) => made['wsgi.input'].read()),
  },
  INPUT_RESULT: {
    owes: 'server',
    bad: input({ readline: answers('a\nb') }, (made) => made['wsgi.input'].readline()),
    good: input({ readline: answers('a\n', 'b') }, (made) => times(3, () => made['wsgi.input'].readline())),
  },
  INPUT_AFTER_END: {
    owes: 'server',
    bad: input({ read: answers('ab', 'c') }, (made) => times(2, () => read(made, 4))),
    good: input({ read: answers('abcd', 'e', '') }, (made) => times(3, () => read(made, 4))),
  },
  INPUT_LENGTH: {
    owes: 'server',
    bad: input({ read: answers('abc') }, (made) => read(made), ['Content-Length', '4']),
    good: input({ read: answers('abcd') }, (made) => read(made), ['Content-Length', '4']),
  },
  INPUT_TRAILERS: {
    owes: 'server',
    bad: input({ trailers: Promise.resolve(['a']) }, (made) => made['wsgi.input'].trailers),
    good: input({ trailers: Promise.resolve([['a', 'b']]) }, (made) => made['wsgi.input'].trailers),
  },
  ERRORS_TEXT: {
    owes: 'application',
    bad: doing((made) => made['wsgi.errors'].writelines(['a', 1 as never])),
    good: doing((made) => made['wsgi.errors'].writelines(['a', '1'])),
  },
  FILE_WRAPPER_FILE: {
    owes: 'application',
    bad: doing((made) => made['wsgi.file_wrapper'](file(), 0)),
    good: doing((made) => made['wsgi.file_wrapper'](file(), 1)),
  },
  FILE_WRAPPER_BODY: {
    owes: 'server',
    bad: (watch) => {
      const spoilt = environ((made) => (made['wsgi.file_wrapper'] = () => []))
      return spoilt((application) =>
        watch((made, startResponse) => {
          made['wsgi.file_wrapper'](file())
          return application(made, startResponse)
        }),
      )
    },
    good: doing((made) => made['wsgi.file_wrapper'](file())),
  },
}
