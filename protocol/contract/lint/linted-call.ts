/** Checks the order of the events of one call of an application, from startResponse to close(). */

import type { Body, Environ, Headers, StartResponse, Write } from '../application.ts'
import { type BodyWatch, type GuardedBody, guardBody, isBody, isChunk } from './body.ts'
import type { ContextState } from './context.ts'
import { isUpgrade } from './environ.ts'
import { checkHeaders, checkStatus, hasNoContent } from './response.ts'
import { ContractError, type Fail, show } from './rules.ts'
import { fingerprint, HeadersSnapshot } from './snapshots.ts'

type StartArguments = [status: string, headers: Headers, excInfo?: unknown]

export class LintedCall implements ContextState, BodyWatch {
  readonly #fail: Fail
  readonly #signal: AbortSignal | undefined
  readonly #method: string
  readonly #settled: () => void
  readonly #upgrade: boolean
  readonly name: string
  code = 0
  closed = false
  over = false
  iterated = false
  /** The head must have been sent: write() was called, or the next chunk was requested after a chunk with bytes. */
  sent = false
  upgraded = false
  #guarded: GuardedBody | undefined
  /** Content-Length; -1 if there is none, or if the response has no content. */
  #length = -1
  #bytes = 0
  /** The body has yielded a chunk with bytes. */
  #yielded = false
  /** The headers until the head was sent. */
  #headers: HeadersSnapshot | undefined
  /** The last chunk passed to write(), and its fingerprint at that time. */
  #written: { chunk: Uint8Array; print: number } | undefined
  /** The call of the middleware around this call, if lint checks that middleware too. */
  around: LintedCall | undefined
  /** How often the server has requested a chunk, and whether a request is pending. */
  step = 0
  stepping = false
  /** The step of `around` in which this body last yielded a chunk with bytes. */
  #yieldedIn = 0
  /** startResponse has thrown this excInfo, and the application must let it pass to the server. */
  #raised: { excInfo: unknown } | undefined

  /** @param settled is called when the body is closed, and its iterator has ended or its return() was called */
  constructor(environ: Environ, fail: Fail, settled: () => void) {
    this.#fail = fail
    this.#settled = settled
    this.#signal = environ?.gantry?.signal
    this.#method = environ?.REQUEST_METHOD
    this.name = `${environ?.REQUEST_METHOD} ${environ?.REQUEST_URI}`
    this.#upgrade = isUpgrade(environ)
  }

  get aborted(): boolean {
    return this.#signal?.aborted ?? false
  }

  // ---- calls by the application ----------------------------------------------------------------------------------

