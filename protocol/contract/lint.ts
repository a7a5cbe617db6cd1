/**
 * Checks the contract at run time, as PEP 3333's `wsgiref.validate` does. `lint/rules.ts` has the rules, from which
 * `docs/contract.md` is generated; `lint/linted-call.ts` checks the events of one call.
 */

import type { Application, Body } from './application.ts'
import { checkEnviron } from './lint/environ.ts'
import { guardEnviron } from './lint/guards.ts'
import { LintedCall } from './lint/linted-call.ts'
import { type Blame, ContractError, type Fail, rules, show } from './lint/rules.ts'

export type { Blame, Rule, RuleCode } from './lint/rules.ts'
export { ContractError, rules as contractRules } from './lint/rules.ts'

/** Options of `lint`. */
export interface LintOptions {
  /** Check only this side. Default: both. */
  only?: Blame
  /**
   * Called with each error before it is thrown. A gateway that catches every error (and answers 500) cannot hide it.
   */
  report?: (error: ContractError) => void
}

/** An application that is checked by `lint`. */
export interface Linted extends Application {
  /**
   * Call it after all requests have ended.
   *
   * @throws ContractError if the server did not close a body or an iterator; only the absence of a call shows that
   */
  assertClosed(): void
}

/**
 * Returns an application that behaves as `application` does and checks every rule of the contract: those of the server
 * that calls it, and those of the application. The side that breaks a rule gets a `ContractError`. Nothing is delayed,
 * buffered or changed.
 *
 * @throws TypeError if `application` is not a function
 * @throws ContractError from the call that breaks a rule
 * @example
 * ```ts
 * import { type Application, lint } from 'gantry'
 * import { call } from 'gantry/protocol'
 *
 * const withoutType: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [])
 *   return [Buffer.from('Hello world!')]
 * }
 * const broken: string[] = []
 * await call(lint(withoutType, { report: ({ code }) => broken.push(code) }))
 * console.log(broken.join()) // CONTENT_TYPE_MISSING
 * ```
 */
export function lint(application: Application, options: LintOptions = {}): Linted {
  if (typeof application !== 'function') {
    throw new TypeError(
      `lint() got ${show(application)}: expected an application, a function of environ and startResponse`,
    )
  }
  /** Calls whose body the server did not close, or closed without calling return(). */
  const open: Set<LintedCall> = new Set()
  const fail: Fail = (code, detail, cause) => {
    if (options.only !== undefined && options.only !== rules[code].owes) return
    const error = new ContractError(code, detail, cause)
    options.report?.(error)
    throw error
  }
  function watch(call: LintedCall, body: unknown): Body {
    const guarded = call.guard(body)
    if (guarded) open.add(call)
    return guarded ?? (body as Body)
  }
  const linted = (...args: Parameters<Application>): Body | Promise<Body> => {
    if (args.length !== 2 || typeof args[1] !== 'function') {
      fail('CALL_ARGUMENTS', `got ${args.length}: ${args.map(show).join(', ')}`)
    }
    const [environ, startResponse] = args
    checkEnviron(environ, fail)
    const call = new LintedCall(environ, fail, () => open.delete(call))
    guardEnviron(environ, call, fail)
    const result = application(environ, call.startResponse(startResponse))
    if (typeof (result as Promise<Body> | null)?.then === 'function') {
      call.returned()
      return (result as Promise<Body>).then(
        (body) => watch(call, body),
        (error: unknown) => {
          call.rejected(error)
          throw error
        },
      )
    }
    return watch(call, result)
  }
  return Object.assign(linted, {
    assertClosed() {
      if (options.only === 'application') return
      for (const call of open) {
        if (!call.closed) throw new ContractError('CLOSE_MISSING', `the body of ${call.name} is open`)
        throw new ContractError('ITERATOR_LEFT_OPEN', `the body of ${call.name} was closed without return()`)
      }
    },
  })
}
