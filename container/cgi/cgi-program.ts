/**
 * `gantry cgi`: one application called once, as a CGI/1.1 program (RFC 3875) that a web server has started. The request is in the
 * environment and on standard input, the response goes to standard output, and what is said about it to standard error.
 *
 * It is a gateway as the others are: which rules a response keeps is `exchange.ts`'s. It keeps no time: how long a program may take is
 * for the server that runs it to say. It imports little, since each request pays for it.
 */

import { readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { lastEvents } from '../../process/last-events.ts'
import { cgiHead } from '../../protocol/cgi/codec/head.ts'
import { requestVariables } from '../../protocol/cgi/codec/variables.ts'
import { resolveClient } from '../../protocol/client/resolve-client.ts'
import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { environFromVariables, type ProcessFacts } from '../../protocol/contract/environ.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
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

/** Bytes of a request's body that are read ahead of the application; what a pipe holds. */
const READ_AHEAD = 64 * 1024
/** An aborted application has this long to settle, ms: Apache kills a program three seconds after it asked it to end. */
const SETTLE = 2_500

/** Many programs run at once, each with one request. */
const FACTS: ProcessFacts = { multithread: false, multiprocess: true, runOnce: true }

/** What a CGI program has. */
interface CgiStreams {
  /** Asked for once, if the application reads. */
  input(): Readable
  readonly output: Writable
  readonly log: Logger
}

/**
 * Answers the request of this process, and ends it: with 0 when the response is whole, with 1 when it was cut, or there was no
 * application to answer.
 */
export async function runCgi(options: CgiCommandOptions): Promise<never> {
  const streams: CgiStreams = { input: () => process.stdin, output: process.stdout, log: stderrLog() }
  guardStandardStreams()
  const run = new CgiRun(streams)
  // RFC 3875 §4.1.4, §4.1.12: a web server says both. Whoever tries it in a terminal has not.
  if (process.env['GATEWAY_INTERFACE'] === undefined && process.env['REQUEST_METHOD'] === undefined) {
    streams.log.warn(
      { code: 'CGI_NO_REQUEST' satisfies OtherCode },
      'this is what a web server runs for each request, and none has: REQUEST_METHOD is missing, so here is the answer to GET /',
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

/** The environment's own bytes: Node reads them as UTF-8, which a decoded path needs not be. */
function nativeEnvironment(): string[] {
  const flat: string[] = []
  let block: string | undefined
  try {
    block = readFileSync('/proc/self/environ', 'latin1')
  } catch {
    // Not Linux: what is valid UTF-8 can be had back.
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

/** One request over three streams. Whose they are, and that the process ends with it, is not known here. */
class CgiRun implements ResponseSink, InputSource, ExchangeHost {
  readonly clock: typeof systemClock = systemClock
  readonly deadlines: Deadlines = new Deadlines(systemClock)
  readonly log: Logger
  draining = false
  /** The process's exit code, once all is done. */
  readonly over: Promise<number>
  readonly #done: (code: number) => void
  readonly #openInput: () => Readable
  #input: Readable | undefined
  readonly #output: Writable
  #request: RequestInput | undefined
  #exchange: Exchange | undefined
  /** Bytes of the body still to come; Infinity: as many as there are. */
  #left = 0
  /** CONTENT_LENGTH. */
  #length = 0
  #reading = false
  /** The output has its end, or is no more. */
  #ended = false
  #flushed = false
  #settled = false
  #cut = false
  #patience: NodeJS.Timeout | undefined

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
   * @param environment flat: name, value; native strings
   * @param further names of variables for the environ beside CGI's
   */
  begin(application: Application, environment: readonly string[], further: readonly string[] = []): void {
    if (this.#cut) return
    try {
      const { variables, length } = requestVariables(environment, further)
      const environ = environFromVariables(variables, FACTS)
      // The web server names the client in REMOTE_ADDR and HTTPS; forwarded fields are the client's own.
      resolveClient(environ, undefined)
      this.#length = length
      this.#left = length === -1 ? Number.POSITIVE_INFINITY : length
      this.#request = new RequestInput(length === 0 ? null : this)
      // Apache's mod_unique_id: then both logs name the request alike.
      const id = environ['UNIQUE_ID']
      const requestId = typeof id === 'string' && /^[\w.@-]{1,128}$/.test(id) ? id : undefined
      this.#exchange = new Exchange(application, environ, this.#request, this, this, requestId)
    } catch (error) {
      this.failed(error)
      return
    }
    this.#exchange.run()
  }

  /** Something failed outside of the application's call: before it, or in a callback of its own. Answers 500 where it still can. */
  failed(error: unknown): void {
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const environ = this.#exchange?.environ ?? environFromVariables([], FACTS)
    const { requestId } = environ.gantry
    if (refusal) this.log.error({ requestId, code: refusal.code }, refusal.message)
    else this.log.error({ requestId, err: described(error) }, 'the program failed')
    if (!this.#ended && !this.#exchange?.responded) this.#sayFailed(refusal?.status ?? 500, environ)
    this.kill(new AbortError('APPLICATION', 'the application failed', { cause: error }))
  }

  #sayFailed(status: number, environ: Environ): void {
    const [page] = statusPage(status)(environ, (line, headers) => {
      this.#output.write(cgiHead(line, headers), 'latin1')
      return async () => {}
    }) as Uint8Array[]
    if (environ.REQUEST_METHOD !== 'HEAD') this.#output.write(page)
  }

  /** Nothing is left in this process that could ever happen. */
  idle(): void {
    if (this.#flushed) this.#end()
    else if (!this.#ended) {
      this.failed(
        localError(
          'NEVER_ANSWERED',
          'the application has not responded, and its event loop is empty: it awaits something that never happens',
        ),
      )
    }
  }

  /** The request is over: what has left of its response is all there will be, and the application is told. */
  kill(error: AbortError): void {
    this.#giveUpSoon()
    if (this.#ended) return
    this.#cutOff(error)
    this.#finish()
    this.#check()
  }

  #cutOff(error: AbortError): void {
    this.#cut = true
    this.#exchange?.abort(error)
    if (this.#request && !this.#request.ended) this.#request.fail(error)
  }

  /** An application that does not come to its end must not keep a process for good. (Not the clock's: its timers keep nothing alive.) */
  #giveUpSoon(): void {
    this.#patience ??= setTimeout(() => this.#end(), SETTLE)
  }

  settled(): void {
    this.#settled = true
    this.#check()
  }

  // ---- the exchange's side: its sink -------------------------------------------------------------------------------

  /** CGI has no informational responses. */
  inform(): void {}

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    // As one write, with what else comes in this tick.
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
    // What was corked in this tick leaves now.
    while (this.#output.writableCorked > 0) this.#output.uncork()
  }

  /** CGI has no way to say that a response is not whole, but for its Content-Length, and our exit code. */
  abort(): void {
    this.#cut = true
    this.#giveUpSoon()
    this.#finish()
  }

  upgrade(): never {
    throw localError('NO_UPGRADE', 'a CGI program cannot upgrade its connection')
  }

  /**
   * Servers take a 200 with a Location for a redirect (RFC 3875 §6.2.2; Apache, lighttpd) and run what is at that path, for what was
   * perhaps a POST. HTTP gives it no meaning there (RFC 9110 §10.2.2).
   */
  #fields(status: string, headers: Headers): Headers {
    if (!status.startsWith('200') || !headers.some(isLocation)) return headers
    this.log.warn(
      { code: 'CGI_LOCATION' satisfies OtherCode },
      'a 200 with Location is a redirect to a CGI server: Location was left out',
    )
    return headers.filter((field) => !isLocation(field))
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.flush()
    this.#output.end(() => {
      this.#flushed = true
      this.#check()
    })
  }

  /** EPIPE: the server has closed our output, since its client has gone. */
  #outputFailed(error: NodeJS.ErrnoException): void {
    this.#ended = true
    this.#flushed = true
    this.#giveUpSoon()
    const gone = error.code === 'EPIPE' || error.code === 'ECONNRESET'
    this.#cutOff(new AbortError('CLIENT_GONE', gone ? 'the client disconnected' : error.message, { cause: error }))
    this.#check()
  }

  #check(): void {
    if (this.#flushed && (this.#exchange === undefined || this.#settled)) this.#end()
  }

  #end(): void {
    clearTimeout(this.#patience)
    this.#done(this.#cut ? 1 : 0)
  }

  // ---- the exchange's side: its input's source ---------------------------------------------------------------------

  /** The first read: before it nothing is taken from the server. */
  wanted(): void {
    const input = this.#openInput()
    this.#input = input
    this.#reading = true
    input.on('data', (chunk: Buffer) => this.#received(chunk))
    input.on('end', () => this.#inputEnded())
    input.on('error', () => this.#inputEnded())
  }

  consumed(): void {
    if (this.#reading || this.#left === 0 || this.#request!.buffered >= READ_AHEAD) return
    this.#reading = true
    this.#input!.resume()
  }

  #received(chunk: Buffer): void {
    const request = this.#request!
    if (this.#left === 0) return
    const part = chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk
    this.#left -= part.length
    request.push(part)
    if (this.#left === 0) request.end()
    if (this.#left === 0 || request.buffered >= READ_AHEAD) {
      this.#reading = false
      this.#input!.pause()
    }
  }

  #inputEnded(): void {
    if (this.#left === 0) return
    if (this.#left === Number.POSITIVE_INFINITY) {
      this.#left = 0
      this.#request!.end()
    } else {
      // The application's read fails with this, and its failing is then no line: whoever reads the log learns of it here.
      const requestId = this.#exchange?.environ.gantry.requestId
      const message = `the request's body ended ${this.#left} bytes before its CONTENT_LENGTH (${this.#length}): the client has gone, or the web server gave a length that is not the body's`
      this.log.warn({ requestId, code: 'CGI_BODY_SHORT' satisfies OtherCode }, message)
      this.kill(new AbortError('CLIENT_GONE', message))
    }
  }
}

/** A load error's message is for who started the program; its stack is ours. */
function described(error: unknown): unknown {
  if (error instanceof Error && 'code' in error) return error.cause instanceof Error ? error.cause : error.message
  return error
}

function isLocation([name]: readonly [string, string]): boolean {
  return name.toLowerCase() === 'location'
}
