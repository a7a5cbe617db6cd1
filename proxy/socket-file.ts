/**
 * What a proxy knows about one socket file in a directory that it watches: whether a refused connection means that the
 * file is left over from a killed process. It decides; the dialer looks, dials and removes.
 */

import { type FileIdentity, sameFile } from '../protocol/stale-socket.ts'

/**
 * Milliseconds for which a socket may refuse connections before it counts as left over. A process refuses between
 * bind() and listen(), which takes microseconds; a stopped one in between is dialled again when its file is replaced.
 */
const LEFT_OVER_AFTER = 5_000

/**
 * - `unknown`: dial again
 * - `left over`: no process listens; it may be a file of another host in a shared file system, so that it is not ours
 *   to remove
 * - `dead`: a process of this kernel listened on this very file and does so no more, which is for good (bind() makes a
 *   new file)
 */
export type SocketState = 'unknown' | 'left over' | 'dead'

export class SocketFile {
  readonly path: string
  #identity: FileIdentity | undefined
  #reached = false
  #refusedSince: number | undefined

  constructor(path: string) {
    this.path = path
  }

  /** The file that is dialled now. */
  get identity(): FileIdentity | undefined {
    return this.#identity
  }

  /** A connection is about to be made to this file: undefined if there is none. */
  dialled(identity: FileIdentity | undefined): void {
    if (this.is(identity)) return
    this.#identity = identity
    this.#reached = false
    this.#refusedSince = undefined
  }

  /** A container has answered on it. */
  reached(): void {
    this.#reached = true
    this.#refusedSince = undefined
  }

  /** @param code of the error with which the connection failed */
  failed(code: unknown, now: number): SocketState {
    // ENOENT: nothing to remove. EAGAIN (a full backlog) and whatever comes after accept() need a process that listens.
    if (code !== 'ECONNREFUSED' || !this.#identity) {
      this.#refusedSince = undefined
      return 'unknown'
    }
    if (this.#reached) return 'dead'
    this.#refusedSince ??= now
    return now - this.#refusedSince >= LEFT_OVER_AFTER ? 'left over' : 'unknown'
  }

  /** Whether the file that was dialled is this one. */
  is(identity: FileIdentity | undefined): boolean {
    if (!identity || !this.#identity) return identity === this.#identity
    return sameFile(identity, this.#identity)
  }
}
