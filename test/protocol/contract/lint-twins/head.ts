/** Twins for the rules of `startResponse`, status and headers. */

import type { Application, Headers, StartResponse } from '../../../../protocol/contract/application.ts'
import { call, makeEnviron } from '../../../support/call.ts'
import { app, bytes, plain, starts, type Twins } from './tools.ts'

const oh = new Error('oh')
const upgrade = { headers: ['Upgrade', 'echo', 'Connection', 'Upgrade'], upgrade: true }

/**
 * Fails during its body and calls startResponse with excInfo (PEP 3333); `after` handles the error that startResponse
 * throws.
 */
const failing = (after: (thrown: unknown) => void): Application =>
  async function* (_environ, startResponse) {
    startResponse('200 OK', [...plain])
    yield bytes('a')
    try {
      startResponse('500 Oh', [...plain], oh)
    } catch (thrown) {
      after(thrown)
    }
    yield bytes('b')
  }

/** Ignores this error, and rethrows any other. */
async function throwing(promise: unknown): Promise<void> {
  try {
    await promise
  } catch (error) {
    if (error !== oh) throw error
  }
}

/** A server that calls the application with this startResponse. */
const by =
  (startResponse: StartResponse, application: Application) =>
  async (watch: (application: Application) => Application): Promise<void> => {
    for await (const _chunk of await watch(application)(makeEnviron(), startResponse)) {
    }
  }
const replacing: Application = (_environ, startResponse) => {
  startResponse('200 OK', [...plain])
  startResponse('500 Oh', [...plain], oh)
  return []
}

export const headTwins: Twins = {
  START_ARGUMENTS: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      ;(startResponse as (...args: unknown[]) => unknown)('200 OK', [...plain], null, 'more')
      return []
    }),
    good: app((_environ, startResponse) => {
      startResponse('200 OK', [...plain], null)
      return []
    }),
  },
  START_TWICE: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      startResponse('500 Oh', [...plain])
      return []
    }),
    good: app(replacing),
  },
  START_LATE: {
    owes: 'application',
    bad: app(function* (_environ, startResponse) {
      yield bytes('')
      startResponse('200 OK', [...plain])
    }),
    good: app(function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('')
    }),
  },
  START_MISSING: {
    owes: 'application',
    bad: app(() => []),
    good: starts('200 OK'),
  },
  START_AFTER_END: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return Object.assign([], { close: () => void startResponse('500 Oh', [...plain], oh) })
    }),
    good: app(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      startResponse('500 Oh', [...plain], oh)
      yield bytes('at the last moment')
    }),
  },
  EXC_INFO_VALUE: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      startResponse('200 OK', [...plain], true)
      return []
    }),
    good: app((_environ, startResponse) => {
      startResponse('200 OK', [...plain], undefined)
      return []
    }),
  },
  EXC_INFO_TRAPPED: {
    owes: 'application',
    bad: (watch) => throwing(call(watch(failing(() => {})))),
    good: (watch) =>
      throwing(
        call(
          watch(
            failing((thrown) => {
              throw thrown
            }),
          ),
        ),
      ),
  },
  EXC_INFO_RAISED: {
    owes: 'server',
    bad: by(
      () => async () => {},
      failing((thrown) => {
        throw thrown
      }),
    ),
    good: by(() => async () => {}, replacing),
  },
  EXC_INFO_REPLACES: {
    owes: 'server',
    bad: (watch) =>
      throwing(
        by((_status, _headers, excInfo) => {
          if (excInfo) throw excInfo
          return async () => {}
        }, replacing)(watch),
      ),
    good: by(() => async () => {}, replacing),
  },
  WRITE_FUNCTION: {
    owes: 'server',
    bad: by((() => undefined) as never, replacing),
    good: by(() => () => Promise.resolve(), replacing),
  },
  STATUS_FORM: {
    owes: 'application',
    bad: starts('200 '),
    good: starts('200 \xc4hm'),
  },
  STATUS_INFORMATIONAL: {
    owes: 'application',
    bad: starts('103 Early Hints'),
    good: starts('204 No Content', []),
  },
  HEADERS_ARRAY: {
    owes: 'application',
    bad: starts('200 OK', { 'Content-Type': 'text/plain' } as never),
    good: starts('200 OK', Object.entries({ 'Content-Type': 'text/plain' })),
  },
  HEADERS_CHANGED: {
    owes: 'application',
    bad: app((_environ, startResponse) => {
      const headers: Headers = [...plain]
      startResponse('200 OK', headers)
      headers.push(['X-Late', 'yes'])
      return []
    }),
    good: app(function* (_environ, startResponse) {
      const headers: Headers = [...plain]
      startResponse('200 OK', headers)
      yield bytes('a')
      yield bytes('b')
      // The headers were sent, so the list may be reused.
      headers.push(['X-Late', 'yes'])
    }),
  },
  HEADER_NAME: {
    owes: 'application',
    bad: starts('200 OK', [...plain, ['X-Trailing_', 'a']]),
    good: starts('200 OK', [...plain, ['X_Inner-1!', 'a']]),
  },
  HEADER_VALUE: {
    owes: 'application',
    bad: starts('200 OK', [...plain, ['X', 'a\tb']]),
    good: starts('200 OK', [...plain, ['X', 'a \xff b']]),
  },
  HEADER_HOP_BY_HOP: {
    owes: 'application',
    bad: starts('200 OK', [...plain, ['Keep-Alive', 'timeout=5']]),
    good: starts('200 OK', [...plain, ['Trailer', 'X-Sum']]),
  },
  HEADER_REPEATED: {
    owes: 'application',
    bad: starts('200 OK', [...plain, ['ETag', '"a"'], ['etag', '"b"']]),
    good: starts('200 OK', [...plain, ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['Vary', 'a'], ['Vary', 'b']]),
  },
  HEADER_CONTENT_LENGTH: {
    owes: 'application',
    bad: starts('200 OK', [...plain, ['Content-Length', '+1']], [bytes('a')]),
    good: starts('200 OK', [...plain, ['Content-Length', '1']], [bytes('a')]),
  },
  CONTENT_LENGTH_PRESENT: {
    owes: 'application',
    bad: starts('204 No Content', [['Content-Length', '0']]),
    good: starts('304 Not Modified', [['Content-Length', '5']]),
  },
  CONTENT_TYPE_MISSING: {
    owes: 'application',
    bad: starts('404 Not Found', []),
    good: starts('205 Reset Content', []),
  },
  CONTENT_TYPE_PRESENT: {
    owes: 'application',
    bad: starts('304 Not Modified'),
    good: starts('200 OK', plain, [], { method: 'HEAD' }),
  },
  UPGRADE_CONTENT: {
    owes: 'application',
    bad: starts('101 Switching Protocols', [], [bytes('a')], upgrade),
    good: starts('200 OK', plain, [bytes('a')], upgrade),
  },
  UPGRADE_MISSING: {
    owes: 'application',
    bad: starts('101 Switching Protocols', [], [], upgrade),
    good: starts('426 Upgrade Required', plain, [], upgrade),
  },
}
