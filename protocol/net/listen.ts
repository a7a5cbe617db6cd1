/**
 * Listening sockets, TCP and Unix. Gives each accepted connection to its caller; knows no protocol.
 */

// A Unix socket is bound under a temporary name and then linked to its path. A link fails if the path exists, so that
// of two processes one wins. Permissions are set before other processes can see the socket. And libuv, which unlinks
// the name that it has bound when it closes, cannot remove a path that another process has taken over since.

import { chmodSync, existsSync, linkSync, lstatSync, renameSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { listenCodes } from '../contract/error-codes/start-codes.ts'
import type { Logger } from '../log/logger.ts'
import { listenTarget, printAddress, type TcpAddress, type UnixAddress } from './address.ts'
import { yieldToEventLoop } from './event-loop.ts'
import { type FileIdentity, remove, removeStale, sameFile } from './stale-socket.ts'

/** Why nobody can listen; `docs/errors.md` explains each code. */
export type ListenErrorCode = keyof typeof listenCodes

/** An address on which this process cannot listen. The message says where and why. */
export class ListenError extends Error {
  override readonly name: string = 'ListenError'
  readonly code: ListenErrorCode

  constructor(code: ListenErrorCode, address: UnixAddress | TcpAddress, why: string) {
    super(`cannot listen on ${printAddress(address)}: ${why}`)
    this.code = code
  }
}

interface ListenOptions {
  readonly log: Logger
  /** Permissions of a Unix socket; undefined: as the umask allows. */
  readonly mode?: number | undefined
  /** Silence after which the operating system probes a TCP peer (SO_KEEPALIVE), ms; Infinity: never. Default: 60 s. */
  readonly keepAlive?: number | undefined
  /** For tests: makes a hard link. */
  readonly link?: ((from: string, to: string) => void) | undefined
}

export interface Listener {
  /** With the port that the operating system chose, if port 0 was given. */
  readonly address: UnixAddress | TcpAddress
  /**
   * Stops accepting connections; open connections stay. Removes the path of a Unix socket at once, unless another
   * process has taken it over.
   *
   * Until the promise resolves, connections in the backlog are still accepted: closing the socket would reset them, and
   * their clients may have sent requests.
   */
  close(): Promise<void>
}

// Connections that wait to be accepted: Linux limits this to net.core.somaxconn, which is 4096 since 5.4. A burst of
// clients exceeds Node's default of 511 while the event loop is busy; then each further client waits a second until it
// repeats its SYN.
const BACKLOG = 4096

/** Default of `--tcp-keep-alive`; the option table has the reason. */
export const KEEP_ALIVE = 60_000
/**
 * Below a second Node keeps the system's default of two hours; above this, Linux rejects TCP_KEEPIDLE. Milliseconds.
 */
const KEEP_ALIVE_RANGE = { least: 1_000, most: 32_767_000 }

/** An event-loop iteration that takes less had nothing to do, ms: an empty iteration takes a tenth of this. */
const QUIET_MILLISECONDS = 0.1

/**
 * Listens on `address`, and calls back with each connection. A Unix socket whose process was killed is replaced; a live
 * one is not.
 *
 * The connections have `allowHalfOpen` (a response may follow the client's FIN), no Nagle delay, TCP keep-alive (a
 * client that has lost its network sends no FIN), and an `error` listener, so that a socket without an owner cannot end
 * the process.
 *
 * @throws ListenError if this process cannot listen on the address
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
  // Discovery ignores names that begin with a dot. If the directory does not exist, libuv reports EACCES, as on
  // Windows: hence the check.
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
 * Closes right after an event-loop iteration in which no client connected and little else happened. The operating
 * system resets connections in the backlog, and libuv accepts one connection per iteration. A client is lost only if it
 * connects between the last poll and the close: some microseconds, instead of the milliseconds of a busy iteration. No
 * system call closes this gap completely.
 */
async function closeServer(server: Server): Promise<void> {
  let accepted = 0
  server.on('connection', () => accepted++)
  // The first call of `close` compiles it, which would take longer than the whole gap.
  createServer().close()
  const closeSocket = socketCloser(server)
  // The rest of the current iteration may poll no socket.
  await yieldToEventLoop()
  for (let round = 0; round < BACKLOG; round++) {
    const before = accepted
    const began = performance.now()
    await yieldToEventLoop()
    if (accepted === before && performance.now() - began < QUIET_MILLISECONDS) break
  }
  closeSocket?.()
  server.close()
  await yieldToEventLoop()
}

/**
 * Returns a function that closes a node:cluster worker's copy of the listening socket: there `server.close()` first
 * sends a message to the primary, which takes longer than the gap. The function is bound beforehand, so that no code is
 * compiled in the gap.
 */
function socketCloser(server: Server): (() => void) | undefined {
  const { _handle: handle } = server as { _handle?: { close(): void } | null }
  if (!handle || !Object.hasOwn(handle, 'close')) return undefined
  const { close } = Object.getPrototypeOf(handle) as { close(): void }
  return close.bind(handle)
}

/**
 * Error codes of file systems without hard links, or without hard links of sockets (macOS, some mounts of virtual
 * machines).
 */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/**
 * Gives the socket `own` the path of `address`, if the path is free or its socket is dead.
 *
 * @throws ListenError if another process listens there, or the path is not a socket
 */
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
      // Without a link it is not certain that no other process does the same at this moment.
      renameSync(own, path)
      return
    }
    if (!there) continue
    if (!there.isSocket()) {
      throw new ListenError(
        'NOT_A_SOCKET',
        address,
        'the path exists and is not a socket: remove it, or use another path',
      )
    }
    if (await isLive(path)) throw new ListenError('ADDRESS_IN_USE', address, 'another process is listening there')
    removeStale(path, there, `${own}x`)
  }
  throw new ListenError('ADDRESS_IN_USE', address, 'other processes took the path over in each of 5 attempts')
}

function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // ECONNREFUSED: only the file is left. ENOENT: the file was removed meanwhile. Any other error (no permission, a
    // full backlog) means that a process listens.
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
  // Mostly a lack of file descriptors. The listener goes on, and may accept the next connection.
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
      return 'the host name cannot be resolved'
    default:
      return error.message ?? 'the operating system gave no reason'
  }
}

function within(keepAlive: number): number {
  return Math.min(Math.max(keepAlive, KEEP_ALIVE_RANGE.least), KEEP_ALIVE_RANGE.most)
}

function ignore(): void {}
