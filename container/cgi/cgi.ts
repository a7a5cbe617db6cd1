/**
 * A CGI program as an application (RFC 3875): each request starts it, feeds it and reads its answer. What is known of requests and
 * responses is here; the process is `cgi-process.ts`'s, the head and the variables are `protocol/cgi/`'s.
 *
 * Where the RFC leaves it open it does as Apache's mod_cgi; where Apache would let an answer that broke off look whole it does not.
 */

import { isUtf8 } from 'node:buffer'
import { accessSync, constants, statSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { inspect } from 'node:util'
import { type CgiHead, CgiHeadReader } from '../../protocol/cgi/codec/head.ts'
import { programVariables } from '../../protocol/cgi/codec/variables.ts'
import { clientKey } from '../../protocol/client/client-key.ts'
import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { HttpError, RemoteProtocolError } from '../../protocol/contract/errors.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  aClock,
  anApplication,
  anyText,
  checkOptions,
  flag,
  isText,
  listOf,
  logger,
  type OptionForms,
  orMore,
  record,
  wholeNumber,
} from '../../protocol/options/check-options.ts'
import { CgiProcess, type Exit } from './cgi-process.ts'
import { CgiQueue } from './cgi-queue.ts'

export interface CgiOptions {
  /** Its arguments. Default none: those of RFC 3875 §4.4, from the query, let a client choose options (CVE-2012-1823). */
  readonly args?: readonly string[]
  /** Where it runs. Default: its own directory (§7.2). */
  readonly cwd?: string
  /** Further variables, which win over those of the request: `{ GIT_PROJECT_ROOT: '/srv/git' }`. */
  readonly variables?: Readonly<Record<string, string>>
  /** Variables of this process that it has too; no other does it see. Default: PATH, LANG, LC_ALL, LC_CTYPE, TZ, TMPDIR, LD_LIBRARY_PATH. */
  readonly inherit?: readonly string[]
  /** Gives DOCUMENT_ROOT, and PATH_TRANSLATED where there is a PATH_INFO. */
  readonly documentRoot?: string
  /** Whether it sees the client's Authorization (Apache: CGIPassAuth). Default false, as RFC 3875 §4.1.18 asks. */
  readonly passAuthorization?: boolean
  /**
   * What serves the path of a local redirect (`Location: /path` alone, §6.2.2): a GET of it, as Apache does, 10 in a row at most.
   * Default: the client is sent there by a 302, as nginx does.
   */
  readonly local?: Application
  /** Ms in which nothing happens before its head is whole: 504. Default 60 s, as Apache's Timeout and nginx's fastcgi_read_timeout. */
  readonly headTimeout?: number
  /** Ms between two pieces of its body: the response is cut. Default 60 s. */
  readonly idleTimeout?: number
  /** Bytes of its response head: 502 above. Default 64 KiB, as the HTTP gateway's head limit. */
  readonly headLimit?: number
  /** Ms between SIGTERM and SIGKILL, and that it may run on after its output has ended. Default 3 s, as Apache's. */
  readonly killGrace?: number
  /** How many of it run at once. Default 16: each is a process with a memory of its own. */
  readonly concurrency?: number
  /** How many requests wait for their turn: 503 above. Default 100. Each waits `headTimeout` at most. */
  readonly queue?: number
  /** Bytes of its standard error that are logged per request. Default 64 KiB. */
  readonly stderrLimit?: number
  /** Takes the lines of its standard error. Default: `wsgi.errors`. */
  readonly log?: Logger
  /** Default: the system's. */
  readonly clock?: Clock
}

