/**
 * Opens files below a root by names from requests, and no other file: a name that is not allowed, a file outside the
 * root (by whatever link) or a file that is not regular is not opened or not returned. Of HTTP it knows only
 * `PATH_INFO`.
 */

// The order of steps makes it safe while others rename files: stat, open without blocking, then find out where the
// *opened* file is. A check before the open would check what the path was at that time.
//
// Names are bytes as latin1, as in PATH_INFO, up to the system call: a name that is not UTF-8 works like any other.

import { fstatSync, open, readlinkSync, realpath, type Stats, stat, statSync } from 'node:fs'
import { resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type OpenFile, ownedDescriptor } from '../../protocol/files/file-blocks.ts'
import { OPEN_FLAGS } from '../../protocol/files/file-body.ts'

/** An open file below the root. The caller closes it. */
export interface InsideFile extends OpenFile {
  readonly stats: Stats
}

/** What a name refers to. */
type Found = { readonly kind: 'file'; readonly file: InsideFile } | { readonly kind: 'directory' }

/**
 * The segments of a PATH_INFO without empty ones (as nginx's merge_slashes); undefined if the path cannot name a file:
 * it contains NUL, `.` or `..`, a backslash or colon where these are separators, or a dotfile that is not allowed.
 * `/.well-known/` is always allowed (RFC 8615).
 */
export function segmentsOf(pathInfo: string, dotfiles: boolean): string[] | undefined {
  if (pathInfo !== '' && !pathInfo.startsWith('/')) return undefined
  if (pathInfo.includes('\0') || pathInfo.includes('\\')) return undefined
  // Colons separate drives and alternate data streams.
  if (sep === '\\' && pathInfo.includes(':')) return undefined
  const segments = pathInfo.split('/').filter((segment) => segment !== '')
  for (let at = 0; at < segments.length; at++) {
    const segment = segments[at]!
    if (segment === '.' || segment === '..') return undefined
    if (!dotfiles && segment.startsWith('.') && !(at === 0 && segment === '.well-known')) return undefined
  }
  return segments
}

const system = {
  open: promisify(open),
  stat: promisify(stat),
  realpath: (path: Buffer): Promise<string> =>
    new Promise((resolve, reject) =>
      realpath.native(path, 'latin1', (error, real) => (error ? reject(error) : resolve(real))),
    ),
}

const bytes = (native: string): Buffer => Buffer.from(native, 'latin1')

interface RootOptions {
  /** Whether symbolic links may lead out of the root. */
  readonly followSymlinks: boolean
  /** Milliseconds, monotonic. */
  now(): number
  /** Whether to ask Linux for the path of a descriptor; otherwise real paths are compared. */
  readonly proc?: boolean
}

/** How long the root's real path is cached, ms. The root may be a link that a deploy moves. */
const ROOT_FRESH = 1_000

export class Root {
  readonly #native: string
  readonly #options: RootOptions
  #real = ''
  #resolved = Number.NEGATIVE_INFINITY
  #proc: boolean

  /** @param path absolute */
  constructor(path: string, options: RootOptions) {
    this.#native = Buffer.from(path)
      .toString('latin1')
      .replace(/[/\\]+$/, '')
    this.#options = options
    this.#proc = options.proc ?? process.platform === 'linux'
  }