  startResponse(real: StartResponse): StartResponse {
    return (...args: StartArguments): Write => {
      if (args.length < 2 || args.length > 3) this.#fail('START_ARGUMENTS', `got ${args.length}`)
      const [status, headers, excInfo] = args
      const again = excInfo !== undefined && excInfo !== null
      this.#carriedOn('startResponse was called')
      this.#headers?.check(this.#fail)
      if (typeof excInfo === 'boolean' || typeof excInfo === 'number') {
        this.#fail('EXC_INFO_VALUE', `it is ${show(excInfo)}`)
      }
      if (this.code !== 0 && !again) this.#fail('START_TWICE', `${show(status)} after ${this.code}`)
      if ((this.over || this.closed) && !this.aborted) this.#fail('START_AFTER_END', show(status))
      const code = checkStatus(status, this.#upgrade, this.#fail)
      const length = checkHeaders(headers, code, this.#fail)
      const write = this.#started(real, args)
      if (again && this.sent) this.#fail('EXC_INFO_RAISED', 'startResponse returned')
      if (typeof write !== 'function') this.#fail('WRITE_FUNCTION', `it returned ${show(write)}`)
      // -1 for an invalid status, if the application's side is not checked.
      this.code = code || -1
      this.#length = hasNoContent(this.#method, code) ? -1 : length
      // After the call, since the server may change the headers during the call (PEP 3333).
      this.#headers = Array.isArray(headers) ? new HeadersSnapshot(headers) : undefined
      return this.#write(write)
    }
  }

  #started(real: StartResponse, args: StartArguments): Write {
    try {
      return real(...args)
    } catch (error) {
      const excInfo = args[2]
      if (excInfo !== undefined && excInfo !== null && error === excInfo) {
        if (!this.#yielded && !this.sent && !this.aborted) {
          this.#fail('EXC_INFO_REPLACES', `startResponse threw ${show(error)}`, error)
        }
        this.#raised = { excInfo }
      }
      throw error
    }
  }

  #write(real: Write): Write {
    return (...args: [chunk: Uint8Array]): Promise<void> => {
      if (args.length !== 1) this.#fail('WRITE_ARGUMENTS', `got ${args.length}`)
      const [chunk] = args
      this.#carriedOn('write was called')
      // After an abort the application may finish what it had begun.
      if (!this.aborted) {
        if (this.closed || this.over) this.#fail('WRITE_AFTER_END', `${show(chunk)} to ${this.name}`)
        else if (this.iterated) this.#fail('WRITE_WHILE_ITERATED', `${show(chunk)} to ${this.name}`)
        this.#headers?.check(this.#fail)
        this.#unwritten()
        if (isChunk(chunk, this.#fail, 'write')) this.#count(chunk)
      }
      const room = real(...args)
      this.sent = true
      this.#headers = undefined
      this.#written = chunk instanceof Uint8Array ? { chunk, print: fingerprint(chunk) } : undefined
      if (typeof (room as Promise<void> | null)?.then !== 'function') {
        this.#fail('WRITE_FUNCTION', `write returned ${show(room)}`)
      }
      return room
    }
  }

  // ---- results of the application --------------------------------------------------------------------------------

  /** The application has returned. Only the application has run since it last called a guard. */
  returned(): void {
    this.#headers?.check(this.#fail)
    this.#unwritten()
  }

  /** The promise of the application has rejected. */
  rejected(error: unknown): void {
    this.failed(error, 'the application')
  }

  /** Returns a checked body; undefined if `body` is not a body. */
  guard(body: unknown): Body | undefined {
    if (!isBody(body, this.#fail)) return undefined
    try {
      this.returned()
      this.#carriedOn('the application returned a body')
      this.#guarded = guardBody(body, this, this.#fail)
    } catch (error) {
      // The server does not get this body, so it cannot close it.
      body.close?.()
      throw error
    }
    return this.#guarded.body
  }

  // ---- events of the body ----------------------------------------------------------------------------------------

  requested(): void {
    // Middleware that needs the whole content to decide about its head cannot yield anything yet: no chunk may precede
    // startResponse.
    const { around } = this
    if (around && around.code !== 0 && around.stepping && around.step === this.#yieldedIn) {
      this.#fail('BLOCK_BOUNDARY', `${this.name} yielded a chunk, and the next one was requested`)
    }
    this.iterated = true
    this.step++
    this.stepping = true
    if (!this.#yielded) return
    this.sent = true
    this.#headers = undefined
  }

  chunk(chunk: Uint8Array): void {
    this.stepping = false
    if (this.around?.stepping && chunk.length > 0) this.#yieldedIn = this.around.step
    this.#carriedOn('the body yielded a chunk')
    if (this.code === 0) this.#fail('START_LATE', `${this.name} yielded ${chunk.length} bytes`)
    this.#headers?.check(this.#fail)
    this.#count(chunk)
    if (chunk.length > 0) this.#yielded = true
  }

  ended(): void {
    this.stepping = false
    this.over = true
    this.#carriedOn('the body ended')
    if (this.code === 0 && !this.aborted) this.#fail('START_MISSING', this.name)
    this.#headers?.check(this.#fail)
    if (this.code === 101 && !this.upgraded && !this.aborted) this.#fail('UPGRADE_MISSING', this.name)
    if (this.#length !== -1 && this.#bytes < this.#length) {
      this.#fail('CONTENT_TOO_SHORT', `${this.#bytes} bytes of ${this.#length} in ${this.name}`)
    }
  }

  failed(error: unknown, what: string): void {
    this.stepping = false
    // Code that waits must rethrow an abort, and must rethrow excInfo.
    if (this.aborted || error === this.#raised?.excInfo) return
    const whole = this.#bytes > 0 && this.#bytes === this.#length
    if (this.over || this.closed || whole) this.failedLate(error, what)
  }

  failedLate(error: unknown, what: string): void {
    // An error of lint was reported before.
    if (error instanceof ContractError || this.aborted || error === this.#raised?.excInfo) return
    this.#fail('FAILED_AFTER_END', `${what} failed with ${String(error)} in ${this.name}`, error)
  }

  didClose(): void {
    this.closed = true
    this.didRelease()
  }

  didRelease(): void {
    if (this.closed && !this.#guarded?.leftOpen()) this.#settled()
  }

  // ---- checks of several events ----------------------------------------------------------------------------------

  #count(chunk: Uint8Array): void {
    if (this.code === 101 && chunk.length > 0) this.#fail('UPGRADE_CONTENT', `${chunk.length} bytes in ${this.name}`)
    this.#bytes += chunk.length
    if (this.#length !== -1 && this.#bytes > this.#length) {
      this.#fail('CONTENT_TOO_LONG', `${this.#bytes} bytes of ${this.#length} in ${this.name}`)
    }
  }

  /** After startResponse threw excInfo, the application must let the error pass and do nothing else. */
  #carriedOn(what: string): void {
    if (!this.#raised) return
    const { excInfo } = this.#raised
    this.#raised = undefined
    this.#fail('EXC_INFO_TRAPPED', `${what} after startResponse threw ${String(excInfo)}`, excInfo)
  }

  #unwritten(): void {
    const written = this.#written
    // A length of 0: the server has transferred the buffer, as it may.
    if (written && written.chunk.length > 0 && fingerprint(written.chunk) !== written.print) {
      this.#written = undefined
      this.#fail('CHUNK_CHANGED', `a written chunk of ${written.chunk.length} bytes`)
    }
  }
}
