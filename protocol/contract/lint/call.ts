/** One call of an application under watch: the order of its events, from startResponse to close(). */

import type { Body, Environ, Headers, StartResponse, Write } from '../application.ts'
import { type BodyWatch, type GuardedBody, guardBody, isBody, isChunk } from './body.ts'
import type { ContextState } from './context.ts'
import { isUpgrade } from './environ.ts'
import { fingerprint, GivenHeaders } from './given.ts'
import { checkHeaders, checkStatus, hasNoContent } from './response.ts'
import { ContractError, type Fail, show } from './rules.ts'

type StartArguments = [status: string, headers: Headers, excInfo?: unknown]

export class Call implements ContextState, BodyWatch {
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
  /** A chunk with bytes in it was given, and another was asked for since, or something was written: the head must have gone. */
  sent = false
  upgraded = false
  #guarded: GuardedBody | undefined
  /** Content-Length; -1 if there is none to compare with. */
  #length = -1
  #bytes = 0
  /** A chunk with bytes in it was given. */
  #given = false
  /** Until the head has gone. */
  #headers: GivenHeaders | undefined
  /** What was written last, and what it was then. */
  #written: { chunk: Uint8Array; print: number } | undefined
  /** The call of the middleware that made this one, where that is under watch too. */
  around: Call | undefined
  /** How often a chunk was asked for, and whether one is pending. */
  step = 0
  stepping = false
  /** The step of `around` in which a chunk with bytes in it was given last. */
  #gaveIn = 0
  /** startResponse has thrown this excInfo: the application has to let it go on. */
  #raised: { excInfo: unknown } | undefined

  /** @param settled called when the body was closed and its iterator is at its end or returned */
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

  // ---- what the application calls --------------------------------------------------------------------------------

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
      // -1 for a status that could not be read, where the application's side is not checked.
      this.code = code || -1
      this.#length = hasNoContent(this.#method, code) ? -1 : length
      // Now, not before: a server may have changed them while it was called (PEP 3333 lets it).
      this.#headers = Array.isArray(headers) ? new GivenHeaders(headers) : undefined
      return this.#write(write)
    }
  }

  #started(real: StartResponse, args: StartArguments): Write {
    try {
      return real(...args)
    } catch (error) {
      const excInfo = args[2]
      if (excInfo !== undefined && excInfo !== null && error === excInfo) {
        if (!this.#given && !this.sent && !this.aborted) {
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
      // After an abort the application is not to blame for what it had begun.
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
        this.#fail('WRITE_FUNCTION', `write gave ${show(room)}`)
      }
      return room
    }
  }

  // ---- what the application gives --------------------------------------------------------------------------------

  /** It returned: a body, or a promise of one. Nothing but the application ran since it last called something of ours. */
  returned(): void {
    this.#headers?.check(this.#fail)
    this.#unwritten()
  }

  /** Its promise rejected. */
  rejected(error: unknown): void {
    this.failed(error, 'the application')
  }

  /** The body under watch; undefined for something that is none. */
  guard(body: unknown): Body | undefined {
    if (!isBody(body, this.#fail)) return undefined
    try {
      this.returned()
      this.#carriedOn('the application returned a body')
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
    // Middleware that has yet to decide on its head, by all of the content, has nothing that it could yield: no chunk comes before
    // startResponse.
    const { around } = this
    if (around && around.code !== 0 && around.stepping && around.step === this.#gaveIn) {
      this.#fail('BLOCK_BOUNDARY', `${this.name} gave a chunk, and was asked for the next`)
    }
    this.iterated = true
    this.step++
    this.stepping = true
    if (!this.#given) return
    this.sent = true
    this.#headers = undefined
  }

  chunk(chunk: Uint8Array): void {
    this.stepping = false
    if (this.around?.stepping && chunk.length > 0) this.#gaveIn = this.around.step
    this.#carriedOn('the body gave a chunk')
    if (this.code === 0) this.#fail('START_LATE', `${this.name} gave ${chunk.length} bytes`)
    this.#headers?.check(this.#fail)
    this.#count(chunk)
    if (chunk.length > 0) this.#given = true
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
    // An abort is passed on by who waits for something, and so is excInfo: as it should be.
    if (this.aborted || error === this.#raised?.excInfo) return
    const whole = this.#bytes > 0 && this.#bytes === this.#length
    if (this.over || this.closed || whole) this.failedLate(error, what)
  }

  failedLate(error: unknown, what: string): void {
    // Of what lint itself threw there the rule that was broken is known already.
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

  // ---- checks that more than one event shares --------------------------------------------------------------------

  #count(chunk: Uint8Array): void {
    if (this.code === 101 && chunk.length > 0) this.#fail('UPGRADE_CONTENT', `${chunk.length} bytes in ${this.name}`)
    this.#bytes += chunk.length
    if (this.#length !== -1 && this.#bytes > this.#length) {
      this.#fail('CONTENT_TOO_LONG', `${this.#bytes} bytes of ${this.#length} in ${this.name}`)
    }
  }

  /** After startResponse threw excInfo nothing may follow but that error on its way out. */
  #carriedOn(what: string): void {
    if (!this.#raised) return
    const { excInfo } = this.#raised
    this.#raised = undefined
    this.#fail('EXC_INFO_TRAPPED', `${what} after startResponse threw ${String(excInfo)}`, excInfo)
  }

  #unwritten(): void {
    const written = this.#written
    // A length of 0: the server has transferred its buffer, which is its own by then.
    if (written && written.chunk.length > 0 && fingerprint(written.chunk) !== written.print) {
      this.#written = undefined
      this.#fail('CHUNK_CHANGED', `what was written, ${written.chunk.length} bytes`)
    }
  }
}
