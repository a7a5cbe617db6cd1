/**
 * `gantry cgi`: calls an application once, as a CGI/1.1 program (RFC 3875) that a web server starts: the request is in
 * the environment and on standard input. `exchange.ts` has the rules of a response, and the web server the timeouts.
 * Imports little, since each request pays for it.
 */

import { readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { lastEvents } from '../../process/last-events.ts'
import { cgiHead } from '../../protocol/cgi/codec/head.ts'
import { requestVariables } from '../../protocol/cgi/codec/variables.ts'
import { resolveClient } from '../../protocol/client/resolve-client.ts'
import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
import { environFromVariables, type ProcessFacts } from '../../protocol/contract/environ.ts'
import type { OtherCode } from '../../protocol/contract/error-codes.ts'
import { AbortError, RemoteProtocolError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { guardStandardStreams, stderrLog } from '../../protocol/log/stderr-log.ts'
import { Deadlines, systemClock } from '../../protocol/net/clock.ts'
import { loadApplication } from '../application/load-application.ts'
import type { CgiCommandOptions } from './cgi-options.ts'

/** Bytes of a request's body that are read ahead of the application: the capacity of a pipe. */
const READ_AHEAD = 64 * 1024
/** Time for an aborted application to settle, ms: Apache kills a program three seconds after SIGTERM. */
const SETTLE_TIMEOUT = 2_500

/** Many programs run at once, each with one request. */
const FACTS: ProcessFacts = { multithread: false, multiprocess: true, runOnce: true }

/** The streams of a CGI program. */
interface CgiStreams {
  /** Called once, if the application reads. */
  input(): Readable
  readonly output: Writable
  readonly log: Logger
}

/**
 * Answers the request of this process and ends the process: with exit code 0 if the response is complete, with 1 if it
 * is truncated or no application could answer.
 */
export async function runCgi(options: CgiCommandOptions): Promise<never> {
  const streams: CgiStreams = { input: () => process.stdin, output: process.stdout, log: stderrLog() }
  guardStandardStreams()
  const run = new CgiRun(streams)
  // A web server always sets both (RFC 3875 §4.1.4, §4.1.12); a shell does not.
  if (process.env['GATEWAY_INTERFACE'] === undefined && process.env['REQUEST_METHOD'] === undefined) {
    streams.log.warn(
      { code: 'CGI_NO_REQUEST' satisfies OtherCode },
      'no web server has started this CGI program: REQUEST_METHOD is not set, so it answers GET /',
    )
  }
  process.on('uncaughtException', (error) => run.failed(error))
  process.on('SIGTERM', () => run.kill(new AbortError('DRAIN_TIMEOUT', 'the web server stopped the program')))
  process.on('SIGINT', () => run.kill(new AbortError('DRAIN_TIMEOUT', 'the program was interrupted')))
  process.on('beforeExit', () => run.idle())
  // Set before the module is loaded: a web server may stop a program whose module hangs.
  const ended = run.over.then(async (code) => {
    await lastEvents()
    return process.exit(code)
  })
  try {
    run.begin(
      await loadApplication(options.module, { interface: options.interface }),
      nativeEnvironment(),
      options.environ,
    )
  } catch (error) {
    run.failed(error)
  }
  return ended
}

/** The environment as bytes: Node reads it as UTF-8, but a decoded path need not be valid UTF-8. */
function nativeEnvironment(): string[] {
  const flat: string[] = []
  let block: string | undefined
  try {
    block = readFileSync('/proc/self/environ', 'latin1')
  } catch {
    // Not Linux: only valid UTF-8 can be restored.
  }
  if (block === undefined) {
    for (const [name, value] of Object.entries(process.env)) {
      flat.push(name, Buffer.from(value ?? '').toString('latin1'))
    }
    return flat
  }
  for (const pair of block.split('\0')) {
    const equals = pair.indexOf('=')
    if (equals > 0) flat.push(pair.slice(0, equals), pair.slice(equals + 1))
  }
  return flat
}

/** One request over three streams. The caller owns the streams and ends the process. */
class CgiRun implements ResponseSink, InputSource, ExchangeHost {
  readonly clock: typeof systemClock = systemClock
  readonly deadlines: Deadlines = new Deadlines(systemClock)
  readonly log: Logger
  draining = false
  /** Resolves with the exit code of the process when the request is over. */
  readonly over: Promise<number>
  readonly #done: (code: number) => void
  readonly #openInput: () => Readable
  #input: Readable | undefined
  readonly #output: Writable
  #request: RequestInput | undefined
  #exchange: Exchange | undefined
  /** Bytes of the body that have not arrived; Infinity if the length is unknown. */
  #bodyLeft = 0
  /** CONTENT_LENGTH. */
  #length = 0
  #reading = false
  /** Whether the output was ended, or has failed. */
  #ended = false
  #flushed = false
  #settled = false
  #truncated = false
  #exitTimer: NodeJS.Timeout | undefined

  constructor({ input, output, log }: CgiStreams) {
    this.log = log
    this.#openInput = input
    this.#output = output
    const { promise, resolve } = Promise.withResolvers<number>()
    this.over = promise
    this.#done = resolve
    output.on('error', (error: NodeJS.ErrnoException) => this.#outputFailed(error))
    output.on('drain', () => this.#exchange?.resume())
  }

  /**
   * @param environment flat list of names and values, as native strings
   * @param further names of variables for the environ in addition to CGI's
   */
  begin(application: Application, environment: readonly string[], further: readonly string[] = []): void {
    if (this.#truncated) return
    try {
      const { variables, length } = requestVariables(environment, further)
      const environ = environFromVariables(variables, FACTS)
      // The web server puts the client's address in REMOTE_ADDR and the scheme in HTTPS; forwarded fields come from the
      // client.
      resolveClient(environ, undefined)
      this.#length = length
      this.#bodyLeft = length === -1 ? Number.POSITIVE_INFINITY : length
      this.#request = new RequestInput(length === 0 ? null : this)
      // Set by Apache's mod_unique_id: both logs then have the same id for the request.
      const id = environ['UNIQUE_ID']
      const requestId = typeof id === 'string' && /^[\w.@-]{1,128}$/.test(id) ? id : undefined
      this.#exchange = new Exchange(application, environ, this.#request, this, this, requestId)
    } catch (error) {
      this.failed(error)
      return
    }
    this.#exchange.run()
  }

  /**
   * Handles a failure outside the application's call: before it, or in a callback of the application. Answers 500 if no
   * response has begun.
   */
  failed(error: unknown): void {
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const environ = this.#exchange?.environ ?? environFromVariables([], FACTS)
    const { requestId } = environ.gantry
    if (refusal) this.log.error({ requestId, code: refusal.code }, refusal.message)
    else this.log.error({ requestId, err: described(error) }, 'the program failed')
    if (!this.#ended && !this.#exchange?.responded) this.#sendErrorPage(refusal?.status ?? 500, environ)
    this.kill(new AbortError('APPLICATION', 'the application failed', { cause: error }))
  }

  #sendErrorPage(status: number, environ: Environ): void {
    const [page] = statusPage(status)(environ, (line, headers) => {
      this.#output.write(cgiHead(line, headers), 'latin1')
      return async () => {}
    }) as Uint8Array[]
    if (environ.REQUEST_METHOD !== 'HEAD') this.#output.write(page)
  }

  /** The event loop is empty, so nothing more can happen. */
  idle(): void {
    if (this.#flushed) this.#end()
    else if (!this.#ended) {
      this.failed(localError('NEVER_ANSWERED', 'the event loop is empty, but the application has not answered'))
    }
  }

  /** Ends the request and aborts the application. The response stays as far as it was sent. */
  kill(error: AbortError): void {
    this.#exitSoon()
    if (this.#ended) return
    this.#abortExchange(error)
    this.#finish()
    this.#endIfDone()
  }

  #abortExchange(error: AbortError): void {
    this.#truncated = true
    this.#exchange?.abort(error)
    if (this.#request && !this.#request.ended) this.#request.fail(error)
  }

  /**
   * Limits how long an aborted application may keep the process alive. (Not with the clock: its timers do not keep the
   * process alive.)
   */
  #exitSoon(): void {
    this.#exitTimer ??= setTimeout(() => this.#end(), SETTLE_TIMEOUT)
  }

  settled(): void {
    this.#settled = true
    this.#endIfDone()
  }

  // ---- the exchange's side: its sink -------------------------------------------------------------------------------

  /** CGI has no informational responses. */
  inform(): void {}

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    // Sends the head in one write with everything else of this tick.
    this.#output.cork()
    process.nextTick(() => this.flush())
    let room = this.#output.write(cgiHead(status, this.#fields(status, headers)), 'latin1')
    if (chunk) room = this.#output.write(chunk)
    if (end) this.#finish()
    return room
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    const room = this.#output.write(chunk)
    if (end) this.#finish()
    return room
  }

  end(): void {
    this.#finish()
  }

  flush(): void {
    // Writes what was corked in this tick.
    while (this.#output.writableCorked > 0) this.#output.uncork()
  }

  /** CGI can show that a response is truncated only by its Content-Length and by our exit code. */
  abort(): void {
    this.#truncated = true
    this.#exitSoon()
    this.#finish()
  }

  upgrade(): never {
    throw localError('NO_UPGRADE', 'a CGI program cannot upgrade its connection')
  }

  /**
   * CGI servers treat a 200 with a Location as a redirect (RFC 3875 §6.2.2; Apache, lighttpd) and run what is at that
   * path, perhaps for a POST. In HTTP such a Location has no meaning (RFC 9110 §10.2.2).
   */
  #fields(status: string, headers: Headers): Headers {
    if (!status.startsWith('200') || !headers.some(isLocation)) return headers
    this.log.warn(
      { code: 'CGI_LOCATION' satisfies OtherCode },
      'CGI servers treat a 200 with Location as a redirect: Location was removed',
    )
    return headers.filter((field) => !isLocation(field))
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.flush()
    this.#output.end(() => {
      this.#flushed = true
      this.#endIfDone()
    })
  }

  /** EPIPE: the server has closed our output because its client has disconnected. */
  #outputFailed(error: NodeJS.ErrnoException): void {
    this.#ended = true
    this.#flushed = true
    this.#exitSoon()
    const isClosed = error.code === 'EPIPE' || error.code === 'ECONNRESET'
    this.#abortExchange(
      new AbortError('CLIENT_GONE', isClosed ? 'the client disconnected' : error.message, { cause: error }),
    )
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (this.#flushed && (this.#exchange === undefined || this.#settled)) this.#end()
  }

  #end(): void {
    clearTimeout(this.#exitTimer)
    this.#done(this.#truncated ? 1 : 0)
  }

  // ---- the exchange's side: its input's source ---------------------------------------------------------------------

  /** The first read: before it, no byte is read from the server. */
  wanted(): void {
    const input = this.#openInput()
    this.#input = input
    this.#reading = true
    input.on('data', (chunk: Buffer) => this.#received(chunk))
    input.on('end', () => this.#inputEnded())
    input.on('error', () => this.#inputEnded())
  }

  consumed(): void {
    if (this.#reading || this.#bodyLeft === 0 || this.#request!.buffered >= READ_AHEAD) return
    this.#reading = true
    this.#input!.resume()
  }

  #received(chunk: Buffer): void {
    const request = this.#request!
    if (this.#bodyLeft === 0) return
    const part = chunk.length > this.#bodyLeft ? chunk.subarray(0, this.#bodyLeft) : chunk
    this.#bodyLeft -= part.length
    request.push(part)
    if (this.#bodyLeft === 0) request.end()
    if (this.#bodyLeft === 0 || request.buffered >= READ_AHEAD) {
      this.#reading = false
      this.#input!.pause()
    }
  }

  #inputEnded(): void {
    if (this.#bodyLeft === 0) return
    if (this.#bodyLeft === Number.POSITIVE_INFINITY) {
      this.#bodyLeft = 0
      this.#request!.end()
    } else {
      // The application's read fails with this error. That failure is not logged again, so it is logged here.
      const requestId = this.#exchange?.environ.gantry.requestId
      const message = `the request's body ended ${this.#bodyLeft} bytes before its CONTENT_LENGTH (${this.#length}): the client disconnected, or the web server passed a wrong length`
      this.log.warn({ requestId, code: 'CGI_BODY_SHORT' satisfies OtherCode }, message)
      this.kill(new AbortError('CLIENT_GONE', message))
    }
  }
}

/** A load error is for the person who started the program: its message or its cause is logged, not our stack. */
function described(error: unknown): unknown {
  if (error instanceof Error && 'code' in error) return error.cause instanceof Error ? error.cause : error.message
  return error
}

function isLocation([name]: readonly [string, string]): boolean {
  return name.toLowerCase() === 'location'
}
