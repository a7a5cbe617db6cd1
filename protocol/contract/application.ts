/**
 * The application contract: the types of PEP 3333 in TypeScript, and nothing else. The user's application, each
 * middleware, an error page and the proxy's pool of containers are all an `Application`.
 */

import type { FileHandle } from 'node:fs/promises'
import type { Duplex } from 'node:stream'

/**
 * Header fields in the order in which they are sent. Names and values are native strings: every code unit is at most
 * U+00FF (PEP 3333, "The start_response() Callable").
 */
export type Headers = Array<[name: string, value: string]>

/**
 * Sends a chunk before the chunks of the returned body. An empty chunk sends the head alone. The promise resolves once
 * the server can take more, and rejects if the response was aborted.
 */
export type Write = (chunk: Uint8Array) => Promise<void>

/**
 * Begins a response (PEP 3333, "The start_response() Callable"). `status` is a code and a reason, such as `'200 OK'`.
 *
 * A second call without `excInfo` is an error. A second call with `excInfo` replaces the headers if they were not sent
 * yet; if they were sent, it throws `excInfo` and aborts the response, so that the client sees the failure.
 *
 * @throws TypeError if the status or a header is invalid; the message names the value and the rule
 */
export type StartResponse = (status: string, headers: Headers, excInfo?: unknown) => Write

/**
 * The body that an application returns. The server calls `close()` exactly once, also after an error or an abort.
 *
 * A chunk belongs to the server once the body has yielded it: the server sends it without a copy, so the application
 * must not write to it again.
 */
export type Body = (Iterable<Uint8Array> | AsyncIterable<Uint8Array>) & { close?(): void | Promise<void> }

/** An application: it takes a request and a function that begins the response, and returns the body (PEP 3333). */
export type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>

/** A function that takes an application and returns an application with additional behaviour. */
export type Middleware = (application: Application) => Application

/** `wsgi.input`: the body of the request, read once and forwards, with flow control. */
export interface Input extends AsyncIterable<Uint8Array> {
  /** Reads exactly `size` bytes, fewer only at the end of the input; without `size`, everything that is left. */
  read(size?: number): Promise<Uint8Array>
  /**
   * Reads between one byte and `size` bytes, as soon as bytes are available; the result is empty at the end of the
   * input (as `io.BufferedIOBase.read1` of Python).
   */
  read1(size?: number): Promise<Uint8Array>
  /** Reads up to and including the next `\n`, at most `size` bytes. */
  readline(size?: number): Promise<Uint8Array>
  /** Reads lines until the end of the input, or until the lines have at least `hint` bytes. */
  readlines(hint?: number): Promise<Uint8Array[]>
  /**
   * The trailer fields of the request; empty if it has none. They are known when the input has ended. The promise
   * rejects for the same reasons as a read.
   */
  readonly trailers: Promise<Headers>
}

/** `wsgi.errors`: its lines go to the log of the container, with the request's id. */
export interface ErrorStream {
  write(text: string): void
  writelines(lines: Iterable<string>): void
  flush(): void
}

/** `environ.gantry`: what Gantry provides for a request beyond PEP 3333. */
export interface RequestContext {
  /** Aborts if the client disconnects, a deadline passes, or a drain times out; not when a drain starts. */
  readonly signal: AbortSignal
  /** The id of the request in logs and in `X-Request-Id`. */
  readonly requestId: string
  /** The header lines as received, after filtering, in their order and case. Change them with `setHeader`. */
  readonly rawHeaders: ReadonlyArray<readonly [name: string, value: string]>
  /** Whether this process is draining. Long-lived responses can use it to end early. */
  readonly draining: boolean
  /**
   * Whether this process is about to stop. During the drain delay (`--drain-delay`) `leaving` is already true and
   * `draining` is still false: the process serves requests, but health checks should fail. Contexts of older releases
   * do not have it.
   */
  readonly leaving?: boolean
  /**
   * Sends a 103 Early Hints response now (RFC 8297). Has no effect after the head was sent, or if the client's protocol
   * has no informational responses.
   */
  earlyHints(headers: Headers): void
  /** Sets a function that returns the trailer fields of the response; it is called when the body has ended. */
  trailers(fields: () => Headers | Promise<Headers>): void
  /** Sends the head after `startResponse('101 …')` on an upgrade request, and returns the raw connection. */
  upgrade(): Duplex
  /** Calls `callback` once, when the response is complete or was aborted. Use it for logs and counters. */
  onFinished(callback: (outcome: Outcome) => void): void
}

/** How a request ended. */
export interface Outcome {
  /** The status code that was sent, by the application or by its gateway; 0 if no head was sent. */
  status: number
  /** Body bytes passed to the gateway; after an upgrade, the bytes written to the connection. */
  bytes: number
  /** Why the response was aborted; undefined if it is complete. */
  aborted: Error | undefined
  /** Time from the head of the request to the end of the response, ms. */
  milliseconds: number
}

/**
 * A request: a plain object that belongs to the application, which may change it. Strings are native strings: bytes as
 * latin1.
 */
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

/**
 * `wsgi.file_wrapper`: makes a body of a file, which is read `blockSize` bytes at a time (PEP 3333, "Optional
 * Platform-Specific File Handling").
 */
export type FileWrapper = (file: FileLike | FileHandle, blockSize?: number) => Body

/**
 * What `wsgi.file_wrapper` accepts besides a `FileHandle`: `read` returns at most `size` bytes, and an empty array or
 * null at the end.
 */
export interface FileLike {
  read(size: number): Uint8Array | null | Promise<Uint8Array | null>
  close?(): void | Promise<void>
}
