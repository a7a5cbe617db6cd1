/**
 * The application contract: PEP 3333 in TypeScript, and nothing else.
 *
 * An application is a function of an environ and `startResponse` that gives back the body as an iterable of bytes.
 * Everything in Gantry is one: the app a container serves, each middleware, the proxy's pool of remote containers,
 * an error page. This file holds only types. Who calls an application is `exchange.ts`; who checks it is `lint.ts`.
 */

import type { FileHandle } from 'node:fs/promises'
import type { Duplex } from 'node:stream'

/** Header fields in the order they are sent: native strings (every code unit is at most U+00FF), PEP 3333 §"The start_response() Callable". */
export type Headers = Array<[name: string, value: string]>

/**
 * Sends a chunk before anything that is iterated. Resolves once there is room for more; an empty chunk sends the head.
 * Rejects when the response was aborted.
 */
export type Write = (chunk: Uint8Array) => Promise<void>

/**
 * Begins a response. `status` is a code and a reason (`'200 OK'`).
 *
 * Without `excInfo` a second call is an error. With it, headers that were not yet sent are replaced; if they were
 * sent, `excInfo` is thrown and the response is visibly aborted.
 *
 * @throws TypeError for a bad status line or header; it names the value and the rule.
 */
export type StartResponse = (status: string, headers: Headers, excInfo?: unknown) => Write

/**
 * What an application returns. `close()` is called exactly once, on every path. A chunk is the gateway's once it was given: it is sent
 * without a copy, and must not be written to again.
 */
export type Body = (Iterable<Uint8Array> | AsyncIterable<Uint8Array>) & { close?(): void | Promise<void> }

export type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>

/** Both sides of the contract at once: takes an application and is one. */
export type Middleware = (application: Application) => Application

/** `wsgi.input`: the request's body, read forwards once, under flow control. */
export interface Input extends AsyncIterable<Uint8Array> {
  /** Exactly `size` bytes, fewer only at the end of the input; without `size`, all that is left. */
  read(size?: number): Promise<Uint8Array>
  /** At least one byte and at most `size`, as soon as there are any; empty at the end (as io.BufferedIOBase.read1). */
  read1(size?: number): Promise<Uint8Array>
  /** Up to and with the next `\n`, at most `size` bytes. */
  readline(size?: number): Promise<Uint8Array>
  /** Lines until the end, or until at least `hint` bytes were read. */
  readlines(hint?: number): Promise<Uint8Array[]>
  /** The request's trailer fields, known once the input has ended; empty if there were none. Rejects as a read would. */
  readonly trailers: Promise<Headers>
}

/** `wsgi.errors`: lines go to the container's own log with the request's id. */
export interface ErrorStream {
  write(text: string): void
  writelines(lines: Iterable<string>): void
  flush(): void
}

/** `environ.gantry`: what Gantry knows of a request beyond PEP 3333. */
export interface RequestContext {
  /** Aborted when the client is gone, a deadline passed, or a drain timed out; not when a drain starts. */
  readonly signal: AbortSignal
  readonly requestId: string
  /** The filtered header lines as received: order, case and repetition kept. Edit through `setHeader`. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
  /** Whether this process has begun to drain: long-lived responses may want to end. */
  readonly draining: boolean
  /**
   * Whether this process is to stop. During the drain delay (`--drain-delay`) it is true while `draining` is still
   * false: requests are served, but health checks should fail. Absent in contexts of older releases.
   */
  readonly leaving?: boolean
  /** Sends a 103 Early Hints now (RFC 8297). Without effect where the client's protocol has none, or after the head. */
  earlyHints(headers: Headers): void
  /** Sets what gives the response's trailer fields once its body has ended. */
  trailers(fields: () => Headers | Promise<Headers>): void
  /** After `startResponse('101 …')` on an upgrade request: sends the head and gives the raw connection. */
  upgrade(): Duplex
  /** Calls back once, when the response has ended or was cut short: for logs and counters. */
  onFinished(callback: (outcome: Outcome) => void): void
}

/** How a request ended. */
export interface Outcome {
  /** Status code sent, by the application or by its gateway in its place; 0 if no head was sent. */
  status: number
  /** Body bytes given to the gateway; after an upgrade, the bytes written to the connection. */
  bytes: number
  /** Why it was cut short, if it was. */
  aborted: Error | undefined
  /** From the request's head to the response's end. */
  milliseconds: number
}

/** A request, as a plain object of the application's own to change. Strings are bytes-as-latin1 ("native strings"). */
export interface Environ {
  REQUEST_METHOD: string
  SCRIPT_NAME: string
  PATH_INFO: string
  QUERY_STRING: string
  SERVER_NAME: string
  SERVER_PORT: string
  SERVER_PROTOCOL: string
  CONTENT_TYPE?: string
  CONTENT_LENGTH?: string
  REQUEST_URI: string
  REMOTE_ADDR: string
  REMOTE_PORT: string
  REQUEST_SCHEME: string
  HTTPS?: string
  SERVER_SOFTWARE: string
  GATEWAY_INTERFACE: string
  'wsgi.version': readonly [1, 0]
  'wsgi.url_scheme': string
  'wsgi.input': Input
  'wsgi.errors': ErrorStream
  'wsgi.multithread': boolean
  'wsgi.multiprocess': boolean
  'wsgi.run_once': boolean
  'wsgi.input_terminated': boolean
  'wsgi.file_wrapper': FileWrapper
  gantry: RequestContext
  [variable: string]: unknown
}

/** `wsgi.file_wrapper`: a readable thing as a body, read `blockSize` bytes at a time (PEP 3333 §"Optional Platform-Specific File Handling"). */
export type FileWrapper = (file: FileLike | FileHandle, blockSize?: number) => Body

/** What `wsgi.file_wrapper` takes besides a `FileHandle`: `read` gives at most `size` bytes, and none (or null) at the end. */
export interface FileLike {
  read(size: number): Uint8Array | null | Promise<Uint8Array | null>
  close?(): void | Promise<void>
}
