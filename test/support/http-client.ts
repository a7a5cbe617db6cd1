/**
 * A strict HTTP/1.1 client on a bare socket: it sends exactly the given bytes, and accepts only what RFC 9112 allows a
 * server to send. fetch and node:http hide what these tests check (framing, informational responses, truncated bodies).
 */

import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { type Answer, type Fields, Growing, type Head, type RequestOptions, type Sent } from './client.ts'

/** Raw bytes that are kept for error messages. */
const RAW_MAX = 256 * 1024

type State = 'status' | 'fields' | 'length' | 'size' | 'chunk' | 'chunk-end' | 'trailers' | 'close' | 'raw' | 'done'

/** Reads the informational responses of a request, and then its final response. */
class ResponseReader {
  readonly growing: Growing
  readonly #method: string
  readonly #minor: 0 | 1
  #state: State = 'status'
  #pending: Buffer = Buffer.alloc(0)
  #left = 0
  #head: Head = { status: 0, reason: '', headers: [] }
  /** Whether the connection may carry another response. */
  keepAlive = true
  upgraded = false

  constructor(method: string, minor: 0 | 1, growing: Growing) {
    this.#method = method
    this.#minor = minor
    this.growing = growing
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  /** Reads bytes; returns those that belong to the next response. */
  feed(bytes: Buffer): Buffer {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes])
    while (this.#state !== 'done' && this.#step());
    if (!this.done) return Buffer.alloc(0)
    const rest = this.#pending
    this.#pending = Buffer.alloc(0)
    return rest
  }

