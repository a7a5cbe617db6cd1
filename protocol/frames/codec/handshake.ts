/**
 * The handshake of one side: which frame must come next, and whether the peer has proved that it has the token. It
 * writes no frames: a proof to send is returned.
 */

import { peerError } from '../../contract/coded-errors.ts'
import { Frame } from './constants.ts'
import {
  agreedFeatures,
  type Hello,
  type HelloPair,
  type Identity,
  isProof,
  matchHellos,
  proofOf,
  readHello,
  SAME_TOKEN,
} from './hello.ts'

export class Handshake {
  state: 'hello' | 'proof' | 'open' | 'failed' = 'hello'
  /** The peer's HELLO, once it has arrived. It is trusted only when the state is `open`. */
  peerHello: Hello | undefined
  #agreed: ReadonlySet<string> | undefined
  readonly #ours: Hello
  readonly #payload: Uint8Array
  readonly #tokens: readonly string[] | undefined
  #hellos: HelloPair | undefined

  /**
   * @param payload the payload of our HELLO, as it is sent
   * @param tokens this side proves the first token, and accepts each of them
   */
  constructor(ours: Hello, payload: Uint8Array, tokens: readonly string[] | undefined) {
    this.#ours = ours
    this.#payload = payload
    this.#tokens = tokens
  }

  get peer(): Identity | undefined {
    return this.peerHello?.identity
  }

  /** Whether `feature` may be used: the link is open, and both HELLOs name the feature. */
  agreed(feature: string): boolean {
    if (this.state !== 'open') return false
    this.#agreed ??= agreedFeatures(this.#ours, this.peerHello!)
    return this.#agreed.has(feature)
  }

  /** @throws RemoteProtocolError if a frame of this type may not arrive before the link is open */
  check(type: number): void {
    if (this.state === 'open' || type === Frame.GOAWAY) return
    if (type === (this.state === 'hello' ? Frame.HELLO : Frame.AUTH)) return
    throw peerError('HANDSHAKE', `received a frame of type 0x${type.toString(16)} before the handshake was complete`)
  }

  /**
   * The peer's HELLO has arrived.
   *
   * @returns the proof to send now, if any
   * @throws RemoteProtocolError if the HELLO is invalid or does not match ours
   */
  hello(payload: Uint8Array): Uint8Array | undefined {
    if (this.state !== 'hello') throw peerError('HELLO_TWICE', 'received a second HELLO')
    const theirs = readHello(payload)
    matchHellos(this.#ours, theirs)
    this.peerHello = theirs
    if (this.#tokens === undefined) {
      this.state = 'open'
      return undefined
    }
    const ours = { nonce: this.#ours.nonce, payload: this.#payload }
    const other = { nonce: theirs.nonce, payload }
    this.#hellos = this.#ours.role === 'caller' ? { caller: ours, server: other } : { caller: other, server: ours }
    this.state = 'proof'
    return this.#ours.dialled ? proofOf(this.#tokens[0]!, this.#ours.role, this.#hellos) : undefined
  }

  /**
   * The peer's proof has arrived. Returns as `hello`.
   *
   * @throws RemoteProtocolError if the proof is wrong or unexpected
   */
  auth(proof: Uint8Array): Uint8Array | undefined {
    if (this.state !== 'proof') throw peerError('HANDSHAKE', 'received a proof of the token that was not requested')
    const role = this.#ours.role
    const other = role === 'caller' ? 'server' : 'caller'
    // Compare all tokens, so that the time does not reveal which token matched.
    const [matching] = this.#tokens!.filter((token) => isProof(proof, proofOf(token, other, this.#hellos!)))
    if (matching === undefined) {
      throw peerError('UNAUTHENTICATED', `the peer does not hold the same token; ${SAME_TOKEN}`)
    }
    this.state = 'open'
    // Prove the same token as the dialler: it may not have any other token of ours.
    return this.#ours.dialled ? undefined : proofOf(matching, role, this.#hellos!)
  }
}
