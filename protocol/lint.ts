/**
 * The contract, executable: PEP 3333's `wsgiref.validate` for promises and async iterables.
 *
 * `lint(application)` is the application, with both sides watched: the server that calls it and the application itself. The
 * side that breaks a rule gets a `ContractError` thrown at it that names the rule. Nothing is delayed, buffered or altered.
 * The rules and their sentences are in `lint/rules.ts`; this file watches the order of one call's events.
 */

import type { Application, Body, Environ, Headers, StartResponse, Write } from './application.ts'
import { type BodyWatch, type GuardedBody, guardBody, isBody, isChunk } from './lint/body.ts'
import { checkEnviron, isUpgrade } from './lint/environ.ts'
import { type CallState, guardEnviron } from './lint/input.ts'
import { checkHeaders, checkStatus, hasNoContent } from './lint/response.ts'
import { type Blame, ContractError, type Fail, type RuleCode, serverRules, show } from './lint/rules.ts'

export type { ApplicationRule, Blame, RuleCode, ServerRule } from './lint/rules.ts'
export { applicationRules, ContractError, serverRules } from './lint/rules.ts'

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
 * @throws ContractError from the call that broke a rule, on either side
 */
export function lint(application: Application, options: LintOptions = {}): Linted {
  /** Calls whose body the server still has to close, or has closed without return(). */
  const open: Set<Call> = new Set()
  const fail: Fail = (code, detail) => {
    if (options.only !== undefined && options.only !== blameOf(code)) return
    const error = new ContractError(code, detail)
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
      return (given as Promise<Body>).then((body) => watch(call, body))
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

function blameOf(code: RuleCode): Blame {
  return code in serverRules ? 'server' : 'application'
}

/** One call of an application. */
class Call implements CallState, BodyWatch {
  readonly #fail: Fail
  readonly #signal: AbortSignal | undefined
  readonly #method: string
  readonly #settled: () => void
  readonly name: string
  readonly upgrade: boolean
  code = 0
  closed = false
  #guarded: GuardedBody | undefined
  /** Content-Length; -1 if there is none to compare with. */
  #length = -1
  #bytes = 0
  #iterated = false
  #over = false
  /** A chunk with bytes in it was given, and another was asked for since: the head must have gone. */
  #sent = false
  #given = false

  /** @param settled called when the body was closed and its iterator is at its end or returned */
  constructor(environ: Environ, fail: Fail, settled: () => void) {
    this.#fail = fail
    this.#settled = settled
    this.#signal = environ?.gantry?.signal
    this.#method = environ?.REQUEST_METHOD
    this.name = `${environ?.REQUEST_METHOD} ${environ?.REQUEST_URI}`
    this.upgrade = isUpgrade(environ)
  }

  get aborted(): boolean {
    return this.#signal?.aborted ?? false
  }

  startResponse(real: StartResponse): StartResponse {
    return (...args: [status: string, headers: Headers, excInfo?: unknown]): Write => {
      if (args.length < 2 || args.length > 3) this.#fail('START_ARGUMENTS', `got ${args.length}`)
      const [status, headers, excInfo] = args
      const again = excInfo !== undefined && excInfo !== null
      if (this.code !== 0 && !again) this.#fail('START_TWICE', `${show(status)} after ${this.code}`)
      if ((this.#over || this.closed) && !this.aborted) this.#fail('START_AFTER_END', show(status))
      const code = checkStatus(status, this.upgrade, this.#fail)
      const length = checkHeaders(headers, code, this.#fail)
      const write = real(...args)
      if (again && this.#sent) this.#fail('EXC_INFO_RAISED', 'startResponse returned')
      if (typeof write !== 'function') this.#fail('WRITE_FUNCTION', `it returned ${show(write)}`)
      // -1 for a status that could not be read, where the application's side is not checked.
      this.code = code || -1
      this.#length = hasNoContent(this.#method, code) ? -1 : length
      return this.#write(write)
    }
  }

  #write(real: Write): Write {
    return (...args: [chunk: Uint8Array]): Promise<void> => {
      if (args.length !== 1) this.#fail('WRITE_ARGUMENTS', `got ${args.length}`)
      const [chunk] = args
      // After an abort the application is not to blame for what it had begun.
      if (!this.aborted) {
        if (this.closed || this.#over) this.#fail('WRITE_AFTER_END', `${show(chunk)} to ${this.name}`)
        else if (this.#iterated) this.#fail('WRITE_WHILE_ITERATED', `${show(chunk)} to ${this.name}`)
        if (isChunk(chunk, this.#fail, 'write')) this.#count(chunk)
      }
      const room = real(...args)
      this.#sent = true
      if (typeof (room as Promise<void> | null)?.then !== 'function') {
        this.#fail('WRITE_FUNCTION', `write gave ${show(room)}`)
      }
      return room
    }
  }

  /** The body under watch; undefined for something that is none. */
  guard(body: unknown): Body | undefined {
    if (!isBody(body, this.#fail)) return undefined
    try {
      this.#guarded = guardBody(body, this, this.#fail)
    } catch (error) {
      // The server will not see this body, so that it cannot close it.
      body.close?.()
      throw error
    }
    return this.#guarded.body
  }

  // ---- what the body tells ---------------------------------------------------------------------------------------

  asked(): void {
    this.#iterated = true
    if (this.#given) this.#sent = true
  }

  chunk(chunk: Uint8Array): void {
    if (this.code === 0) this.#fail('START_LATE', `${this.name} gave ${chunk.length} bytes`)
    this.#count(chunk)
    if (chunk.length > 0) this.#given = true
  }

  ended(): void {
    this.#over = true
    if (this.code === 0) this.#fail('START_MISSING', this.name)
    if (this.#length !== -1 && this.#bytes < this.#length) {
      this.#fail('CONTENT_TOO_SHORT', `${this.#bytes} bytes of ${this.#length} in ${this.name}`)
    }
  }

  didClose(): void {
    this.closed = true
    this.didRelease()
  }

  didRelease(): void {
    if (this.closed && !this.#guarded?.leftOpen()) this.#settled()
  }

  #count(chunk: Uint8Array): void {
    this.#bytes += chunk.length
    if (this.#length !== -1 && this.#bytes > this.#length) {
      this.#fail('CONTENT_TOO_LONG', `${this.#bytes} bytes of ${this.#length} in ${this.name}`)
    }
  }
}