const INHERITED = ['PATH', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH']
/** Apache's LimitInternalRecursion. */
const REDIRECTS = 10

/**
 * An application that runs `program` for each request. Mount it where it is to be found: its SCRIPT_NAME and PATH_INFO are the
 * request's.
 *
 * Answers 500 when the program cannot be started, 502 when it gives no valid head or ends badly, 504 when it is silent for too long,
 * 503 when too many run. After the head, a program that exits with other than 0 or is silent for too long has its response cut.
 *
 * @param program a path, from the working directory; never searched in PATH
 * @throws TypeError for an option that is none
 */
export function cgi(program: string, options: CgiOptions = {}): Application {
  return new CgiApplication(program, options).application
}

class CgiApplication {
  readonly application: Application
  readonly #path: string
  readonly #options: CgiOptions
  readonly #clock: Clock
  readonly #headTimeout: number
  readonly #idleTimeout: number
  readonly #queue: CgiQueue
  /** Local redirects that a request has been through, by its `environ.gantry`. */
  readonly #redirects: WeakMap<object, number> = new WeakMap()

  constructor(program: string, options: CgiOptions) {
    check(program, options)
    const { clock = systemClock, headTimeout = 60_000, idleTimeout = 60_000, concurrency = 16, queue = 100 } = options
    this.#path = resolve(program)
    this.#options = options
    this.#clock = clock
    this.#headTimeout = headTimeout
    this.#idleTimeout = idleTimeout
    this.#queue = new CgiQueue({ concurrency, queue, timeout: headTimeout, clock })
    this.application = (environ, startResponse) => this.#serve(environ, startResponse)
  }

  async #serve(environ: Environ, startResponse: StartResponse): Promise<Body> {
    const { head, rest, run } = await this.#run(environ)
    if (head.kind === 'local-redirect') return this.#redirected(environ, startResponse, head.target)
    const length = head.headers.find(([name]) => name.toLowerCase() === 'content-length')
    const body = this.#body(run, rest, environ, length && Number(length[1]))
    try {
      startResponse(head.status, withContentType(head))
    } catch (error) {
      await body.close()
      throw error
    }
    return body
  }

  /** Runs the program until its head is whole. Of a local redirect it has ended then. */
  async #run(environ: Environ): Promise<{ head: CgiHead; rest: Uint8Array; run: CgiProcess }> {
    const { signal } = environ.gantry
    const input = environ['wsgi.input']
    // A body of unknown length is told from none by its first bytes.
    const unknown = environ.CONTENT_LENGTH === undefined
    const first = unknown ? await input.read1() : undefined
    const env = this.#environment(environ, unknown && first!.length > 0)
    await this.#queue.acquire(clientKey(environ.REMOTE_ADDR), signal)
    let run: CgiProcess | undefined
    try {
      run = await this.#start(environ, env)
      const started = run
      // Also for one that left while it was starting.
      if (signal.aborted) throw signal.reason
      signal.addEventListener('abort', () => void started.kill(), { once: true })
      run.feed(first, input)
      const { head, rest } = await this.#head(run, signal)
      if (head.kind === 'local-redirect') {
        await run.finish()
        this.#queue.release()
      }
      return { head, rest, run }
    } catch (error) {
      // The client is not to wait until it has died; who comes next is.
      void Promise.resolve(run?.kill()).then(() => this.#queue.release())
      throw asHttpError(error)
    }
  }

  async #start(environ: Environ, env: Record<string, string>): Promise<CgiProcess> {
    const { args = [], cwd = dirname(this.#path), killGrace = 3_000, stderrLimit = 64 * 1024 } = this.#options
    const program = this.#path
    const onStderr = (line: string): void => this.#logLine(environ, line)
    try {
      return await CgiProcess.start({ program, args, cwd, env, clock: this.#clock, killGrace, stderrLimit, onStderr })
    } catch (error) {
      throw notStarted(error as NodeJS.ErrnoException, program, cwd)
    }
  }

  #logLine(environ: Environ, line: string): void {
    const { log } = this.#options
    if (!log) environ['wsgi.errors'].write(`${line}\n`)
    else log.warn({ requestId: environ.gantry.requestId, source: 'cgi', program: this.#path }, line)
  }

  async #head(run: CgiProcess, signal: AbortSignal): Promise<{ head: CgiHead; rest: Uint8Array }> {
    const reader = new CgiHeadReader(this.#options.headLimit)
    const timedOut = (): Error =>
      new HttpError(504, 'CGI_TIMEOUT', `${this.#path} gave no response head within ${this.#headTimeout} ms`)
    for (;;) {
      const chunk = await run.output.next(this.#headTimeout, run.lastActivity, timedOut, signal)
      if (chunk === null) {
        const exit = await run.finish()
        signal.throwIfAborted()
        const why = reader.ended().message
        throw new HttpError(502, 'CGI_HEAD', `${this.#path}: ${why} (${describeExit(exit)})`)
      }
      const head = reader.receive(chunk)
      if (head) return { head, rest: reader.rest }
    }
  }

  #body(
    run: CgiProcess,
    rest: Uint8Array,
    environ: Environ,
    length: number | undefined,
  ): AsyncIterable<Uint8Array> & { close(): Promise<void> } {
    const { signal } = environ.gantry
    const path = this.#path
    const timeout = this.#idleTimeout
    // Of a HEAD's answer the length is the GET's.
    let left = environ.REQUEST_METHOD === 'HEAD' || length === undefined ? Number.POSITIVE_INFINITY : length
    const within = (chunk: Uint8Array): Uint8Array => {
      const part = chunk.length > left ? chunk.subarray(0, left) : chunk
      left -= part.length
      if (part !== chunk) this.#logLine(environ, `${path} wrote more than its Content-Length; the rest was left out`)
      return part
    }
    const timedOut = (): Error => {
      // It has had its time: none to end by itself.
      void run.kill()
      return new HttpError(504, 'CGI_TIMEOUT', `${path} wrote nothing for ${timeout} ms in its response`)
    }
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let chunk: Uint8Array | null = rest; ; ) {
        const part = within(chunk)
        if (part.length > 0) yield part
        if (part !== chunk) return
        chunk = await run.output.next(timeout, run.lastActivity, timedOut, signal)
        if (chunk === null) break
      }
      const exit = await run.finish()
      // Only its exit tells a whole answer from one that broke off. One that we ended had ended its answer itself.
      if (exit.killed ? signal.aborted : exit.code !== 0) {
        throw new HttpError(502, 'CGI_EXIT', `${path} ended badly within its response (${describeExit(exit)})`)
      }
      if (left > 0 && left !== Number.POSITIVE_INFINITY) {
        throw new HttpError(502, 'CGI_SHORT', `${path} ended ${left} bytes before its Content-Length`)
      }
    }
    let closing: Promise<void> | undefined
    const close = (): Promise<void> =>
      (closing ??= (signal.aborted ? run.kill() : run.finish()).then(() => this.#queue.release()))
    return { [Symbol.asyncIterator]: chunks, close }
  }

  /** RFC 3875 §6.2.2. */
  #redirected(environ: Environ, startResponse: StartResponse, target: string): Body | Promise<Body> {
    const { local } = this.#options
    if (local === undefined) {
      startResponse('302 Found', [
        ['Location', target],
        ['Content-Type', 'text/plain'],
      ])
      return []
    }
    const count = (this.#redirects.get(environ.gantry) ?? 0) + 1
    if (count > REDIRECTS) throw new HttpError(502, 'CGI_LOOP', `${this.#path} was redirected to itself ${count} times`)
    this.#redirects.set(environ.gantry, count)
    const [, path, query] = /^([^?#]*)(?:\?([^#]*))?/.exec(target)!
    const next: Environ = { ...environ, 'wsgi.input': new RequestInput(null) }
    setHeader(next, 'Content-Type', undefined)
    setHeader(next, 'Content-Length', undefined)
    if (environ.REQUEST_METHOD !== 'HEAD') next.REQUEST_METHOD = 'GET'
    next.SCRIPT_NAME = ''
    next.PATH_INFO = decoded(path!)
    next.QUERY_STRING = query ?? ''
    next.REQUEST_URI = target
    next['REDIRECT_STATUS'] = '200'
    next['REDIRECT_URL'] = environ.SCRIPT_NAME + environ.PATH_INFO
    return local(next, startResponse)
  }

  /** As UTF-8, since Node knows no other: bytes that are none cannot be given. */
  #environment(environ: Environ, chunked: boolean): Record<string, string> {
    const { documentRoot, passAuthorization = false, inherit = INHERITED, variables = {} } = this.#options
    const env: Record<string, string> = {}
    for (const name of inherit) {
      const value = process.env[name]
      if (value !== undefined) env[name] = value
    }
    const given = programVariables(environ, {
      program: toLatin1(this.#path),
      documentRoot: documentRoot === undefined ? undefined : toLatin1(resolve(documentRoot)),
      authorization: passAuthorization,
      chunked,
    })
    for (const [name, value] of given) {
      const bytes = Buffer.from(value, 'latin1')
      if (isUtf8(bytes) && !value.includes('\0')) env[name] = bytes.toString()
      // A program can do without a header. What it is asked for must not be something else than it was.
      else if (!name.startsWith('HTTP_')) {
        throw new HttpError(400, 'CGI_BYTES', `${name} is not valid UTF-8 and cannot be given to a CGI program`)
      }
    }
    return Object.assign(env, variables)
  }
}

/**
 * With a Content-Type, which PEP 3333's checkers want of what may have a body, and RFC 3875 §6.3.1 of the program: text/plain where it
 * gave none, as servers did for long (Apache's DefaultType) and no browser would run.
 */
function withContentType({ status, headers }: Extract<CgiHead, { kind: 'response' }>): Headers {
  if (/^(?:204|205|304)/.test(status) || headers.some(([name]) => name.toLowerCase() === 'content-type')) return headers
  return [...headers, ['Content-Type', 'text/plain']]
}

function toLatin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}

function decoded(path: string): string {
  return path.replace(/%(?:([0-9A-Fa-f]{2})|)/g, (sequence: string, hex: string | undefined) => {
    if (hex === undefined || hex === '00') {
      throw new HttpError(
        502,
        'CGI_HEAD',
        `the program's Location holds ${JSON.stringify(sequence)}, which is no escape`,
      )
    }
    return String.fromCharCode(Number.parseInt(hex, 16))
  })
}

function describeExit({ code, signal, killed }: Exit): string {
  if (killed) return 'it was killed'
  return signal === null ? `exit code ${code}` : `ended by ${signal}`
}

function asHttpError(error: unknown): unknown {
  return error instanceof RemoteProtocolError ? new HttpError(error.status, error.code, error.message) : error
}

/** Why the system did not start it, for who reads the log. */
function notStarted(error: NodeJS.ErrnoException, program: string, cwd: string): HttpError {
  const fail = (status: number, why: string): HttpError =>
    new HttpError(status, 'CGI_START', `the CGI program ${program} cannot be started: ${why}`, { cause: error })
  switch (error.code) {
    case 'E2BIG':
      return fail(431, 'the request is larger than a process environment may be')
    case 'EAGAIN':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      return fail(503, `the system has no room for another process (${error.code})`)
  }
  if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) return fail(500, `there is no directory ${cwd}`)
  const stat = statSync(program, { throwIfNoEntry: false })
  if (!stat) return fail(500, 'there is no such file')
  if (!stat.isFile()) return fail(500, 'it is not a file')
  try {
    accessSync(program, constants.X_OK)
  } catch {
    return fail(500, 'it is not executable (chmod +x)')
  }
  return fail(500, error.code === 'ENOENT' ? 'the interpreter in its first line is not there' : error.message)
}

const milliseconds = orMore('a number of milliseconds')

const OPTIONS: OptionForms<CgiOptions> = {
  args: listOf('strings', (argument) => typeof argument === 'string'),
  cwd: anyText,
  variables: { ...record('strings by name'), secret: true },
  inherit: listOf("variables' names", isText),
  documentRoot: anyText,
  passAuthorization: flag,
  local: anApplication,
  headTimeout: milliseconds,
  idleTimeout: milliseconds,
  headLimit: wholeNumber(1, 'bytes'),
  killGrace: milliseconds,
  concurrency: wholeNumber(1),
  queue: wholeNumber(0),
  stderrLimit: wholeNumber(0, 'bytes'),
  log: logger('debug', 'info', 'warn', 'error'),
  clock: aClock,
}

function check(program: string, options: CgiOptions): void {
  const refuse = (got: string, expected: string): never => {
    throw new TypeError(`cgi: the program is ${got}, ${expected}`)
  }
  if (typeof program !== 'string' || program === '')
    refuse(inspect(program, { depth: 0 }), 'expected the path of a file')
  // §5 and every server's custom: such a program writes HTTP itself.
  if (basename(program).startsWith('nph-')) {
    refuse(inspect(program), 'which by its name writes HTTP itself; non-parsed headers are not supported')
  }
  checkOptions('cgi', options, OPTIONS)
  for (const [name, value] of Object.entries(options.variables ?? {})) {
    if (typeof value !== 'string' || /[\0=]/.test(name) || value.includes('\0')) {
      // The value may be a secret.
      throw new TypeError(
        `cgi: the option variables.${name} is of type ${typeof value}, expected a name without "=", and a string, both without NUL`,
      )
    }
  }
}
