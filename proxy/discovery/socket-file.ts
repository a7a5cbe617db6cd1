/**
 * Decides whether a refused connection to a socket file in a watched directory means that the file is left over from a
 * killed process. The dialer examines, dials and removes the file.
 */

import { type FileIdentity, sameFile } from '../../protocol/net/stale-socket.ts'

/**
 * How long a socket may refuse connections before it counts as left over, ms. A live process refuses them only between
 * bind() and listen(), for microseconds. If the process was stopped there, its file is dialled again once it is
 * replaced.
 */
const LEFT_OVER_AFTER = 5_000

/**
 * - `unknown`: dial again
 * - `left over`: no process listens. The file may belong to another host in a shared file system, so it is not removed.
 * - `dead`: a process of this kernel has listened on this file, and has ended. No process will ever listen on this file
 *   again: bind() creates a new file.
 */
type SocketState = 'unknown' | 'left over' | 'dead'

/** One socket file, and the results of connections to it. */
export class SocketFile {
  readonly path: string
  #identity: FileIdentity | undefined
  #reached = false
  #refusedSince: number | undefined

  constructor(path: string) {
    this.path = path
  }

  /** The file that was dialled last. */
  get identity(): FileIdentity | undefined {
    return this.#identity
  }

  /** Called before a connection is made. @param identity of the file; undefined: the file does not exist */
  dialled(identity: FileIdentity | undefined): void {
    if (this.is(identity)) return
    this.#identity = identity
    this.#reached = false
    this.#refusedSince = undefined
  }

  /** A container has answered on this file. */
  reached(): void {
    this.#reached = true
    this.#refusedSince = undefined
  }

  /** @param code of the error with which the connection failed */
  failed(code: unknown, now: number): SocketState {
    // ENOENT: nothing to remove. EAGAIN (a full backlog) and all errors after accept() show that a process listens.
    if (code !== 'ECONNREFUSED' || !this.#identity) {
      this.#refusedSince = undefined
      return 'unknown'
    }
    if (this.#reached) return 'dead'
    this.#refusedSince ??= now
    return now - this.#refusedSince >= LEFT_OVER_AFTER ? 'left over' : 'unknown'
  }

  /** Whether the file that was dialled last is this one. */
  is(identity: FileIdentity | undefined): boolean {
    if (!identity || !this.#identity) return identity === this.#identity
    return sameFile(identity, this.#identity)
  }
}
