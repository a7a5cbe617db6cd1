/**
 * The handshake as one side sees it: which frame is due, and whether the other side proved what it had to. Does not
 * write frames; what is to be sent is given back.
 */

import { peerError } from '../../contract/coded-errors.ts'
import { Frame } from './constants.ts'
import {
  agreedFeatures,
  type Hello,
  type Identity,
  matchHellos,
  type Proven,
  proofOf,
  proves,
  readHello,
  SAME_TOKEN,
} from './hello.ts'

export class Handshake {
  state: 'hello' | 'proof' | 'open' | 'failed' = 'hello'
  /** The other's HELLO, once it has come. Not believed before `open`. */
  theirs: Hello | undefined
  #agreed: ReadonlySet<string> | undefined
  readonly #ours: Hello
  readonly #payload: Uint8Array
  readonly #tokens: readonly string[] | undefined
  #said: Proven | undefined

  /**
   * @param payload our HELLO's, as it is sent
   * @param tokens this side proves the first one, and accepts each
   */
  constructor(ours: Hello, payload: Uint8Array, tokens: readonly string[] | undefined) {
    this.#ours = ours
    this.#payload = payload
    this.#tokens = tokens
  }

  get peer(): Identity | undefined {
    return this.theirs?.identity
  }

  /** Whether `feature` may be used: once the link is open, and if both sides named it. */
  agreed(feature: string): boolean {
    if (this.state !== 'open') return false
    this.#agreed ??= agreedFeatures(this.#ours, this.theirs!)
    return this.#agreed.has(feature)
  }

  /** @throws RemoteProtocolError for a frame that may not come before the link is open */
  check(type: number): void {
    if (this.state === 'open' || type === Frame.GOAWAY) return
    if (type === (this.state === 'hello' ? Frame.HELLO : Frame.AUTH)) return
    throw peerError('HANDSHAKE', `received a frame of type 0x${type.toString(16)} before the handshake was complete`)
  }

  /**
   * Their HELLO came.
   *
   * @returns the proof that is to be sent now, if one is
   * @throws RemoteProtocolError
   */
  hello(payload: Uint8Array): Uint8Array | undefined {
    if (this.state !== 'hello') throw peerError('HELLO_TWICE', 'received a second HELLO')
    const theirs = readHello(payload)
    matchHellos(this.#ours, theirs)
    this.theirs = theirs
    if (this.#tokens === undefined) {
      this.state = 'open'
      return undefined
    }
    const ours = { nonce: this.#ours.nonce, payload: this.#payload }
    const other = { nonce: theirs.nonce, payload }
    this.#said = this.#ours.role === 'caller' ? { caller: ours, server: other } : { caller: other, server: ours }
    this.state = 'proof'
    return this.#ours.dialled ? proofOf(this.#tokens[0]!, this.#ours.role, this.#said) : undefined
  }

  /** Their proof came. As `hello`. */
  auth(proof: Uint8Array): Uint8Array | undefined {
    if (this.state !== 'proof') throw peerError('HANDSHAKE', 'received a proof of the token that was not requested')
    const role = this.#ours.role
    const other = role === 'caller' ? 'server' : 'caller'
    // Compare all tokens, so that the time does not reveal which one matched.
    const [held] = this.#tokens!.filter((token) => proves(proof, proofOf(token, other, this.#said!)))
    if (held === undefined) {
      throw peerError('UNAUTHENTICATED', `the peer does not hold the same token; ${SAME_TOKEN}`)
    }
    this.state = 'open'
    // Prove the token that the dialler proved: it may not have any other of ours.
    return this.#ours.dialled ? undefined : proofOf(held, role, this.#said!)
  }
}
