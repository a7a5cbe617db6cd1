/** One exchange without a wire: a sink that records its calls, and what is needed to start the exchange. */

import type { Duplex } from 'node:stream'
import { duplexPair } from 'node:stream'
import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { FakeClock } from './clock.ts'
import { RecordingLog } from './log.ts'

export class RecordingSink implements ResponseSink {
  /**
   * Every call, in order: `head 200`, `data 5`, `data 5 end`, `end`, `flush`, `abort APPLICATION`, `inform 103`,
   * `upgrade`.
   */
  readonly calls: string[] = []
  status = ''
  headers: Headers = []
  length: number | undefined
  readonly chunks: Uint8Array[] = []
  ended = false
  trailers: Headers | undefined
  aborted: AbortError | undefined
  informed: [string, Headers][] = []
  /** The results of `head` and `data`. */
  room = true
  peer: Duplex | undefined

  get body(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }

  header(name: string): string | undefined {
    return this.headers.find(([other]) => other.toLowerCase() === name.toLowerCase())?.[1]
  }

  inform(status: string, headers: Headers): void {
    this.calls.push(`inform ${status.slice(0, 3)}`)
    this.informed.push([status, headers])
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    this.calls.push(`head ${status.slice(0, 3)}${chunk ? ` ${chunk.length}` : ''}${end ? ' end' : ''}`)
    this.status = status
    this.headers = headers
    this.length = length
    if (chunk) this.chunks.push(chunk)
    this.ended = end
    return this.room
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    this.calls.push(`data ${chunk.length}${end ? ' end' : ''}`)
    this.chunks.push(chunk)
    this.ended = end
    return this.room
  }

  end(trailers: Headers | undefined): void {
    this.calls.push('end')
    this.trailers = trailers
    this.ended = true
  }

  flush(): void {
    this.calls.push('flush')
  }

  abort(error: AbortError): void {
    this.calls.push(`abort ${error.code}`)
    this.aborted = error
  }

  upgrade(): Duplex {
    this.calls.push('upgrade')
    const [ours, theirs] = duplexPair()
    this.peer = theirs
    return ours
  }
}

export interface Run {
  exchange: Exchange
  environ: Environ
  sink: RecordingSink
  input: RequestInput
  log: RecordingLog
  clock: FakeClock
  /** The number of times that the exchange has reported that it settled. */
  settled(): number
  /** Resolves when the exchange has settled. */
  whenSettled: Promise<void>
}

export interface RunOptions {
  method?: string
  target?: string
  headers?: string[]
  upgrade?: boolean
  input?: RequestInput
  prepare?(run: Run): void
  /** The application is not called yet. */
  hold?: boolean
}

export function makeEnviron(options: RunOptions = {}): Environ {
  return environFromHttp(
    {
      method: options.method ?? 'GET',
      target: options.target ?? '/',
      minor: 1,
      headers: options.headers ?? ['Host', 'example.org'],
      upgrade: options.upgrade ?? false,
    },
    {
      remoteAddress: '192.0.2.1',
      remotePort: '40000',
      serverName: 'example.org',
      serverPort: '80',
      scheme: 'http',
    },
    { multithread: true, multiprocess: false, runOnce: false },
  )
}

/** Runs `application` once. */
export function run(application: Application, options: RunOptions = {}): Run {
  const log = new RecordingLog()
  const clock = new FakeClock()
  const sink = new RecordingSink()
  const input = options.input ?? new RequestInput(null)
  const environ = makeEnviron(options)
  let settled = 0
  const done = Promise.withResolvers<void>()
  const host: ExchangeHost = {
    clock,
    deadlines: new Deadlines(clock),
    log,
    draining: false,
    settled() {
      settled++
      done.resolve()
    },
  }
  const exchange = new Exchange(application, environ, input, sink, host)
  const made: Run = { exchange, environ, sink, input, log, clock, settled: () => settled, whenSettled: done.promise }
  options.prepare?.(made)
  if (!options.hold) exchange.run()
  return made
}
