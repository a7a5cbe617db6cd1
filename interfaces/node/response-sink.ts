/**
 * A response of an exchange into node's ServerResponse: its fields by `setHeader`, so that middleware which waits for the head (on-headers:
 * sessions, compression) sees them, its bytes by `write`, under backpressure. Framing is node's.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Headers } from '../../protocol/contract/application.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'

/** Since Node 24; types lag behind. */
interface Informing {
  writeInformation?(code: number, headers: Headers): void
}

export class NodeResponseSink implements ResponseSink {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse & Informing
  readonly #upgrade: (() => Duplex) | undefined
  /** Called when there is room again. */
  room: (() => void) | undefined
  /** A 101's, until the connection is handed over. */
  #switching = ''

  constructor(req: IncomingMessage, res: ServerResponse, upgrade: (() => Duplex) | undefined) {
    this.#req = req
    this.#res = res as ServerResponse & Informing
    this.#upgrade = upgrade
    res.on('drain', () => this.room?.())
  }

  inform(status: string, headers: Headers): void {
    const res = this.#res
    if (this.#req.httpVersionMinor === 0 || res.headersSent || res.destroyed) return
    if (res.writeInformation) res.writeInformation(Number(status.slice(0, 3)), headers)
    else {
      const links = headers.filter(([name]) => name.toLowerCase() === 'link').map(([, value]) => value)
      if (links.length > 0) res.writeEarlyHints({ link: links })
    }
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const res = this.#res
    const code = Number(status.slice(0, 3))
    if (code === 101) {
      this.#switching = `HTTP/1.1 ${status}\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
      return true
    }
    if (res.headersSent) {
      // Somebody has answered already: nothing of this may get into that response.
      throw localError('HEAD_SENT', 'the response head was sent before the application called startResponse')
    }
    res.statusCode = code
    res.statusMessage = status.slice(4)
    setAll(res, headers)
    const bodyless = this.#req.method === 'HEAD' || code === 204 || code === 205 || code === 304
    if (length > 0 && !bodyless && !res.hasHeader('content-length')) res.setHeader('Content-Length', length)
    // Nobody compresses or measures what is not there; and a 205 has no body that could be chunked.
    if (code === 205) res.setHeader('Content-Length', 0)
    if (end) {
      if (chunk) res.end(chunk)
      else res.end()
      return true
    }
    if (chunk) return res.write(chunk)
    res.flushHeaders()
    return !res.writableNeedDrain
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    if (!end) return this.#res.write(chunk)
    if (chunk.length > 0) this.#res.end(chunk)
    else this.#res.end()
    return true
  }

  end(trailers: Headers | undefined): void {
    if (trailers && trailers.length > 0) this.#res.addTrailers(trailers)
    this.#res.end()
  }

  flush(): void {
    const res = this.#res
    // Node holds what is written until the next tick, which a long computation keeps from coming, and which a cut does not wait for: in its
    // socket, since Node 26 in the response. It counts what it corked and uncorks that itself, so that the count has to stay.
    const corked = res.writableCorked
    for (let at = 0; at < corked; at++) res.uncork()
    const { socket } = res
    while (socket && socket.writableCorked > 0) socket.uncork()
    for (let at = 0; at < corked; at++) res.cork()
    // compression's own: what it has gathered.
    if (Object.hasOwn(this.#res, 'flush')) (this.#res as unknown as { flush(): void }).flush()
  }

  abort(_error: AbortError): void {
    // Without an error: node's server would take one for the client's.
    this.#res.destroy()
  }

  upgrade(): Duplex {
    if (!this.#upgrade) {
      throw localError(
        'NO_UPGRADE',
        "the listener of toNode() cannot upgrade a connection; call its upgrade() for the server's 'upgrade' event",
      )
    }
    const socket = this.#upgrade()
    socket.write(this.#switching, 'latin1')
    return socket
  }
}

/** One line for each field, in order; cookies beside those that were set before, all else in place of it. */
function setAll(res: ServerResponse, headers: Headers): void {
  const fields = new Map<string, { name: string; values: string[] }>()
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    const field = fields.get(lower)
    if (field) field.values.push(value)
    else fields.set(lower, { name, values: [value] })
  }
  for (const [lower, { name, values }] of fields) {
    const before = lower === 'set-cookie' ? res.getHeader(name) : undefined
    const all = before === undefined ? values : [before as string | string[], values].flat()
    res.setHeader(name, all.length === 1 ? all[0]! : all)
  }
}
