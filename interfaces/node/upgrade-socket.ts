/**
 * The socket of an 'upgrade' listener. The listener first writes a raw response head, as `ws` and http-proxy do, which
 * goes to `startResponse`. After a 101 both directions are connected to the client; any other response is an ordinary
 * one with a body.
 */

import type { Duplex } from 'node:stream'
import type { Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { AbortError, HttpError, LocalProtocolError } from '../../protocol/contract/errors.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { BodyQueue, type BodyQueueHost } from './body-queue.ts'
import { ClientSocket, type SocketOwner } from './client-socket.ts'
import { logLateFailure } from './late-failure.ts'
import { RawResponseWriter } from './raw-response-writer.ts'

type Callback = (error?: Error | null) => void

/**
 * How long a client may take to close after the listener has destroyed its socket, ms: bytes written before must
 * arrive.
 */
const LINGER = 1_000

export class UpgradeSocket extends ClientSocket implements BodyQueueHost {
  readonly #environ: Environ
  readonly #answer: RawResponseWriter
  readonly #body: BodyQueue = new BodyQueue(this)
  readonly #clock: Clock
  joinable = false
  /** The client's connection, once it is handed over. */
  #peer: Duplex | undefined
  #failure: unknown

  constructor(environ: Environ, owner: SocketOwner, startResponse: StartResponse) {
    super(environ, owner)
    this.#clock = owner.clock
    this.#environ = environ
    this.#answer = new RawResponseWriter(environ, startResponse, this.#body)
  }

  /** The application's body; empty for a 101. */
  body(): Body | Promise<Body> {
    return this.#body.body()
  }

  override fail(error: unknown): void {
    this.#failure ??= error
    this.destroy()
  }

  override failed(error: unknown): boolean {
    if (this.#body.phase === 'open' && !this.destroyed) {
      this.fail(error)
      return true
    }
    // A connection that was handed over belongs to the listener: its failure ends the connection, as in its own
    // process.
    if (this.#peer && !this.destroyed) this.fail(error)
    logLateFailure(this.#environ, error)
    return false
  }

  override closedByServer(): void {}

  /** The exchange closed the body. After a 101 the connection stays open. */
  bodyClosed(whole: boolean): void {
    if (this.#peer) return
    this.release()
    if (!whole) this.destroy()
  }

  override destroy(error?: Error): this {
    if (!this.#peer && this.#failure === undefined && !this.destroyed) this.flushTo(this.#body)
    return super.destroy(error)
  }

  override _read(): void {
    this.#peer?.resume()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: Callback): void {
    this.recordActivity(0, chunk.length)
    if (this.#peer) {
      this.#forward(chunk, callback)
      return
    }
    let rest: Uint8Array[] | undefined
    this.offered = chunk.length
    try {
      rest = this.#answer.write(chunk, (error) => {
        this.offered = 0
        callback(error)
      })
      if (rest) this.#attach(this.#environ.gantry.upgrade())
    } catch (error) {
      this.fail(error)
      callback()
      return
    }
    if (!rest) return
    this.offered = 0
    this.joinable = true
    this.#body.end()
    if (rest.length > 0) this.#forward(Buffer.concat(rest), callback)
    else callback()
  }

  /** Corked writes are passed on at once, as by a real socket: `ws` writes a frame in two pieces. */
  override _writev(items: { chunk: Uint8Array }[], callback: Callback): void {
    const chunks = items.map(({ chunk }) => chunk)
    const last = chunks.pop()!
    if (this.#peer === undefined || chunks.length === 0) {
      this._write(chunks.length === 0 ? last : Buffer.concat([...chunks, last]), 'buffer' as BufferEncoding, callback)
      return
    }
    for (const chunk of chunks) this.recordActivity(0, chunk.length)
    this.recordActivity(0, last.length)
    this.#peer.cork()
    for (const chunk of chunks) this.#peer.write(chunk)
    this.#forward(last, callback)
    this.#peer.uncork()
  }

  /**
   * Accepts more as long as the peer does, as a real socket passes bytes to the system. Bytes that waited here for the
   * end of the last write would be lost when the listener destroys this socket (`ws` sends and terminates).
   */
  #forward(chunk: Uint8Array, callback: Callback): void {
    let called = false
    const call = (): void => {
      if (called) return
      called = true
      callback()
    }
    const room = this.#peer!.write(chunk, (error) => {
      this.recordActivity()
      if (error) this.destroy()
      call()
    })
    if (room) call()
  }

  #attach(peer: Duplex): void {
    this.#peer = peer
    peer.on('data', (chunk: Buffer) => {
      this.recordActivity(chunk.length)
      // After the listener has destroyed this socket, bytes are dropped: a paused peer would never see the client's
      // FIN.
      if (!this.destroyed && !this.push(chunk)) peer.pause()
    })
    peer.on('end', () => {
      this.push(null)
      // As with net.Socket, a listener that does not read sees the end if nothing waits to be read.
      this.read(0)
    })
    // A reset is a close without an end, which every listener handles; an 'error' event needs a listener.
    peer.on('error', () => this.destroy())
    peer.on('close', () => {
      // The listener may still read the bytes that came before an orderly end, however slow it is.
      if (peer.readableEnded && !this.readableEnded) this.once('end', () => this.destroy())
      else this.destroy()
    })
  }

  override _final(callback: Callback): void {
    if (this.#peer) {
      if (this.#peer.destroyed) callback()
      else this.#peer.end(() => callback())
      return
    }
    if (!this.#answer.end())
      this.fail(new AbortError('APPLICATION', 'the listener ended the socket before the response was complete'))
    callback()
  }

  /**
   * The system already has what a listener wrote to a real socket before destroying it (`ws` sends a close frame and
   * terminates).
   */
  #endPeer(peer: Duplex): void {
    const lingerTimer = this.#clock.after(LINGER, () => peer.destroy())
    peer.once('close', () => lingerTimer.cancel())
    const destroyPeer = (): void => void peer.destroy()
    // A client that has ended its side may still read.
    peer.once('end', () => (peer.writableFinished ? destroyPeer() : peer.once('finish', destroyPeer)))
    peer.resume()
    peer.end()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    if (this.#peer) {
      if (error || this.#failure || this.#peer.destroyed) this.#peer.destroy()
      else this.#endPeer(this.#peer)
    }
    if (this.#failure === undefined) {
      this.#answer.destroyed(error, this.writableLength === 0)
      this.#body.truncate(reason(error))
    } else this.#body.abort(this.#failure)
    this.release()
    // Without a listener an 'error' event would end the process.
    callback(this.listenerCount('error') > 0 ? error : null)
  }
}

function reason(error: Error | null): Error {
  if (error instanceof HttpError || error instanceof AbortError || error instanceof LocalProtocolError) return error
  return new AbortError(
    'APPLICATION',
    'the listener destroyed the socket of the upgrade before it responded',
    error ? { cause: error } : undefined,
  )
}
