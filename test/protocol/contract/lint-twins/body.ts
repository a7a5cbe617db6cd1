/** Twins for the rules of `write`, of bodies, and of servers that read and close bodies. */

import type { Application, Body } from '../../../../protocol/contract/application.ts'
import { call } from '../../../support/call.ts'
import { app, bytes, generator, hello, plain, serve, starts, type Twins } from './tools.ts'

const length = (count: string): [string, string][] => [...plain, ['Content-Length', count]]
const written = (act: (write: (chunk: Uint8Array) => Promise<void>) => unknown): Application => {
  return async (_environ, startResponse) => {
    await act(startResponse('200 OK', [...plain]))
    return []
  }
}
const closing = (close: () => unknown): Application => {
  return (_environ, startResponse) => {
    startResponse('200 OK', [...plain])
    return Object.assign([], { close }) as unknown as Body
  }
}
/** Yields one buffer twice. */
const reusing = (between: (buffer: Buffer) => Buffer): Application =>
  function* (_environ, startResponse) {
    startResponse('200 OK', [...plain])
    let buffer: Buffer = Buffer.from('one')
    yield buffer
    buffer = between(buffer)
    yield buffer
  }

/** Middleware that joins two chunks to one. */
const paired = (application: Application, soon: boolean): Application =>
  async function* (environ, startResponse) {
    let half: Uint8Array | undefined
    for await (const chunk of await application(environ, startResponse)) {
      if (half) yield Buffer.concat([half, chunk])
      else if (soon) yield bytes('')
      half = half ? undefined : chunk
    }
    if (half) yield half
  }

export const bodyTwins: Twins = {
  WRITE_ARGUMENTS: {
    owes: 'application',
    bad: app(written((write) => (write as (...args: unknown[]) => unknown)(bytes('a'), 'latin1'))),
    good: app(written((write) => write(bytes('a')))),
  },
  WRITE_WHILE_ITERATED: {
    owes: 'application',
    bad: app(async function* (_environ, startResponse) {
      const write = startResponse('200 OK', [...plain])
      yield bytes('a')
      await write(bytes('b'))
    }),
    good: app(async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain])(bytes('a'))
      return [bytes('b')]
    }),
  },
  WRITE_AFTER_END: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      return Object.assign([], { close: () => write(bytes('late')) })
    }),
    good: app((_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      return Promise.resolve(write(bytes('in time'))).then(() => [])
    }),
  },
  BODY_ITERABLE: {
    owes: 'application',
    bad: starts('200 OK', plain, 'hello'),
    good: starts('200 OK', plain, new Set([bytes('hello')])),
  },
  BODY_CLOSE: {
    owes: 'application',
    bad: starts('200 OK', plain, Object.assign([], { close: null })),
    good: starts('200 OK', plain, Object.assign([], { close: undefined })),
  },
  BODY_RESULT: {
    owes: 'application',
    bad: starts('200 OK', plain, { [Symbol.asyncIterator]: () => ({ next: () => ({ done: true }) }) }),
    good: starts('200 OK', plain, { [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true }) }) }),
  },
  CHUNK_TYPE: {
    owes: 'application',
    bad: starts('200 OK', plain, [new Uint8Array(4).buffer].values()),
    good: starts('200 OK', plain, [new Uint8Array(4)].values()),
  },
  CHUNK_CHANGED: {
    owes: 'application',
    bad: app(
      reusing((buffer) => {
        buffer.write('two')
        return buffer
      }),
    ),
    good: app(reusing(() => Buffer.from('two'))),
  },
  CONTENT_TOO_LONG: {
    owes: 'application',
    bad: starts('200 OK', length('4'), [bytes('hello')].values()),
    good: starts('200 OK', length('5'), [bytes('hello'), bytes('')].values()),
  },
  CONTENT_TOO_SHORT: {
    owes: 'application',
    bad: starts('200 OK', length('6'), [bytes('hello')].values()),
    good: starts('200 OK', length('6'), [bytes('hello')].values().take(0), { method: 'HEAD' }),
  },
  FAILED_AFTER_END: {
    owes: 'application',
    bad: app(closing(() => Promise.reject(new Error('nobody is there')))),
    good: app(closing(() => Promise.resolve())),
  },
  BODY_ITERATED_TWICE: {
    owes: 'server',
    bad: serve(generator, (body) => {
      body[Symbol.asyncIterator]()
      body[Symbol.asyncIterator]()
    }),
    good: serve(generator, (body) => body[Symbol.asyncIterator]()),
  },
  NEXT_WHILE_PENDING: {
    owes: 'server',
    bad: serve(generator, async (body) => {
      const iterator = body[Symbol.asyncIterator]()
      await Promise.all([iterator.next(), iterator.next()])
    }),
    good: serve(generator, async (body) => {
      const iterator = body[Symbol.asyncIterator]()
      await iterator.next()
      await iterator.next()
    }),
  },
  BLOCK_BOUNDARY: {
    owes: 'server',
    bad: (watch) => call(watch(paired(watch(generator), false))),
    good: (watch) => call(watch(paired(watch(generator), true))),
  },
  NEXT_AFTER_DONE: {
    owes: 'server',
    bad: serve(generator, async (body) => {
      const iterator = body[Symbol.asyncIterator]()
      for (let at = 0; at < 4; at++) await iterator.next()
    }),
    good: serve(generator, async (body) => {
      const iterator = body[Symbol.asyncIterator]()
      for (let at = 0; at < 3; at++) await iterator.next()
    }),
  },
  NEXT_AFTER_CLOSE: {
    owes: 'server',
    bad: serve(generator, (body) => {
      body.close()
      body[Symbol.asyncIterator]()
    }),
    good: serve(generator, async (body) => {
      for await (const _chunk of body) {
      }
      body.close()
    }),
  },
  CLOSE_TWICE: {
    owes: 'server',
    bad: serve(hello, (body) => {
      body.close()
      body.close()
    }),
    good: serve(hello, (body) => body.close()),
  },
  CLOSE_MISSING: {
    owes: 'server',
    bad: serve(generator, async (body, linted) => {
      for await (const _chunk of body) {
      }
      linted.assertClosed()
    }),
    // A body that was never returned need not be closed.
    good: async (watch) => {
      const linted = watch(() => {
        throw new RangeError('no body')
      })
      await call(linted).catch((error) => {
        if (!(error instanceof RangeError)) throw error
      })
      linted.assertClosed()
    },
  },
  ITERATOR_LEFT_OPEN: {
    owes: 'server',
    bad: serve(generator, async (body, linted) => {
      await body[Symbol.asyncIterator]().next()
      body.close()
      linted.assertClosed()
    }),
    good: serve(generator, async (body, linted) => {
      const iterator = body[Symbol.asyncIterator]()
      await iterator.next()
      await iterator.return?.()
      body.close()
      linted.assertClosed()
    }),
  },
}
