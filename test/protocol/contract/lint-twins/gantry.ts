/** Twins for the rules of `environ.gantry`. */

import { PassThrough } from 'node:stream'
import type { Application, Headers, Outcome } from '../../../../protocol/contract/application.ts'
import type { ContextControl } from '../../../../protocol/contract/context.ts'
import { call, makeEnviron } from '../../../support/call.ts'
import { type Act, bytes, control, doing, hello, plain, type Twins } from './tools.ts'

/**
 * Calls the application with these parts of `environ.gantry`; `after` acts as the exchange after the body is closed.
 */
function behind(parts: Partial<ContextControl>, application: Application, after?: () => unknown): Act {
  return async (watch) => {
    await call(watch(application), control(makeEnviron(), parts))
    await after?.()
  }
}

/** An exchange that calls the function for trailers `times` times after the body. */
function trailing(fields: Headers | Promise<Headers>, times: number): Act {
  let set: (() => unknown) | undefined
  return behind(
    { trailers: (fn) => void (set = fn) },
    (environ, startResponse) => {
      environ.gantry.trailers(() => fields)
      return hello(environ, startResponse)
    },
    async () => {
      for (let at = 0; at < times; at++) await set!()
    },
  )
}

const upgrading =
  (order: 'first' | 'then', connection: unknown = new PassThrough()): Act =>
  async (watch) => {
    const environ = makeEnviron({ headers: ['Upgrade', 'echo', 'Connection', 'Upgrade'], upgrade: true })
    control(environ, { upgrade: () => connection as PassThrough })
    await call(
      watch((inner, startResponse) => {
        if (order === 'first') inner.gantry.upgrade()
        startResponse('101 Switching Protocols', [['Upgrade', 'echo']])
        inner.gantry.upgrade()
        return []
      }),
      environ,
    )
  }

const finishing = (outcome: unknown): Act => {
  return async (watch) => {
    const environ = makeEnviron()
    let told: ((given: Outcome) => void) | undefined
    Object.defineProperty(environ.gantry, 'onFinished', {
      value: (fn: typeof told) => void (told = fn),
      configurable: true,
    })
    await call(
      watch((inner, startResponse) => {
        inner.gantry.onFinished(() => {})
        return hello(inner, startResponse)
      }),
      environ,
    )
    told!(outcome as Outcome)
  }
}

export const gantryTwins: Twins = {
  EARLY_HINTS_FIELD: {
    owes: 'application',
    bad: doing((environ) => environ.gantry.earlyHints([['Content-Length', '5']])),
    good: doing((environ) => environ.gantry.earlyHints([['Link', '</a.css>; rel=preload']])),
  },
  EARLY_HINTS_LATE: {
    owes: 'application',
    bad: behind({}, async (environ, startResponse) => {
      await startResponse('200 OK', [...plain])(bytes('a'))
      environ.gantry.earlyHints([['Link', '</a>']])
      return []
    }),
    good: behind({}, async (environ, startResponse) => {
      startResponse('200 OK', [...plain])
      environ.gantry.earlyHints([['Link', '</a>']])
      return [bytes('a')]
    }),
  },
  TRAILERS_FUNCTION: {
    owes: 'application',
    bad: doing((environ) => environ.gantry.trailers([['X-Sum', '1']] as never)),
    good: doing((environ) => environ.gantry.trailers(() => [['X-Sum', '1']])),
  },
  TRAILERS_FIELD: {
    owes: 'application',
    bad: trailing(Promise.resolve([['Content-Type', 'a/b']]), 1),
    good: trailing(Promise.resolve([['X-Sum', '1']]), 1),
  },
  TRAILERS_LATE: {
    owes: 'application',
    bad: behind({}, (environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return Object.assign([], { close: () => environ.gantry.trailers(() => []) })
    }),
    good: behind({}, async function* (environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      environ.gantry.trailers(() => [])
    }),
  },
  TRAILERS_ASKED: {
    owes: 'server',
    bad: trailing([['X-Sum', '1']], 2),
    good: trailing([['X-Sum', '1']], 1),
  },
  UPGRADE_ORDER: {
    owes: 'application',
    bad: upgrading('first'),
    good: upgrading('then'),
  },
  UPGRADE_DUPLEX: {
    owes: 'server',
    bad: upgrading('then', {}),
    good: upgrading('then'),
  },
  FINISHED_FUNCTION: {
    owes: 'application',
    bad: doing((environ) => environ.gantry.onFinished(undefined as never)),
    good: doing((environ) => environ.gantry.onFinished(() => {})),
  },
  FINISHED_OUTCOME: {
    owes: 'server',
    bad: finishing({ status: '200' }),
    good: finishing({ status: 200, bytes: 5, aborted: undefined, milliseconds: 1 }),
  },
}
