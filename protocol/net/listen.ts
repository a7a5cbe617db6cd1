/**
 * Listening sockets, TCP and Unix. What comes in is handed over as it is; no protocol is known here.
 *
 * A Unix socket is bound under a name of its own and then linked to its path: the link is made only where nothing is, so
 * that of two processes one wins; permissions are set before anyone can see it; and libuv, which unlinks the name it
 * bound when it closes, cannot take away a path that another process has since made its own.
 */

import { chmodSync, existsSync, linkSync, lstatSync, renameSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { listenCodes } from '../contract/error-codes/start-codes.ts'
import type { Logger } from '../log/logger.ts'
import { listenTarget, printAddress, type TcpAddress, type UnixAddress } from './address.ts'
import { type FileIdentity, remove, removeStale, sameFile } from './stale-socket.ts'

/** Why nobody can listen; `docs/errors.md` explains each code. */
export type ListenErrorCode = keyof typeof listenCodes

/** Nobody can listen there. The message says where and why. */
export class ListenError extends Error {
  override readonly name: string = 'ListenError'
  readonly code: ListenErrorCode

  constructor(code: ListenErrorCode, address: UnixAddress | TcpAddress, why: string) {
    super(`cannot listen on ${printAddress(address)}: ${why}`)
    this.code = code
  }
}

export interface ListenOptions {
  readonly log: Logger
  /** Permissions of a Unix socket; what the umask leaves if not given. */
  readonly mode?: number | undefined
  /** Silence after which the system probes a TCP peer (SO_KEEPALIVE), ms; Infinity: never. Default 60 s. */
  readonly keepAlive?: number | undefined
  /** For tests: gives a file a second name. */
  readonly link?: ((from: string, to: string) => void) | undefined
}

export interface Listener {
  /** With the port that the system chose where 0 was asked for. */
  readonly address: UnixAddress | TcpAddress
  /**
   * Takes no further connection; those it gave stay. A Unix socket's path is removed at once, if it is still this listener's.
   *
   * Connections that the system has taken already come until the promise resolves, and with them what they have sent: closing
   * would reset them, though they were made in good faith.
   */
  close(): Promise<void>
}

// Connections that wait to be accepted: Linux caps it at net.core.somaxconn, which is 4096 since 5.4. Node's 511 is
// passed by a burst of clients while the loop is busy, and each then waits a second for its SYN's repetition.
const BACKLOG = 4096

/** Default of `--tcp-keep-alive`; the option table has the reason. */
export const KEEP_ALIVE = 60_000
/**
 * Below a second Node keeps the system's default of two hours; above this, Linux rejects TCP_KEEPIDLE. Milliseconds.
 */
const KEEP_ALIVE_RANGE = { least: 1_000, most: 32_767_000 }

/** A round of the event loop that takes less had nothing to do: an empty one takes a tenth of it. */
const QUIET_MILLISECONDS = 0.1

/**
 * Listens on `address` and calls back with each connection. A Unix path where nobody listens any more (its process was
 * killed) is taken over; one where somebody does is not.
 *
 * Sockets have `allowHalfOpen` (a response may follow the client's FIN), no Nagle delay, TCP keep-alive (a client whose
 * network is lost sends no FIN), and an `error` listener, so that a socket without an owner cannot end the
 * process.
 *
 * @throws ListenError
 */
export async function listen(
  address: UnixAddress | TcpAddress,
  options: ListenOptions,
  onSocket: (socket: Socket) => void,
): Promise<Listener> {
  const { keepAlive = KEEP_ALIVE } = options
  const keeping =
    keepAlive === Number.POSITIVE_INFINITY ? {} : { keepAlive: true, keepAliveInitialDelay: within(keepAlive) }
  const server = createServer({ allowHalfOpen: true, noDelay: true, ...keeping }, (socket) => {
    socket.on('error', ignore)
    onSocket(socket)
  })
  return address.kind === 'unix'
    ? await listenUnix(server, address, options)
    : await listenTcp(server, address, options)
}

async function listenTcp(server: Server, address: TcpAddress, options: ListenOptions): Promise<Listener> {
  await bind(server, address, listenTarget(address))
  watch(server, address, options)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
  let closed: Promise<void> | undefined
  return { address: { ...address, port }, close: () => (closed ??= closeServer(server)) }
}

async function listenUnix(server: Server, address: UnixAddress, options: ListenOptions): Promise<Listener> {
  const { path } = address
  const own = join(dirname(path), `.${Math.random().toString(36).slice(2, 8)}`)
  // The system lists what it bound, not what was linked; and a name that begins with a dot is no container's to find.
  // libuv says EACCES of a directory that is not there, as Windows does.
  if (!existsSync(dirname(path))) throw new ListenError('CANNOT_LISTEN', address, describe({ code: 'ENOENT' }))
  await bind(server, address, { path: own })
  let mine: FileIdentity
  try {
    if (options.mode !== undefined) chmodSync(own, options.mode)
    mine = lstatSync(own)
    await claim(address, own, options.link ?? linkSync)
    remove(own)
  } catch (error) {
    server.close()
    if (error instanceof ListenError) throw error
    throw new ListenError('CANNOT_LISTEN', address, describe(error as NodeJS.ErrnoException))
  }
  watch(server, address, options)
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    const there = lstatSync(path, { throwIfNoEntry: false })
    if (there && sameFile(there, mine)) remove(path)
    return closeServer(server)
  }
  return { address, close: () => (closed ??= close()) }
}

