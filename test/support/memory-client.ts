/**
 * A gateway without a wire: requests become exchanges of an application in this process, with a flow-controlled input
 * and a sink that collects the response. The behaviour suite runs over it directly, and over frames with a remote
 * application.
 */

import type { Duplex } from 'node:stream'
import { duplexPair } from 'node:stream'
import { resolveClient } from '../../protocol/client/resolve-client.ts'
import type { Application, Headers } from '../../protocol/contract/application.ts'
import { environFromHttp, type ProcessFacts } from '../../protocol/contract/environ.ts'
import { AbortError, RemoteProtocolError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, Deadlines, systemClock } from '../../protocol/net/clock.ts'
import { Growing, type Head, type RequestOptions, type Sent } from './client.ts'
import { RecordingLog } from './log.ts'

/** Bytes that are pushed before the application reads them: the capacity of a socket's buffer or of a window. */
const WINDOW = 64 * 1024

export const facts: ProcessFacts = { multithread: true, multiprocess: false, runOnce: false }

/** A host that counts the running exchanges. */
export class MemoryHost implements ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  draining = false
  readonly #settled: WeakSet<Exchange> = new WeakSet()
  #running = 0
  /** Calls of the host or of a sink that an exchange must not make. */
  readonly faults: string[] = []
  #idle: (() => void)[] = []

  constructor(log: Logger = new RecordingLog(), clock: Clock = systemClock) {
    this.clock = clock
    this.log = log
    this.deadlines = new Deadlines(clock)
  }

  /** Takes a slot; a slot is always free. */
  admit(): true {
    this.#running += 1
    return true
  }

  settled(exchange: Exchange): void {
    if (this.#settled.has(exchange)) this.faults.push(`${exchange.environ.REQUEST_URI} settled twice`)
    this.#settled.add(exchange)
    this.#running -= 1
    if (this.#running > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Resolves when no exchange runs. */
  idle(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }
}

export class MemoryClient {
  readonly host: MemoryHost
  readonly #application: Application

  constructor(application: Application, host: MemoryHost = new MemoryHost()) {
    this.#application = application
    this.host = host
  }

  request(options: RequestOptions): Sent {
    const { method = 'GET', target, minor = 1, body } = options
    const headers: Headers = [...(options.headers ?? [])]
    const has = (name: string): boolean => headers.some(([other]) => other.toLowerCase() === name)
    if (!has('host')) headers.unshift(['Host', 'gantry.test'])
    const streamed = body === 'stream'
    if (body !== undefined && !streamed && !options.chunked && !has('content-length')) {
      headers.push(['Content-Length', String(Buffer.byteLength(body as string))])
    }
    const upgrade = has('upgrade')
    const growing = new Growing()
    const declared = headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1]
    const upload = new Upload(body !== undefined, declared === undefined ? undefined : Number(declared), () => {
      if (minor === 1 && has('expect') && !exchange.responded)
        growing.inform({ status: 100, reason: 'Continue', headers: [] })
    })
    const sink = new MemorySink(growing, method, this.host.faults, () => exchange.resume())
    let environ: ReturnType<typeof environFromHttp>
    try {
      environ = environFromHttp(
        { method, target, minor, headers: headers.flat(), upgrade },
        {
          remoteAddress: '127.0.0.1',
          remotePort: '40000',
          serverName: 'gantry.test',
          serverPort: '80',
          scheme: 'http',
        },
        facts,
      )
      resolveClient(environ, undefined)
    } catch (error) {
      // As a gateway answers an invalid request.
      if (!(error instanceof RemoteProtocolError)) throw error
      growing.head({ status: error.status, reason: 'Bad Request', headers: [] }, 'memory')
      growing.end(true)
      return sent(growing, sink, upload, () => {})
    }
    const exchange = new Exchange(this.#application, environ, upload.input, sink, this.host)
    this.host.admit()
    if (body !== undefined && !streamed) {
      void upload.send(Buffer.from(body as string))
      upload.finish()
    }
    exchange.run()
    return sent(growing, sink, upload, () => {
      sink.stop()
      const error = new AbortError('CLIENT_GONE', 'the client has gone')
      exchange.abort(error)
      growing.end(false, 'aborted by the client')
    })
  }
}

function sent(growing: Growing, sink: MemorySink, upload: Upload, abort: () => void): Sent {
  return {
    send: async (chunk) => {
      const bytes = Buffer.from(chunk as string)
      if (sink.raw) sink.raw.write(bytes)
      else await upload.send(bytes)
    },
    finish: (trailers = []) => {
      if (sink.raw) sink.raw.end()
      else upload.finish(trailers)
    },
    pause: () => {
      sink.paused = true
    },
    abort: () => {
      sink.raw?.destroy()
      abort()
    },
    informed: (count) => growing.informed(count),
    head: () => growing.whenHead(),
    has: (length) => growing.has(length),
    whole: () => growing.whole(),
  }
}

/** The body of a request in transit, at most one window ahead of the reader. */
class Upload implements InputSource {
  readonly input: RequestInput
  readonly #expected: () => void
  #queue: { bytes: Uint8Array; resolve: () => void }[] = []
  #trailers: string[] | undefined
  /** The remaining bytes, if the request declares a length. */
  #left: number | undefined

  constructor(body: boolean, declared: number | undefined, expected: () => void) {
    this.#left = declared
    this.input = new RequestInput(body ? this : null)
    this.#expected = expected
  }

  wanted(): void {
    this.#expected()
  }

  consumed(): void {
    this.#pump()
  }

  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      for (let at = 0; at < bytes.length; at += WINDOW) {
        const last = at + WINDOW >= bytes.length
        this.#queue.push({ bytes: bytes.subarray(at, at + WINDOW), resolve: last ? resolve : () => {} })
      }
      if (bytes.length === 0) resolve()
      this.#pump()
    })
  }

  finish(trailers: [string, string][] = []): void {
    this.#trailers = trailers.flat()
    this.#pump()
  }

  #pump(): void {
    while (this.#queue[0] && this.input.buffered < WINDOW) {
      const { bytes, resolve } = this.#queue.shift()!
      this.input.push(bytes)
      if (this.#left !== undefined && (this.#left -= bytes.length) === 0) this.#trailers ??= []
      resolve()
    }
    if (this.#queue.length === 0 && this.#trailers && !this.input.ended) this.input.end(this.#trailers)
  }
}

