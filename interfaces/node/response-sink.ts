/**
 * Sends an exchange's response through Node's ServerResponse: its fields with `setHeader`, so that middleware that
 * waits for the head (on-headers: sessions, compression) sees them, and its bytes with `write`, under backpressure.
 * Node does the framing.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Headers } from '../../protocol/contract/application.ts'
import { isBodyless } from '../../protocol/contract/bodyless.ts'
import { localError } from '../../protocol/contract/coded-errors.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'

/** In Node since 24; the types lack it. */
interface WithInformation {
  writeInformation?(code: number, headers: Headers): void
}

export class NodeResponseSink implements ResponseSink {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse & WithInformation
  readonly #upgrade: (() => Duplex) | undefined
  /** Called when there is room for more bytes. */
  onDrain: (() => void) | undefined
  /** The head of a 101, until the connection is handed over. */
  #upgradeHead = ''

  constructor(req: IncomingMessage, res: ServerResponse, upgrade: (() => Duplex) | undefined) {
    this.#req = req
    this.#res = res as ServerResponse & WithInformation
    this.#upgrade = upgrade
    res.on('drain', () => this.onDrain?.())
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
      this.#upgradeHead = `HTTP/1.1 ${status}\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
      return true
    }
    if (res.headersSent) {
      // Other code has already answered: nothing of this response may get into that one.
      throw localError('HEAD_SENT', 'other code has already sent the head of this response')
    }
    res.statusCode = code
    res.statusMessage = status.slice(4)
    setFields(res, headers)
    const bodyless = isBodyless(this.#req.method!, code)
    if (length > 0 && !bodyless && !res.hasHeader('content-length')) res.setHeader('Content-Length', length)
    // A response without a body is neither compressed nor measured, and a 205 must not be chunked.
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
    // Node holds written bytes until the next tick: in its socket, since Node 26 in the response. A long computation
    // delays that tick, and an abort does not wait for it. Node counts its own corks and uncorks, so the count must
    // stay the same.
    const corked = res.writableCorked
    for (let at = 0; at < corked; at++) res.uncork()
    const { socket } = res
    while (socket && socket.writableCorked > 0) socket.uncork()
    for (let at = 0; at < corked; at++) res.cork()
    // Flushes the bytes that the compression middleware has buffered.
    if (Object.hasOwn(this.#res, 'flush')) (this.#res as unknown as { flush(): void }).flush()
  }

  abort(_error: AbortError): void {
    // Without an error: Node's server would treat one as the client's.
    this.#res.destroy()
  }

  upgrade(): Duplex {
    if (!this.#upgrade) {
      throw localError(
        'NO_UPGRADE',
        "toNode()'s listener cannot upgrade a connection: register its upgrade() for the 'upgrade' event",
      )
    }
    const socket = this.#upgrade()
    socket.write(this.#upgradeHead, 'latin1')
    return socket
  }
}

/** Sets one line for each field, in order. Cookies are added to those set before; other fields replace them. */
function setFields(res: ServerResponse, headers: Headers): void {
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
