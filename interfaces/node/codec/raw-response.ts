/**
 * Parses the HTTP/1.1 response that code writes to a raw socket: a WebSocket library's 101 or its refusal, http-proxy's
 * copy of an upstream's response. Sans-IO. The writer runs in this process, so only status line, fields, and a body by
 * Content-Length, in chunks or up to the end are supported; no trailers, no folding.
 */

import type { Headers } from '../../../protocol/contract/application.ts'
import { localError } from '../../../protocol/contract/coded-errors.ts'
import type { LocalProtocolError } from '../../../protocol/contract/errors.ts'

/** Longer than the handshake of any library, and too short to hide a stream in it, bytes. */
const HEAD_MAX = 64 * 1024
const CRLF = '\r\n'

export interface RawHead {
  /** `101 Switching Protocols` */
  status: string
  code: number
  headers: Headers
}

/** The result of parsing some bytes. After a 101 `body` holds the bytes of the new protocol. */
interface RawStep {
  /** Informational responses, in order. */
  informed: RawHead[]
  head?: RawHead
  body: Uint8Array[]
}

type State =
  | 'head'
  | 'raw'
  | 'none'
  | 'length'
  | 'until-end'
  | 'chunk-size'
  | 'chunk'
  | 'chunk-end'
  | 'trailers'
  | 'done'

export class RawResponse {
  readonly #bodyless: boolean
  #state: State = 'head'
  #pending: Buffer = Buffer.alloc(0)
  /** Bytes of the body, or of its current chunk, that have not arrived. */
  #left = 0

  /** @param method the method of the request: a response to HEAD has no body */
  constructor(method: string) {
    this.#bodyless = method === 'HEAD'
  }

  /** Whether the response is complete. A body without a length is complete after `end()`. */
  get done(): boolean {
    return this.#state === 'done' || this.#state === 'none'
  }

  /** Whether an incomplete head was fed. */
  get partial(): boolean {
    return this.#state === 'head' && this.#pending.length > 0
  }

  /** Whether the response has a body that ends with the connection. */
  get untilEnd(): boolean {
    return this.#state === 'until-end'
  }

  /** @throws LocalProtocolError if the bytes are not an HTTP/1.1 response */
  feed(bytes: Uint8Array): RawStep {
    const step: RawStep = { informed: [], body: [] }
    let data =
      this.#pending.length === 0
        ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
        : Buffer.concat([this.#pending, bytes])
    this.#pending = Buffer.alloc(0)
    while (data.length > 0) {
      const rest = this.#step(data, step)
      if (rest === undefined) {
        this.#pending = data
        if (data.length > HEAD_MAX) throw refused('its head is longer than 64 KiB')
        break
      }
      data = rest
    }
    return step
  }

  /** The writer has ended. Returns whether the response is complete. */
  end(): boolean {
    if (this.#state === 'until-end' || this.#state === 'raw') this.#state = 'done'
    return this.done
  }

  /** The rest of `data` after one step; undefined if more bytes are needed. */
  #step(data: Buffer, step: RawStep): Buffer | undefined {
    switch (this.#state) {
      case 'head': {
        const end = data.indexOf(CRLF + CRLF)
        if (end === -1) return undefined
        const head = parseHead(data.toString('latin1', 0, end))
        if (head.code === 101 || head.code >= 200) {
          step.head = head
          this.#state = this.#begin(head)
        } else step.informed.push(head)
        return data.subarray(end + 4)
      }
      case 'raw':
      case 'until-end':
        step.body.push(data)
        return data.subarray(data.length)
      case 'length':
      case 'chunk': {
        const part = data.subarray(0, this.#left)
        this.#left -= part.length
        if (part.length > 0) step.body.push(part)
        if (this.#left === 0) this.#state = this.#state === 'length' ? 'done' : 'chunk-end'
        return data.subarray(part.length)
      }
      case 'chunk-end':
        if (data.length < 2) return undefined
        if (data[0] !== 0x0d || data[1] !== 0x0a) throw refused('a chunk is longer than it says')
        this.#state = 'chunk-size'
        return data.subarray(2)
      case 'chunk-size': {
        const end = data.indexOf(CRLF)
        if (end === -1) return undefined
        const line = data.toString('latin1', 0, end)
        if (!/^[0-9A-Fa-f]{1,12}[ \t]*(?:;.*)?$/.test(line)) throw refused(`a chunk's size is ${JSON.stringify(line)}`)
        this.#left = Number.parseInt(line, 16)
        this.#state = this.#left === 0 ? 'trailers' : 'chunk'
        return data.subarray(end + 2)
      }
      case 'trailers': {
        const end = data.indexOf(CRLF)
        if (end === -1) return undefined
        if (end === 0) this.#state = 'done'
        return data.subarray(end + 2)
      }
      case 'none':
        // http-proxy writes a last chunk even if there is no body.
        return data.subarray(data.length)
      case 'done':
        throw refused('bytes follow its end')
    }
  }

  #begin(head: RawHead): State {
    if (head.code === 101) return 'raw'
    if (this.#bodyless || head.code === 204 || head.code === 304) return 'none'
    const coding = field(head.headers, 'transfer-encoding')
    if (coding !== undefined) {
      if (coding.toLowerCase() !== 'chunked') throw refused(`its Transfer-Encoding is ${JSON.stringify(coding)}`)
      return 'chunk-size'
    }
    const length = field(head.headers, 'content-length')
    if (length === undefined) return 'until-end'
    if (!/^\d{1,15}$/.test(length)) throw refused(`its Content-Length is ${JSON.stringify(length)}`)
    this.#left = Number(length)
    return this.#left === 0 ? 'done' : 'length'
  }
}

function parseHead(text: string): RawHead {
  const [first = '', ...lines] = text.split(CRLF)
  const match = /^HTTP\/1\.[01] ([1-9]\d\d)(?: (.*))?$/.exec(first)
  if (!match) throw refused(`it begins with ${JSON.stringify(first.slice(0, 80))}`)
  const headers: Headers = lines.map((line) => {
    const colon = line.indexOf(':')
    if (colon <= 0) throw refused(`a field is ${JSON.stringify(line.slice(0, 80))}`)
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  return { status: `${match[1]} ${match[2]?.trim() || 'Unknown'}`, code: Number(match[1]), headers }
}

function field(headers: Headers, name: string): string | undefined {
  const values = headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value)
  return values.length === 0 ? undefined : values.join(', ')
}

function refused(detail: string): LocalProtocolError {
  return localError('RAW_RESPONSE', `the bytes written to the request's socket are not an HTTP/1.1 response: ${detail}`)
}
