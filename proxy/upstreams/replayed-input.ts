/**
 * A body that can be sent again, as the `wsgi.input` of one attempt by an application of this process.
 */

import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'
import type { ReplayableBody } from '../../protocol/frames/caller.ts'

/** Bytes read ahead of the application: one chunk. */
const AHEAD = 64 * 1024

export class ReplayedInput implements InputSource {
  readonly input: RequestInput
  readonly #body: ReplayableBody
  #wanted = false
  #pumping = false

  constructor(body: ReplayableBody) {
    this.#body = body
    body.begin(this)
    this.input = new RequestInput(body.atEnd && !body.exists ? null : this)
  }

  // ---- InputSource: the application reads ------------------------------------------------------------------------

  wanted(): void {
    this.#wanted = true
    this.#pump()
  }

  consumed(): void {
    this.#pump()
  }

  // ---- called by the body: more bytes have arrived ---------------------------------------------------------------

  bodyReady(): void {
    // Do not read before the application does: reading makes a gateway send 100 Continue.
    if (this.#wanted) this.#pump()
  }

  abort(reason: Error): void {
    this.input.fail(reason)
  }

  get caughtUp(): boolean {
    return this.#wanted && this.input.buffered === 0
  }

  #pump(): void {
    if (this.#pumping || this.input.ended) return
    this.#pumping = true
    try {
      while (this.input.buffered < AHEAD) {
        const chunk = this.#body.next()
        if (chunk === undefined) break
        if (chunk === null) {
          this.input.end([...this.#body.trailers])
          break
        }
        this.input.push(chunk)
      }
    } catch (error) {
      // The client failed to deliver the body.
      this.input.fail(error as Error)
    }
    this.#pumping = false
  }
}