  /**
   * The part of an absolute path (bytes as latin1) below the root, where the root may be written as configured or as
   * its real path; undefined if the path is not below the root.
   */
  async relative(path: string): Promise<string | undefined> {
    for (const base of [this.#native, await this.#realRoot()]) {
      const start = base.endsWith('/') ? base : `${base}/`
      if (path.startsWith(start)) return path.slice(start.length - 1)
    }
    return undefined
  }

  /**
   * The stats of a name without opening it; undefined if there is no such file. Links are followed, wherever they lead.
   */
  async look(segments: readonly string[], suffix = ''): Promise<Stats | undefined> {
    try {
      return await system.stat(this.#path(segments, suffix))
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  /**
   * Opens what `segments` name; undefined if there is no such file, it lies outside the root, or it is neither a file
   * nor a directory.
   *
   * @param suffix appended to the last name, for example `.gz`
   * @throws Error of `node:fs`, unless it means that there is no such file (EACCES, EMFILE, EIO…)
   */
  async find(segments: readonly string[], suffix = ''): Promise<Found | undefined> {
    // Stat before open: opening a device may have side effects.
    const seen = await this.look(segments, suffix)
    if (seen === undefined) return undefined
    const path = this.#path(segments, suffix)
    if (seen.isDirectory()) return (await this.#holds(path, seen)) ? { kind: 'directory' } : undefined
    if (!seen.isFile()) return undefined
    let file: OpenFile
    try {
      file = ownedDescriptor(await system.open(path, OPEN_FLAGS))
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
    try {
      // Synchronous: the inode of an open file is in memory, and a round trip to the thread pool takes tens of µs
      // longer than the call.
      const stats = fstatSync(file.fd)
      if (stats.isFile() && (await this.#holdsOpened(file.fd, path, stats))) {
        return { kind: 'file', file: { fd: file.fd, close: () => file.close(), stats } }
      }
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
    await file.close()
    return undefined
  }

  #path(segments: readonly string[], suffix: string): Buffer {
    return bytes(`${this.#native}/${segments.join('/')}${suffix}`)
  }

  /** Whether the opened file lies below the root, even if its name leads elsewhere now. */
  async #holdsOpened(fd: number, path: Buffer, stats: Stats): Promise<boolean> {
    if (this.#options.followSymlinks) return true
    if (this.#proc) {
      try {
        return await this.#isBelow(readlinkSync(`/proc/self/fd/${fd}`, 'latin1'))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        // No /proc here.
        this.#proc = false
      }
    }
    return this.#holds(path, stats)
  }

  /** Whether `path` leads below the root, and to the same file as `stats`. */
  async #holds(path: Buffer, stats: Stats): Promise<boolean> {
    if (this.#options.followSymlinks) return true
    try {
      const real = await system.realpath(path)
      if (!(await this.#isBelow(real))) return false
      const there = await system.stat(bytes(real))
      return there.dev === stats.dev && there.ino === stats.ino
    } catch (error) {
      if (isAbsent(error)) return false
      throw error
    }
  }

  async #isBelow(real: string): Promise<boolean> {
    return isWithin(await this.#realRoot(), real)
  }

  async #realRoot(): Promise<string> {
    const now = this.#options.now()
    if (now - this.#resolved >= ROOT_FRESH) {
      this.#real = await system.realpath(bytes(this.#native === '' ? '/' : this.#native))
      this.#resolved = now
    }
    return this.#real
  }
}

/** Whether a real path is `root` or below it. */
function isWithin(root: string, real: string): boolean {
  const base = root.endsWith(sep) ? root.slice(0, -1) : root
  return real === base || real.startsWith(base + sep)
}

/**
 * Whether the error means that there is no such file: also a name that is too long or invalid, a path through a file,
 * or a circle of links.
 */
function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return (
    code === 'ENOENT' ||
    code === 'ENOTDIR' ||
    code === 'ENAMETOOLONG' ||
    code === 'ELOOP' ||
    code === 'EINVAL' ||
    code === 'ENXIO'
  )
}

/**
 * The absolute path of a folder from an option.
 *
 * @param caller name of the middleware, for messages
 * @throws TypeError if it is not a folder
 */
export function folder(root: string | URL, caller: string): string {
  if (typeof root !== 'string' && !(root instanceof URL)) {
    throw new TypeError(`${caller}: the root is ${String(root)}: expected the path of a folder`)
  }
  const path = resolve(root instanceof URL ? fileURLToPath(root) : root)
  if (root === '' || !statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new TypeError(`${caller}: the root ${JSON.stringify(String(root))} is not a folder (looked for at ${path})`)
  }
  return path
}
