/**
 * A body that can be sent again, as the `wsgi.input` of one attempt by an application of this process. It knows nothing of
 * who reads it, or whether there was an attempt before.
 */

import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'
import type { ReplayableBody } from '../../protocol/frames/caller.ts'

/** Bytes read ahead of the application: a chunk. */
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

  // ---- of InputSource: the application reads ---------------------------------------------------------------------

  wanted(): void {
    this.#wanted = true
    this.#pump()
  }

  consumed(): void {
    this.#pump()
  }

  // ---- of the body's attempt: there is more ----------------------------------------------------------------------

  bodyReady(): void {
    // Not read before it is wanted: reading is what makes a gateway send 100 Continue.
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
      // The client's side of it failed.
      this.input.fail(error as Error)
    }
    this.#pumping = false
  }
}