/**
 * Closes right after a round of the event loop in which nobody came and little else happened. The system resets what it
 * has taken and nobody has accepted, and libuv accepts one connection a round; so what may be lost is whoever comes between that
 * round's look and the close: some microseconds instead of a busy round's milliseconds. No system call closes the gap wholly.
 */
async function closeServer(server: Server): Promise<void> {
  let accepted = 0
  server.on('connection', () => accepted++)
  // Run for the first time, `close` is compiled first, which takes longer than all of the gap.
  createServer().close()
  const closeSocket = socketCloser(server)
  // What is left of the present round may look at nothing.
  await nextRound()
  for (let round = 0; round < BACKLOG; round++) {
    const before = accepted
    const began = performance.now()
    await nextRound()
    if (accepted === before && performance.now() - began < QUIET_MILLISECONDS) break
  }
  closeSocket?.()
  server.close()
  await nextRound()
}

/**
 * Returns a function that closes a node:cluster worker's copy of the listening socket: there `server.close()` first
 * sends a message to the primary, which takes longer than the gap. It is bound beforehand, so that nothing of ours is
 * compiled in the gap.
 */
function socketCloser(server: Server): (() => void) | undefined {
  const { _handle: handle } = server as { _handle?: { close(): void } | null }
  if (!handle || !Object.hasOwn(handle, 'close')) return undefined
  const { close } = Object.getPrototypeOf(handle) as { close(): void }
  return close.bind(handle)
}

function nextRound(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** What file systems say that have no hard links, or none of sockets (macOS, some mounts of virtual machines). */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/** Makes `own` known as the address's path, where nothing is or what is there is dead. */
async function claim(address: UnixAddress, own: string, link: (from: string, to: string) => void): Promise<void> {
  const { path } = address
  for (let tries = 0; tries < 5; tries++) {
    let unlinkable = false
    try {
      link(own, path)
      return
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      unlinkable = NO_LINKS.has(code ?? '')
      if (code !== 'EEXIST' && !unlinkable) throw error
    }
    const there = lstatSync(path, { throwIfNoEntry: false })
    if (!there && unlinkable) {
      // All that is lost is the certainty that no other process does the same in this very moment.
      renameSync(own, path)
      return
    }
    if (!there) continue
    if (!there.isSocket()) {
      throw new ListenError(
        'NOT_A_SOCKET',
        address,
        'the path exists and is not a socket; remove the file or choose another path',
      )
    }
    if (await isLive(path)) throw new ListenError('ADDRESS_IN_USE', address, 'another process is listening there')
    removeStale(path, there, `${own}x`)
  }
  throw new ListenError('ADDRESS_IN_USE', address, 'other processes repeatedly take the address')
}

function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // Refused: its file is all that is left. Gone meanwhile: not there either. Anything else (no permission, a full
    // backlog) is somebody's.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
  })
}

function bind(
  server: Server,
  address: UnixAddress | TcpAddress,
  target: { path: string } | { host?: string; port: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'ADDRESS_IN_USE' : 'CANNOT_LISTEN'
      reject(new ListenError(code, address, describe(error)))
    })
    server.listen({ ...target, backlog: BACKLOG }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}

function watch(server: Server, address: UnixAddress | TcpAddress, { log }: ListenOptions): void {
  // Out of descriptors, mostly: the listener lives on, and the next connection may be taken.
  server.on('error', (error) => {
    log.error({ address: printAddress(address), err: error }, 'a connection could not be accepted')
  })
}

function describe(error: Pick<NodeJS.ErrnoException, 'code'> & { message?: string }): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return 'another process is listening there'
    case 'EACCES':
    case 'EPERM':
      return 'this user has no permission'
    case 'ENOENT':
      return 'the directory does not exist'
    case 'EADDRNOTAVAIL':
      return 'no interface of this host has that address'
    case 'ENOTFOUND':
      return 'no host of that name is known'
    default:
      return error.message ?? 'the operating system gave no reason'
  }
}

function within(keepAlive: number): number {
  return Math.min(Math.max(keepAlive, KEEP_ALIVE_RANGE.least), KEEP_ALIVE_RANGE.most)
}

function ignore(): void {}