  /** The server's FIN (`clean`) or a reset. */
  eof(clean: boolean, error: string): void {
    if (this.#state === 'close' && clean) this.growing.end(true)
    else this.growing.end(false, `${error} in ${this.#state}`)
    this.#state = 'done'
    this.keepAlive = false
  }

  #step(): boolean {
    switch (this.#state) {
      case 'status':
        return this.#line((line) => {
          const match = /^HTTP\/1\.1 ([1-5]\d\d) ([\t\x20-\x7e\x80-\xff]*)$/.exec(line)
          if (!match) throw new Error(`not a status line: ${JSON.stringify(line)}`)
          this.#head = { status: Number(match[1]), reason: match[2]!, headers: [] }
          this.#state = 'fields'
        })
      case 'fields':
        return this.#line((line) => {
          if (line === '') this.#began()
          else this.#head.headers.push(field(line))
        })
      case 'length':
      case 'chunk': {
        if (this.#left > 0) {
          const part = this.#take(this.#left)
          if (!part) return false
          this.#left -= part.length
          this.growing.data(part)
          if (this.#left > 0) return true
        }
        if (this.#state === 'chunk') this.#state = 'chunk-end'
        else this.#finish()
        return true
      }
      case 'size':
        return this.#line((line) => {
          if (!/^[0-9A-Fa-f]{1,8}$/.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`)
          this.#left = Number.parseInt(line, 16)
          this.#state = this.#left === 0 ? 'trailers' : 'chunk'
        })
      case 'chunk-end':
        return this.#line((line) => {
          if (line !== '') throw new Error(`a chunk is followed by ${JSON.stringify(line)}`)
          this.#state = 'size'
        })
      case 'trailers':
        return this.#line((line) => {
          if (line === '') this.#finish()
          else this.growing.answer.trailers.push(field(line))
        })
      case 'close':
      case 'raw': {
        const part = this.#take(this.#pending.length)
        if (part) this.growing.data(part)
        return false
      }
      default:
        return false
    }
  }

  #take(max: number): Buffer | undefined {
    if (this.#pending.length === 0) return undefined
    const part = this.#pending.subarray(0, max)
    this.#pending = this.#pending.subarray(part.length)
    return part
  }

  #line(use: (line: string) => void): boolean {
    const at = this.#pending.indexOf('\r\n')
    const bare = this.#pending.indexOf('\n')
    if (bare !== -1 && bare !== at + 1) throw new Error('a bare LF')
    if (at === -1) return false
    const line = this.#pending.toString('latin1', 0, at)
    this.#pending = this.#pending.subarray(at + 2)
    use(line)
    return true
  }

  /** The head is complete: determines the framing of the body (RFC 9112 §6.3). */
  #began(): void {
    const head = this.#head
    const values = (name: string): string[] =>
      head.headers.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value)
    const lengths = values('content-length')
    const codings = values('transfer-encoding')
    if (lengths.length > 1 || (lengths[0] !== undefined && !/^\d+$/.test(lengths[0]))) {
      throw new Error(`Content-Length: ${lengths.join(' and ')}`)
    }
    if (head.status < 200 || head.status === 204) {
      if (lengths.length + codings.length > 0) throw new Error(`a ${head.status} with ${lengths} ${codings}`)
    }
    if (head.status === 101) {
      this.upgraded = true
      this.#state = 'raw'
      this.growing.head(head, 'close')
      return
    }
    if (head.status < 200) {
      this.#state = 'status'
      this.growing.inform(head)
      return
    }
    if (lengths.length > 0 && codings.length > 0) throw new Error('both Content-Length and Transfer-Encoding')
    if (codings.length > 0 && this.#minor === 0) throw new Error('Transfer-Encoding to HTTP/1.0')
    const connection = values('connection').join(',').toLowerCase()
    this.keepAlive = this.#minor === 1 ? !/\bclose\b/.test(connection) : /\bkeep-alive\b/.test(connection)
    const bodyless = this.#method === 'HEAD' || head.status === 204 || head.status === 304
    if (bodyless) {
      this.growing.head(head, 'none')
      this.#finish()
    } else if (codings.length > 0) {
      if (codings.join() !== 'chunked') throw new Error(`Transfer-Encoding: ${codings.join(' and ')}`)
      this.#state = 'size'
      this.growing.head(head, 'chunked')
    } else if (lengths.length > 0) {
      this.#left = Number(lengths[0])
      this.#state = 'length'
      this.growing.head(head, 'length')
    } else {
      this.keepAlive = false
      this.#state = 'close'
      this.growing.head(head, 'close')
    }
  }

  #finish(): void {
    this.#state = 'done'
    this.growing.end(true)
  }
}

function field(line: string): [name: string, value: string] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/.exec(line)
  if (!match) throw new Error(`not a field: ${JSON.stringify(line)}`)
  return [match[1]!, match[2]!]
}

/** The bytes of a request's head. */
export function requestHead(options: RequestOptions): string {
  const { method = 'GET', target, headers = [], body, minor = 1 } = options
  const has = (name: string): boolean => headers.some(([other]) => other.toLowerCase() === name)
  const lines = [`${method} ${target} HTTP/1.${minor}`]
  if (!has('host')) lines.push('Host: gantry.test')
  for (const [name, value] of headers) lines.push(`${name}: ${value}`)
  if (body !== undefined && !has('content-length') && !has('transfer-encoding')) {
    if (body === 'stream' || options.chunked) lines.push('Transfer-Encoding: chunked')
    else lines.push(`Content-Length: ${Buffer.byteLength(body as string)}`)
  }
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** One connection. A request may be sent after the response to the request before, or earlier (pipelining). */
export class HttpClient {
  readonly socket: Socket
  /** The first received bytes, for error messages. */
  raw: Buffer = Buffer.alloc(0)
  /** Received bytes that belong to no request: always a fault. */
  surplus: Buffer = Buffer.alloc(0)
  /** The server's end of the connection: `'fin'`, `'reset'`, or undefined while it is open. */
  ended: 'fin' | 'reset' | undefined
  readonly #queue: ResponseReader[] = []
  readonly #whenEnded: PromiseWithResolvers<'fin' | 'reset'> = Promise.withResolvers<'fin' | 'reset'>()
  #keepAlive = true

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (bytes: Buffer) => this.#received(bytes))
    socket.on('end', () => this.#over('fin', 'end of connection'))
    socket.on('error', (error: NodeJS.ErrnoException) => this.#over('reset', error.code ?? error.message))
    socket.on('close', () => this.#over('reset', 'closed'))
  }

  static async connect(options: NetConnectOpts): Promise<HttpClient> {
    const socket = connect({ ...options, allowHalfOpen: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    socket.setNoDelay(true)
    return new HttpClient(socket)
  }

  /** Whether another request may be sent on this connection. */
  get reusable(): boolean {
    return this.#keepAlive && this.ended === undefined && !this.socket.destroyed && this.#queue.length === 0
  }

  /** Resolves when the server has ended the connection. */
  whenEnded(): Promise<'fin' | 'reset'> {
    return this.#whenEnded.promise
  }

  /** Expects a response to `method` without sending anything: for bytes that a test writes itself. */
  expect(method: string = 'GET', minor: 0 | 1 = 1): Growing {
    const growing = new Growing()
    const reader = new ResponseReader(method, minor, growing)
    if (this.ended) reader.eof(false, 'the connection had ended')
    else this.#queue.push(reader)
    return growing
  }

  request(options: RequestOptions): Sent {
    const { method = 'GET', minor = 1, body } = options
    const growing = this.expect(method, minor)
    const streamed = body === 'stream'
    const chunked =
      (streamed || options.chunked === true) &&
      !options.headers?.some(([name]) => name.toLowerCase() === 'content-length')
    const framed = (chunk: Uint8Array | string): Buffer => {
      const bytes = Buffer.from(chunk as string)
      if (!chunked) return bytes
      return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
    }
    const finish = (trailers: Fields = []): void => {
      if (!chunked) return
      this.#write(
        Buffer.from(`0\r\n${trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`, 'latin1'),
      )
    }
    this.socket.cork()
    this.#write(Buffer.from(requestHead(options), 'latin1'))
    if (body !== undefined && !streamed) {
      if (body.length > 0) this.#write(framed(body as Uint8Array))
      finish()
    }
    this.socket.uncork()
    return {
      send: (chunk) => this.#write(framed(chunk)),
      finish,
      pause: () => void this.socket.pause(),
      abort: (how = 'end') => this.destroy(how),
      informed: (count) => growing.informed(count),
      head: () => growing.whenHead(),
      has: (length) => growing.has(length),
      whole: () => growing.whole(),
    }
  }

  /** Sends a request, and resolves with its complete response. */
  fetch(options: RequestOptions): Promise<Answer> {
    return this.request(options).whole()
  }

  /** Writes bytes as they are. */
  write(bytes: Uint8Array | string): Promise<void> {
    return this.#write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /** Disconnects: closes both directions (`end`), or resets the connection. */
  destroy(how: 'end' | 'reset' = 'end'): void {
    if (how === 'reset') this.socket.resetAndDestroy()
    else this.socket.destroy()
    this.#over('reset', 'aborted by the client')
  }

  #write(bytes: Uint8Array): Promise<void> {
    // A server that has disconnected is visible in the response, so a failed write is ignored.
    return new Promise((resolve) => {
      this.socket.write(bytes, () => resolve())
    })
  }

  #received(bytes: Buffer): void {
    if (this.raw.length < RAW_MAX) this.raw = Buffer.concat([this.raw, bytes])
    let rest = bytes
    while (rest.length > 0) {
      const reader = this.#queue[0]
      if (!reader) {
        this.surplus = Buffer.concat([this.surplus, rest])
        return
      }
      try {
        rest = reader.feed(rest)
      } catch (error) {
        reader.growing.end(false, (error as Error).message)
        this.destroy()
        return
      }
      if (!reader.done) return
      this.#queue.shift()
      if (!reader.keepAlive) this.#keepAlive = false
    }
  }

  #over(how: 'fin' | 'reset', why: string): void {
    if (this.ended) return
    this.ended = how
    for (const reader of this.#queue.splice(0)) reader.eof(how === 'fin', why)
    this.#whenEnded.resolve(how)
  }
}
