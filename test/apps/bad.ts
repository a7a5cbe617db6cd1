/** Applications that each break one rule of the contract, as real applications do. */

import type { Body, Headers } from '../../protocol/contract/application.ts'
import type { Journal } from './journal.ts'
import { type Apps, bytes, key, octets, pattern, plain } from './tools.ts'

export function badApps(journal: Journal): Apps {
  /** A body that records when it is closed. */
  const told = (name: string, body: Body): Body => {
    const iterable = body as Iterable<Uint8Array>
    return { [Symbol.iterator]: () => iterable[Symbol.iterator](), close: () => journal.record(name, 'close') }
  }
  return {
    throw: () => {
      throw new Error('secret of the stack')
    },
    reject: async () => {
      await null
      throw new Error('secret of the stack')
    },
    'throw-undefined': () => {
      throw undefined
    },
    'throw-frozen': () => {
      throw Object.freeze(new Error('secret of the stack'))
    },
    'throw-bare': () => {
      throw Object.create(null)
    },
    'throw-after-start': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['X-Never', 'seen']])
      throw new Error('secret of the stack')
    },
    'throw-first': (environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return told(
        key(environ),
        (function* (): Iterable<Uint8Array> {
          yield bytes('')
          throw new Error('secret of the stack')
        })(),
      )
    },
    'throw-mid': (environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return told(
        key(environ),
        (function* () {
          yield bytes('partial')
          throw new Error('secret of the stack')
        })(),
      )
    },
    'throw-mid-length': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain, ['Content-Length', '20']])
      yield bytes('partial')
      throw new Error('secret of the stack')
    },
    'reject-late': async function* (environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('partial')
      await journal.held(key(environ), environ.gantry.signal)
      throw new Error('secret of the stack')
    },
    'throw-write': async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain])(bytes('partial'))
      throw new Error('secret of the stack')
    },
    'throw-trailers': (environ, startResponse) => {
      environ.gantry.trailers(() => {
        throw new Error('secret of the stack')
      })
      startResponse('200 OK', [...plain])
      return [bytes('partial')].values()
    },
    'no-start': () => [bytes('never seen')],
    'no-start-empty': () => [],
    'no-start-write': (_environ, _startResponse) => (async function* () {})(),
    /** Never responds; ends when the request is aborted. */
    never: (environ) =>
      new Promise((_resolve, reject) => {
        journal.record(key(environ), 'running')
        environ.gantry.signal.addEventListener('abort', () => {
          journal.record(key(environ), 'abort')
          reject(environ.gantry.signal.reason)
        })
      }),
    /** Never responds, and ignores that its client has disconnected; the gate ends it. */
    deaf: async (environ, startResponse) => {
      journal.record(key(environ), 'running')
      environ.gantry.signal.addEventListener('abort', () => journal.record(key(environ), 'abort'))
      await journal.held(key(environ), new AbortController().signal)
      startResponse('200 OK', [...plain])
      return Object.assign([bytes('too late')], { close: () => journal.record(key(environ), 'close') })
    },
    'too-long': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '5']])
      return [bytes('hello world')]
    },
    'too-long-stream': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain, ['Content-Length', '5']])
      for (let at = 0; at < 100; at++) yield bytes('hello')
    },
    'too-long-write': async (_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain, ['Content-Length', '5']])
      await write(bytes('hello world'))
      return [bytes('more')]
    },
    'too-short': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain, ['Content-Length', '10']])
      yield bytes('hello')
    },
    'too-short-array': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '10']])
      return [bytes('hello')]
    },
    'too-short-write': async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain, ['Content-Length', '10']])(bytes('hello'))
      return []
    },
    'too-short-empty': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '10']])
      return []
    },
    'headers-object': (_environ, startResponse) => {
      startResponse('200 OK', { 'Content-Type': 'text/plain' } as never)
      return []
    },
    'header-number': (_environ, startResponse) => {
      startResponse('200 OK', [['Content-Length', 5]] as never)
      return [bytes('hello')]
    },
    'header-name': (_environ, startResponse) => {
      startResponse('200 OK', [['X Bad:', 'b']])
      return []
    },
    'header-snowman': (_environ, startResponse) => {
      startResponse('200 OK', [['X-Snow', '☃']])
      return []
    },
    'header-inject': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['X-Split', 'a\r\nSet-Cookie: stolen=1']])
      return []
    },
    'name-inject': (_environ, startResponse) => {
      startResponse('200 OK', [['X: a\r\nSet-Cookie', 'stolen=1']])
      return []
    },
    'status-inject': (_environ, startResponse) => {
      startResponse('200 OK\r\nSet-Cookie: stolen=1', [...plain])
      return []
    },
    'status-number': (_environ, startResponse) => {
      startResponse(200 as never, [...plain])
      return []
    },
    'status-100': (_environ, startResponse) => {
      startResponse('100 Continue', [])
      return []
    },
    'status-101': (_environ, startResponse) => {
      startResponse('101 Switching Protocols', [
        ['Upgrade', 'echo'],
        ['Connection', 'Upgrade'],
      ])
      return []
    },
    'length-twice': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '5'], ['Content-Length', '6']])
      return [bytes('hello')]
    },
    'length-text': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '+5']])
      return [bytes('hello')]
    },
    'hop-by-hop': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Connection', 'close']])
      return [bytes('never seen')]
    },
    'transfer-encoding': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Transfer-Encoding', 'chunked']])
      return [bytes('5\r\nhello\r\n0\r\n\r\n')]
    },
    'string-body': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return 'never seen' as never
    },
    'no-body': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return undefined as never
    },
    'string-chunk': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return ['never seen'] as never
    },
    'string-chunk-mid': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('partial')
      yield 'never seen' as never
    },
    'string-write': async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain])('never seen' as never)
      return []
    },
    'start-twice': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      startResponse('201 Created', [...plain])
      return [bytes('never seen')]
    },
    'exc-info-late': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('partial')
      startResponse('500 Internal Server Error', [...plain], new Error('secret of the stack'))
      yield bytes('and an error page into the middle')
    },
    /** As above, and it catches the error that startResponse threw. */
    'exc-info-swallowed': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('partial')
      try {
        startResponse('500 Internal Server Error', [...plain], new Error('secret of the stack'))
      } catch {}
      yield bytes('and an error page into the middle')
    },
    'close-throws': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return Object.assign([bytes('whole')], {
        close() {
          throw new Error('secret of the stack')
        },
      })
    },
    'close-rejects': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return Object.assign([bytes('whole')], {
        async close() {
          await null
          throw new Error('secret of the stack')
        },
      })
    },
    'finally-throws': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      try {
        yield bytes('partial')
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: it is a bad application
        throw new Error('secret of the stack')
      }
    },
    /** Writes 64 MiB without awaiting the writes. */
    unawaited: async (_environ, startResponse) => {
      const write = startResponse('200 OK', [...octets])
      for (let at = 0; at < 1024; at++) void write(pattern(at * 65_536, 65_536))
      return []
    },
    /** Keeps `write`, and calls it after the end of its response. */
    'late-write': (environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      return {
        *[Symbol.iterator]() {
          yield bytes('whole')
        },
        close: () =>
          void write(bytes('late')).then(
            () => journal.record(key(environ), 'written'),
            () => journal.record(key(environ), 'refused'),
          ),
      }
    },
    'trailers-inject': (environ, startResponse) => {
      const fields: Headers = [['X-Split', 'a\r\nSet-Cookie: stolen=1']]
      environ.gantry.trailers(() => fields)
      startResponse('200 OK', [...plain])
      return [bytes('partial')].values()
    },
    'hints-inject': (environ, startResponse) => {
      environ.gantry.earlyHints([['Link', 'a\r\nSet-Cookie: stolen=1']])
      startResponse('200 OK', [...plain])
      return [bytes('never seen')]
    },
  }
}
