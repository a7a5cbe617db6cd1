/**
 * The socket that an 'upgrade' listener gets. What it writes first is a response's head, raw, as `ws` and http-proxy write it: that
 * goes to `startResponse`. After a 101 both ways lead to the client's connection; any other answer is a response as
 * others, and its body is the application's.
 */

import type { Duplex } from 'node:stream'
import type { Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { AbortError, HttpError, LocalProtocolError } from '../../protocol/contract/errors.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { BodyQueue, type BodyQueueHost } from './body-queue.ts'
import { ClientSocket, type SocketOwner } from './client-socket.ts'
import { logFailure } from './late-failure.ts'
import { RawAnswer } from './raw-answer.ts'

type Callback = (error?: Error | null) => void

/** How long a client may take to close once the listener has destroyed its socket, ms: for what was written before to arrive. */
const LINGER = 1_000

export class UpgradeSocket extends ClientSocket implements BodyQueueHost {
  readonly #environ: Environ
  readonly #answer: RawAnswer
  readonly #body: BodyQueue = new BodyQueue(this)
  readonly #clock: Clock
  joinable = false
  /** The client's connection, once it was handed over. */
  #peer: Duplex | undefined
  #failure: unknown

  constructor(environ: Environ, owner: SocketOwner, startResponse: StartResponse) {
    super(environ, owner)
    this.#clock = owner.clock
    this.#environ = environ
    this.#answer = new RawAnswer(environ, startResponse, this.#body)
  }

  /** What the application returns: nothing for a 101. */
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
    // A connection that was handed over belongs to the listener: its failure ends the connection, as in a process of
    // its own.
    if (this.#peer && !this.destroyed) this.fail(error)
    logFailure(this.#environ, error)
    return false
  }

  override closedByServer(): void {}

  /** The exchange closed the body: after a 101 the connection lives on. */
  bodyClosed(whole: boolean): void {
    if (this.#peer) return
    this.release()
    if (!whole) this.destroy()
  }

  override destroy(error?: Error): this {
    if (!this.#peer && this.#failure === undefined && !this.destroyed) this.delivers(this.#body)
    return super.destroy(error)
  }

  override _read(): void {
    this.#peer?.resume()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: Callback): void {
    this.moved(0, chunk.length)
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

  /** What was corked goes on at once, as from a real socket: `ws` writes a frame in two pieces. */
  override _writev(items: { chunk: Uint8Array }[], callback: Callback): void {
    const chunks = items.map(({ chunk }) => chunk)
    const last = chunks.pop()!
    if (this.#peer === undefined || chunks.length === 0) {
      this._write(chunks.length === 0 ? last : Buffer.concat([...chunks, last]), 'buffer' as BufferEncoding, callback)
      return
    }
    for (const chunk of chunks) this.moved(0, chunk.length)
    this.moved(0, last.length)
    this.#peer.cork()
    for (const chunk of chunks) this.#peer.write(chunk)
    this.#forward(last, callback)
    this.#peer.uncork()
  }

  /**
   * Takes more as long as the peer does, as a real socket goes to the system: what waited here for the last write's end would be lost when
   * the listener destroys this (`ws` sends and terminates).
   */
  #forward(chunk: Uint8Array, callback: Callback): void {
    let called = false
    const call = (): void => {
      if (called) return
      called = true
      callback()
    }
    const room = this.#peer!.write(chunk, (error) => {
      this.moved()
      if (error) this.destroy()
      call()
    })
    if (room) call()
  }

  #attach(peer: Duplex): void {
    this.#peer = peer
    peer.on('data', (chunk: Buffer) => {
      this.moved(chunk.length)
      // Once the listener has left, what still comes is dropped: paused, the client's FIN would never be seen.
      if (!this.destroyed && !this.push(chunk)) peer.pause()
    })
    peer.on('end', () => {
      this.push(null)
      // As net.Socket: where nothing waits to be read, the end is seen by who does not read too.
      this.read(0)
    })
    // A reset is a close without an end, which every listener knows of; 'error' would have to be listened for.
    peer.on('error', () => this.destroy())
    peer.on('close', () => {
      // What came before an orderly end is the listener's to read, however slow it is.
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

  /** What a listener writes to a real socket is with the system before it can destroy it (`ws` sends a close frame and terminates). */
  #leave(peer: Duplex): void {
    const impatience = this.#clock.after(LINGER, () => peer.destroy())
    peer.once('close', () => impatience.cancel())
    const over = (): void => void peer.destroy()
    // A client that has ended may read on.
    peer.once('end', () => (peer.writableFinished ? over() : peer.once('finish', over)))
    peer.resume()
    peer.end()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    if (this.#peer) {
      if (error || this.#failure || this.#peer.destroyed) this.#peer.destroy()
      else this.#leave(this.#peer)
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
