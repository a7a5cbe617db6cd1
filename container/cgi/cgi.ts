/**
 * Runs a CGI program as an application (RFC 3875): each request starts the program, writes the request to it and reads
 * its response. `cgi-process.ts` owns the process; `protocol/cgi/` has the head and the variables. Where the RFC leaves
 * a choice, this file does what Apache's mod_cgi does, except that a truncated response never looks complete.
 */

import { isUtf8 } from 'node:buffer'
import { accessSync, constants, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type CgiHead, CgiHeadReader } from '../../protocol/cgi/codec/head.ts'
import { programVariables } from '../../protocol/cgi/codec/variables.ts'
import { clientKey } from '../../protocol/client/client-key.ts'
import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { isBodylessStatus } from '../../protocol/contract/bodyless.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { HttpCode } from '../../protocol/contract/error-codes.ts'
import { HttpError, RemoteProtocolError } from '../../protocol/contract/errors.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { CgiProcess, type Exit } from './cgi-process.ts'
import { CgiQueue } from './cgi-queue.ts'
import { type CgiOptions, checkCgiOptions } from './program-options.ts'

const INHERITED = ['PATH', 'LANG', 'LC_ALL', 'LC_CTYPE', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH']
/** Apache's LimitInternalRecursion. */
const REDIRECTS = 10

/**
 * Returns an application that runs a CGI program for each request. The program gets the request's SCRIPT_NAME and
 * PATH_INFO: mount the application at the path where clients find the program.
 *
 * Answers 500 if the program cannot be started, 502 if its head is invalid or it fails before its head, 503 if too many
 * run, and 504 if it is silent for too long. After the head, a program that exits with a code other than 0 or is silent
 * for too long has its response truncated.
 *
 * @param program a path, resolved from the working directory; PATH is not searched
 * @param options limits and timeouts
 * @throws TypeError if the program or an option is invalid
 * @example
 * ```ts
 * import { cgi, makeServer } from 'gantry/container'
 *
 * const application = cgi('/usr/lib/git-core/git-http-backend', {
 *   variables: { GIT_PROJECT_ROOT: '/srv/git', GIT_HTTP_EXPORT_ALL: '' },
 *   headTimeout: 10_000,
 * })
 * const server = await makeServer('127.0.0.1', 8080, application)
 * await server.serveForever()
 * ```
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
  /** The number of local redirects of each request, by its `environ.gantry`. */
  readonly #redirects: WeakMap<object, number> = new WeakMap()

  constructor(program: string, options: CgiOptions) {
    checkCgiOptions(program, options)
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

  /** Runs the program until its head is complete, and to its end if the head is a local redirect. */
  async #run(environ: Environ): Promise<{ head: CgiHead; rest: Uint8Array; run: CgiProcess }> {
    const { signal } = environ.gantry
    const input = environ['wsgi.input']
    // A body of unknown length may be empty: only its first bytes show that.
    const unknown = environ.CONTENT_LENGTH === undefined
    const first = unknown ? await input.read1() : undefined
    const env = this.#environment(environ, unknown && first!.length > 0)
    await this.#queue.acquire(clientKey(environ.REMOTE_ADDR), signal)
    let run: CgiProcess | undefined
    try {
      run = await this.#start(environ, env)
      const started = run
      // The client may have disconnected while the program was starting.
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
      // The response does not wait until the program has ended; the next request in the queue does.
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
      httpError(
        'CGI_TIMEOUT',
        `the CGI program ${this.#path} wrote no response head within ${this.#headTimeout} ms (headTimeout)`,
      )
    for (;;) {
      const chunk = await run.output.next(this.#headTimeout, run.lastActivity, timedOut, signal)
      if (chunk === null) {
        const exit = await run.finish()
        signal.throwIfAborted()
        const why = reader.ended().message
        throw httpError('CGI_HEAD', `${this.#path}: ${why} (${describeExit(exit)})`)
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
    // The Content-Length of a response to HEAD is the length of the GET response.
    let left = environ.REQUEST_METHOD === 'HEAD' || length === undefined ? Number.POSITIVE_INFINITY : length
    const within = (chunk: Uint8Array): Uint8Array => {
      const part = chunk.length > left ? chunk.subarray(0, left) : chunk
      left -= part.length
      if (part !== chunk) this.#logLine(environ, `${path} wrote more than its Content-Length; the rest was dropped`)
      return part
    }
    const timedOut = (): Error => {
      // The program has had its time: it gets no grace period.
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
        chunk = await run.output.next(timeout, run.lastActivity, timedOut, signal)
        if (chunk === null) break
      }
      const exit = await run.finish()
      // Only the exit code shows whether the response is complete. A program that we killed had ended its response
      // before.
      if (exit.killed ? signal.aborted : exit.code !== 0) {
        throw httpError('CGI_EXIT', `the CGI program ${path} failed during its response (${describeExit(exit)})`)
      }
      if (left > 0 && left !== Number.POSITIVE_INFINITY) {
        throw httpError('CGI_SHORT', `the CGI program ${path} wrote ${left} bytes fewer than its Content-Length`)
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

  /** Node encodes variables as UTF-8 only: other bytes cannot be passed. */
  #environment(environ: Environ, chunked: boolean): Record<string, string> {
    const { documentRoot, passAuthorization = false, inherit = INHERITED, variables = {} } = this.#options
    const env: Record<string, string> = {}
    for (const name of inherit) {
      const value = process.env[name]
      if (value !== undefined) env[name] = value
    }
    const requestVariables = programVariables(environ, {
      program: toLatin1(this.#path),
      documentRoot: documentRoot === undefined ? undefined : toLatin1(resolve(documentRoot)),
      authorization: passAuthorization,
      chunked,
    })
    for (const [name, value] of requestVariables) {
      const bytes = Buffer.from(value, 'latin1')
      if (isUtf8(bytes) && !value.includes('\0')) env[name] = bytes.toString()
      // The program can do without a header. But the request line must not change.
      else if (!name.startsWith('HTTP_')) {
        throw httpError('CGI_BYTES', `the variable ${name} is not valid UTF-8; an environment cannot hold it`)
      }
    }
    return Object.assign(env, variables)
  }
}

/**
 * Adds a Content-Type if the program gave none: validators of PEP 3333 expect one on a response that may have a body,
 * and RFC 3875 §6.3.1 requires it. text/plain, as servers did for long (Apache's DefaultType): no browser executes it.
 */
function withContentType({ status, headers }: Extract<CgiHead, { kind: 'response' }>): Headers {
  if (isBodylessStatus(Number(status.slice(0, 3))) || headers.some(([name]) => name.toLowerCase() === 'content-type'))
    return headers
  return [...headers, ['Content-Type', 'text/plain']]
}

function toLatin1(text: string): string {
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

function describeExit({ code, signal, killed }: Exit): string {
  if (killed) return 'it was killed'
  return signal === null ? `exit code ${code}` : `ended by ${signal}`
}

function asHttpError(error: unknown): unknown {
  return error instanceof RemoteProtocolError ? new HttpError(error.status, error.code, error.message) : error
}

/** Explains for the log why the system did not start the program. */
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