/**
 * Checks how the exchange calls a sink, and collects the response. After a write that fills it, it has room again one
 * event-loop iteration later.
 */
class MemorySink implements ResponseSink {
  readonly #growing: Growing
  readonly #method: string
  readonly #resume: () => void
  readonly #faults: string[]
  #state: 'new' | 'body' | 'over' | 'gone' = 'new'
  #unsent = 0
  /** From now on there is no room. */
  paused = false
  /** The test's end of an upgraded connection. */
  raw: Duplex | undefined

  constructor(growing: Growing, method: string, faults: string[], resume: () => void) {
    this.#growing = growing
    this.#method = method
    this.#faults = faults
    this.#resume = resume
  }

  inform(status: string, headers: Headers): void {
    this.#is('new')
    this.#growing.inform(parse(status, headers))
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    this.#is('new')
    const head = parse(status, headers)
    const bodyless = this.#method === 'HEAD' || [204, 205, 304].includes(head.status)
    if (bodyless && (length !== 0 || chunk !== undefined || !end))
      this.#faults.push(`a body for a ${head.status} to ${this.#method}`)
    this.#state = 'body'
    this.#growing.head(head, 'memory')
    return this.#give(chunk, end)
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    this.#is('body')
    if (chunk.length === 0 && !end) this.#faults.push('an empty chunk')
    return this.#give(chunk, end)
  }

  end(trailers: Headers | undefined): void {
    this.#is('body')
    this.#growing.answer.trailers.push(...(trailers ?? []))
    this.#over(true)
  }

  flush(): void {}

  abort(error: AbortError): void {
    if (this.#state === 'over') this.#faults.push('abort() after the end')
    this.#over(false, error.message)
  }

  upgrade(): Duplex {
    this.#is('body')
    const [mine, theirs] = duplexPair()
    this.raw = mine
    mine.on('data', (chunk: Buffer) => this.#growing.data(chunk))
    mine.on('error', () => {})
    mine.on('end', () => this.#over(true))
    mine.on('close', () => this.#over(true))
    return theirs
  }

  #give(chunk: Uint8Array | undefined, end: boolean): boolean {
    if (chunk) this.#growing.data(chunk)
    if (end) {
      this.#over(true)
      return true
    }
    this.#unsent += chunk?.length ?? 0
    if (this.#unsent < WINDOW) return true
    setImmediate(() => {
      if (this.paused) return
      this.#unsent = 0
      this.#resume()
    })
    return false
  }

  #over(complete: boolean, error?: string): void {
    this.#state = 'over'
    this.#growing.end(complete, error)
  }

  /** The client has disconnected: the exchange must make no further call. */
  stop(): void {
    this.#state = 'gone'
  }

  #is(state: string): void {
    if (this.#state !== state) this.#faults.push(`a sink's call in state ${this.#state}, ${state} is due`)
  }
}

function parse(status: string, headers: Headers): Head {
  return { status: Number(status.slice(0, 3)), reason: status.slice(4), headers }
}
