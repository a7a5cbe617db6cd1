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
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { HttpCode } from '../../protocol/contract/error-codes.ts'
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
import { Turns } from './cgi-queue.ts'

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
  return new Program(program, options).application
}

class Program {
  readonly application: Application
  readonly #path: string
  readonly #options: CgiOptions
  readonly #clock: Clock
  readonly #headTimeout: number
  readonly #idleTimeout: number
  readonly #turns: Turns
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
    this.#turns = new Turns({ concurrency, queue, timeout: headTimeout, clock })
    this.application = (environ, startResponse) => this.#serve(environ, startResponse)
  }

  async #serve(environ: Environ, startResponse: StartResponse): Promise<Body> {
    const { head, rest, run } = await this.#answer(environ)
    if (head.kind === 'local-redirect') return this.#redirected(environ, startResponse, head.target)
    const length = head.headers.find(([name]) => name.toLowerCase() === 'content-length')
    const body = this.#body(run, rest, environ, length && Number(length[1]))
    try {
      startResponse(head.status, typed(head))
    } catch (error) {
      await body.close()
      throw error
    }
    return body
  }

  /** Runs the program until its head is whole. Of a local redirect it has ended then. */
  async #answer(environ: Environ): Promise<{ head: CgiHead; rest: Uint8Array; run: CgiProcess }> {
    const { signal } = environ.gantry
    const input = environ['wsgi.input']
    // A body of unknown length is told from none by its first bytes.
    const unknown = environ.CONTENT_LENGTH === undefined
    const first = unknown ? await input.read1() : undefined
    const env = this.#environment(environ, unknown && first!.length > 0)
    await this.#turns.begin(clientKey(environ.REMOTE_ADDR), signal)
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
        this.#turns.end()
      }
      return { head, rest, run }
    } catch (error) {
      // The client is not to wait until it has died; who comes next is.
      void Promise.resolve(run?.kill()).then(() => this.#turns.end())
      throw asHttpError(error)
    }
  }

  async #start(environ: Environ, env: Record<string, string>): Promise<CgiProcess> {
    const { args = [], cwd = dirname(this.#path), killGrace = 3_000, stderrLimit = 64 * 1024 } = this.#options
    const program = this.#path
    const onStderr = (line: string): void => this.#say(environ, line)
    try {
      return await CgiProcess.start({ program, args, cwd, env, clock: this.#clock, killGrace, stderrLimit, onStderr })
    } catch (error) {
      throw notStarted(error as NodeJS.ErrnoException, program, cwd)
    }
  }

  #say(environ: Environ, line: string): void {
    const { log } = this.#options
    if (!log) environ['wsgi.errors'].write(`${line}\n`)
    else log.warn({ requestId: environ.gantry.requestId, source: 'cgi', program: this.#path }, line)
  }

  async #head(run: CgiProcess, signal: AbortSignal): Promise<{ head: CgiHead; rest: Uint8Array }> {
    const reader = new CgiHeadReader(this.#options.headLimit)
    const late = (): Error =>
      httpError(
        'CGI_TIMEOUT',
        `the CGI program ${this.#path} wrote no response head within ${this.#headTimeout} ms (headTimeout)`,
      )
    for (;;) {
      const chunk = await run.output.next(this.#headTimeout, run.busySince, late, signal)
      if (chunk === null) {
        const exit = await run.finish()
        signal.throwIfAborted()
        const why = reader.ended().message
        throw httpError('CGI_HEAD', `${this.#path}: ${why} (${described(exit)})`)
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
      if (part !== chunk) this.#say(environ, `${path} wrote more than its Content-Length; the rest was left out`)
      return part
    }
    const late = (): Error => {
      // It has had its time: none to end by itself.
      void run.kill()
      return httpError(
        'CGI_TIMEOUT',
        `the CGI program ${path} wrote nothing for ${timeout} ms during its response (idleTimeout)`,
      )
    }
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let chunk: Uint8Array | null = rest; ; ) {
        const part = within(chunk)
        if (part.length > 0) yield part
        if (part !== chunk) return
        chunk = await run.output.next(timeout, run.busySince, late, signal)
        if (chunk === null) break
      }
      const exit = await run.finish()
      // Only its exit tells a whole answer from one that broke off. One that we ended had ended its answer itself.
      if (exit.killed ? signal.aborted : exit.code !== 0) {
        throw httpError('CGI_EXIT', `the CGI program ${path} failed during its response (${described(exit)})`)
      }
      if (left > 0 && left !== Number.POSITIVE_INFINITY) {
        throw httpError('CGI_SHORT', `the CGI program ${path} wrote ${left} bytes fewer than its Content-Length`)
      }
    }
    let closing: Promise<void> | undefined
    const close = (): Promise<void> =>
      (closing ??= (signal.aborted ? run.kill() : run.finish()).then(() => this.#turns.end()))
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
    if (count > REDIRECTS)
      throw httpError('CGI_LOOP', `the CGI program ${this.#path} redirected to itself ${count} times`)
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
      program: native(this.#path),
      documentRoot: documentRoot === undefined ? undefined : native(resolve(documentRoot)),
      authorization: passAuthorization,
      chunked,
    })
    for (const [name, value] of given) {
      const bytes = Buffer.from(value, 'latin1')
      if (isUtf8(bytes) && !value.includes('\0')) env[name] = bytes.toString()
      // A program can do without a header. What it is asked for must not be something else than it was.
      else if (!name.startsWith('HTTP_')) {
        throw httpError('CGI_BYTES', `the variable ${name} is not valid UTF-8; an environment cannot hold it`)
      }
    }
    return Object.assign(env, variables)
  }
}

/**
 * With a Content-Type, which PEP 3333's checkers want of what may have a body, and RFC 3875 §6.3.1 of the program: text/plain where it
 * gave none, as servers did for long (Apache's DefaultType) and no browser would run.
 */
function typed({ status, headers }: Extract<CgiHead, { kind: 'response' }>): Headers {
  if (/^(?:204|205|304)/.test(status) || headers.some(([name]) => name.toLowerCase() === 'content-type')) return headers
  return [...headers, ['Content-Type', 'text/plain']]
}

function native(text: string): string {
  return Buffer.from(text).toString('latin1')
}

function decoded(path: string): string {
  return path.replace(/%(?:([0-9A-Fa-f]{2})|)/g, (sequence: string, hex: string | undefined) => {
    if (hex === undefined || hex === '00') {
      throw httpError(
        'CGI_HEAD',
        `the Location of the program contains an invalid percent escape: ${JSON.stringify(sequence)}`,
      )
    }
    return String.fromCharCode(Number.parseInt(hex, 16))
  })
}

function described({ code, signal, killed }: Exit): string {
  if (killed) return 'it was killed'
  return signal === null ? `exit code ${code}` : `ended by ${signal}`
}

function asHttpError(error: unknown): unknown {
  return error instanceof RemoteProtocolError ? new HttpError(error.status, error.code, error.message) : error
}

/** Why the system did not start it, for who reads the log. */
function notStarted(error: NodeJS.ErrnoException, program: string, cwd: string): HttpError {
  const fail = (code: HttpCode, why: string): HttpError =>
    httpError(code, `cannot start the CGI program ${program}: ${why}`, { cause: error })
  switch (error.code) {
    case 'E2BIG':
      return fail(
        'CGI_REQUEST_TOO_LARGE',
        'the variables of the request are larger than the environment of a process may be',
      )
    case 'EAGAIN':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      return fail('CGI_NO_PROCESS', `the system has no room for another process (${error.code})`)
  }
  if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) {
    return fail('CGI_START', `there is no directory ${cwd}`)
  }
  const stat = statSync(program, { throwIfNoEntry: false })
  if (!stat) return fail('CGI_START', 'there is no such file')
  if (!stat.isFile()) return fail('CGI_START', 'it is not a file')
  try {
    accessSync(program, constants.X_OK)
  } catch {
    return fail('CGI_START', 'it is not executable; run chmod +x')
  }
  return fail(
    'CGI_START',
    error.code === 'ENOENT' ? 'the interpreter that its first line names does not exist' : error.message,
  )
}

const patience = orMore('a number of milliseconds')

const OPTIONS: OptionForms<CgiOptions> = {
  args: listOf('strings', (argument) => typeof argument === 'string'),
  cwd: anyText,
  variables: { ...record('strings by name'), secret: true },
  inherit: listOf("variables' names", isText),
  documentRoot: anyText,
  passAuthorization: flag,
  local: anApplication,
  headTimeout: patience,
  idleTimeout: patience,
  headLimit: wholeNumber(1, 'bytes'),
  killGrace: patience,
  concurrency: wholeNumber(1),
  queue: wholeNumber(0),
  stderrLimit: wholeNumber(0, 'bytes'),
  log: logger('debug', 'info', 'warn', 'error'),
  clock: aClock,
}

function check(program: string, options: CgiOptions): void {
  const refuse = (came: string, due: string): never => {
    throw new TypeError(`cgi: the program is ${came}, ${due}`)
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
