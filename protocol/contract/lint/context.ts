/** Checks `environ.gantry`: that its functions are called with valid arguments and at the right time. */

import type { Headers, Outcome, RequestContext } from '../application.ts'
import { guardedProxy } from './guarded-proxy.ts'
import { checkEarlyHints, checkTrailers } from './response.ts'
import { type Fail, show } from './rules.ts'

/** The state of a call that the guard of its context reads and changes. */
export interface ContextState {
  readonly aborted: boolean
  readonly closed: boolean
  /** The body has ended. */
  readonly over: boolean
  /** The head must have been sent. */
  readonly sent: boolean
  /** The server has requested a chunk of the body. */
  readonly iterated: boolean
  /** The last status passed to startResponse; 0 before. */
  readonly code: number
  /** `upgrade()` has returned the connection. */
  upgraded: boolean
}

export function guardContext(context: RequestContext, call: ContextState, fail: Fail): RequestContext {
  return guardedProxy(context, {
    earlyHints: (headers: Headers) => {
      if (!call.aborted && (call.sent || call.over || call.closed)) fail('EARLY_HINTS_LATE', 'the head was sent')
      checkEarlyHints(headers, fail)
      context.earlyHints(headers)
    },
    trailers: (fields: () => Headers | Promise<Headers>) => {
      if (!call.aborted && (call.over || call.closed)) fail('TRAILERS_LATE', 'the body has ended')
      if (typeof fields !== 'function') {
        fail('TRAILERS_FUNCTION', `got ${show(fields)}`)
        context.trailers(fields)
        return
      }
      context.trailers(guardTrailers(fields, call, fail))
    },
    upgrade: () => {
      if (call.code !== 101) fail('UPGRADE_ORDER', `the status is ${call.code || 'not set yet'}`)
      if (call.upgraded) fail('UPGRADE_ORDER', 'it was called before')
      if ((call.over || call.closed) && !call.aborted) fail('UPGRADE_ORDER', 'the body has ended')
      const connection = context.upgrade()
      call.upgraded = true
      if (typeof connection?.write !== 'function' || typeof connection.on !== 'function') {
        fail('UPGRADE_DUPLEX', `it returned ${show(connection)}`)
      }
      return connection
    },
    onFinished: (callback: (outcome: Outcome) => void) => {
      if (typeof callback !== 'function') {
        fail('FINISHED_FUNCTION', `got ${show(callback)}`)
        context.onFinished(callback)
        return
      }
      context.onFinished(guardFinished(callback, fail))
    },
  })
}

function guardTrailers(
  fields: () => Headers | Promise<Headers>,
  call: ContextState,
  fail: Fail,
): () => Headers | Promise<Headers> {
  let called = false
  const checked = (result: Headers): Headers => {
    checkTrailers(result, fail)
    return result
  }
  return () => {
    if (called) fail('TRAILERS_ASKED', 'the function was called again')
    // A body that was never iterated was replaced by another body, whose end decides.
    if (call.iterated && !call.over && !call.closed) fail('TRAILERS_ASKED', 'the body has not ended')
    called = true
    const result = fields()
    return typeof (result as Promise<Headers> | null)?.then === 'function'
      ? (result as Promise<Headers>).then(checked)
      : checked(result as Headers)
  }
}

function guardFinished(callback: (outcome: Outcome) => void, fail: Fail): (outcome: Outcome) => void {
  let called = false
  return (outcome) => {
    if (called) fail('FINISHED_OUTCOME', 'it was called again')
    called = true
    for (const name of ['status', 'bytes', 'milliseconds'] as const) {
      if (typeof outcome?.[name] !== 'number') fail('FINISHED_OUTCOME', `${name} is ${show(outcome?.[name])}`)
    }
    callback(outcome)
  }
}
