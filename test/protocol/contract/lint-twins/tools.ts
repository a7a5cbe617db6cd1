/** The parts of a pair of twins: an application or server that breaks one rule, and its twin that keeps the rule. */

import assert from 'node:assert/strict'
import type {
  Application,
  Body,
  Environ,
  Headers,
  Input,
  StartResponse,
} from '../../../../protocol/contract/application.ts'
import type { Context, ContextControl } from '../../../../protocol/contract/context.ts'
import type { Blame, Linted, RuleCode } from '../../../../protocol/contract/lint.ts'
import { type CallOptions, call, makeEnviron } from '../../../support/call.ts'

/** Lint with the options of the current run. */
export type Watch = (application: Application) => Linted
export type Act = (watch: Watch) => unknown

export interface Twin {
  /** The side that is blamed. It is repeated here, so that a rule that changes its side is detected. */
  readonly owes: Blame
  /** Throws or rejects with the ContractError of the rule. */
  readonly bad: Act
  /** As similar to `bad` as possible, and correct. */
  readonly good: Act
}
export type Twins = { readonly [code in RuleCode]?: Twin }

export const plain: Headers = [['Content-Type', 'text/plain']]
export const bytes = (text: string): Uint8Array => Buffer.from(text)
export const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [...plain])
  return [bytes('hello')]
}
export const start: StartResponse = () => async () => {}

/** Calls an application, and reads and closes its body, as a correct server does. */
export function app(application: Application, options?: CallOptions): Act {
  return async (watch) => {
    const linted = watch(application)
    await call(linted, options)
    linted.assertClosed()
  }
}

/** An application with this status, these headers and this body. */
export function starts(status: string, headers: Headers = plain, body: unknown = [], options?: CallOptions): Act {
  return app((_environ, startResponse) => {
    startResponse(status, headers)
    return body as Body
  }, options)
}

/** An application that uses its environ, and then responds. */
export function doing(act: (environ: Environ) => unknown, options?: CallOptions): Act {
  return app(async (environ, startResponse) => {
    await act(environ)
    return hello(environ, startResponse)
  }, options)
}

/** A server whose environ has one fault. */
export function environ(change: (environ: Environ) => unknown, options?: CallOptions): Act {
  return (watch) => {
    const made = makeEnviron(options)
    change(made)
    return call(watch(hello), made)
  }
}

/** A server whose environ is this value. */
export function given(value: unknown): Act {
  return async (watch) => {
    const body = await watch(hello)(value as Environ, start)
    await body.close?.()
  }
}

/** A server with this input, and an application that reads it. */
export function input(real: object, act: (environ: Environ) => unknown, headers?: string[]): Act {
  return async (watch) => {
    const made = makeEnviron(headers && { headers: ['Host', 'h', ...headers] })
    made['wsgi.input'] = { ...new Ended(), ...real } as Input
    await call(
      watch(async (inner, startResponse) => {
        await act(inner)
        return hello(inner, startResponse)
      }),
      made,
    )
  }
}

/** An input that is at its end, as a plain object. */
class Ended {
  readonly read = async (): Promise<Uint8Array> => bytes('')
  readonly read1 = this.read
  readonly readline = this.read
  readonly readlines = async (): Promise<Uint8Array[]> => []
  readonly trailers = Promise.resolve([])
  readonly [Symbol.asyncIterator] = async function* (): AsyncGenerator<Uint8Array> {}
}

export type Handled = Body & AsyncIterable<Uint8Array> & { close(): unknown }

/** A server that gets the body of `application`. */
export function serve(application: Application, act: (body: Handled, linted: Linted) => unknown): Act {
  return async (watch) => {
    const linted = watch(application)
    return act((await linted(makeEnviron(), start)) as Handled, linted)
  }
}

/** Two chunks. */
export const generator: Application = async function* (_environ, startResponse) {
  startResponse('200 OK', [...plain])
  yield bytes('a')
  yield bytes('b')
}

/** The control of the context `environ.gantry`. */
export function control(made: Environ, parts: Partial<ContextControl>): Environ {
  ;(made.gantry as Context).bind(
    {
      aborted: undefined,
      draining: false,
      inform() {},
      trailers() {},
      upgrade: () => assert.fail('not asked for'),
      ...parts,
    },
    undefined,
  )
  return made
}
