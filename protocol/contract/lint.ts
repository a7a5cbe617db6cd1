/**
 * The contract, executable: PEP 3333's `wsgiref.validate` for promises and async iterables.
 *
 * `lint(application)` is the application, with both sides watched: the server that calls it and the application itself. The
 * side that breaks a rule gets a `ContractError` thrown at it that names the rule. Nothing is delayed, buffered or altered.
 * The rules and their sentences are in `lint/rules.ts` (and `docs/contract.md`, made from them); one call's events are watched
 * by `lint/call.ts`.
 */

import type { Application, Body } from './application.ts'
import { Call } from './lint/call.ts'
import { checkEnviron } from './lint/environ.ts'
import { guardEnviron } from './lint/guards.ts'
import { type Blame, ContractError, type Fail, rules, show } from './lint/rules.ts'

export type { Blame, Rule, RuleCode } from './lint/rules.ts'
export { ContractError, rules as contractRules } from './lint/rules.ts'

export interface LintOptions {
  /** Check this side alone; the other may do as it likes. Both by default. */
  only?: Blame
  /** Told of each broken rule before it is thrown: who catches everything (a gateway answers 500) cannot hide it. */
  report?: (error: ContractError) => void
}

/** An application under watch. */
export interface Linted extends Application {
  /**
   * To be asked once all requests are over.
   *
   * @throws ContractError when the server left a body unclosed or an iterator open: no call of the server's can show that
   */
  assertClosed(): void
}

/**
 * @throws TypeError for an application that is no function
 * @throws ContractError from the call that broke a rule, on either side
 */
export function lint(application: Application, options: LintOptions = {}): Linted {
  if (typeof application !== 'function') {
    throw new TypeError(
      `lint() got ${show(application)}: expected an application, a function of environ and startResponse`,
    )
  }
  /** Calls whose body the server still has to close, or has closed without return(). */
  const open: Set<Call> = new Set()
  const fail: Fail = (code, detail, cause) => {
    if (options.only !== undefined && options.only !== rules[code].owes) return
    const error = new ContractError(code, detail, cause)
    options.report?.(error)
    throw error
  }
  function watch(call: Call, body: unknown): Body {
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
    const call = new Call(environ, fail, () => open.delete(call))
    guardEnviron(environ, call, fail)
    const given = application(environ, call.startResponse(startResponse))
    if (typeof (given as Promise<Body> | null)?.then === 'function') {
      call.returned()
      return (given as Promise<Body>).then(
        (body) => watch(call, body),
        (error: unknown) => {
          call.rejected(error)
          throw error
        },
      )
    }
    return watch(call, given)
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
