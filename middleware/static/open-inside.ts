/**
 * Files below a root by the names that requests give, and no other file: what cannot be named, what lies outside, by whatever link, and
 * what is no regular file is not opened or not given. It knows no HTTP but for `PATH_INFO`.
 *
 * Names are bytes as latin1, as PATH_INFO has them, up to the system call: a name that is not UTF-8 is then only a name.
 *
 * The order is what makes it safe while others rename: look, open without waiting, and then ask where the *opened* file lies. A check of
 * a path before it is opened is a check of what it was.
 */

import { fstatSync, open, readlinkSync, realpath, type Stats, stat, statSync } from 'node:fs'
import { resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type OpenFile, ownedDescriptor } from '../../protocol/files/file-blocks.ts'
import { OPEN_FLAGS } from '../../protocol/files/file-body.ts'

/** A file that lies below the root. Whoever is given it closes it. */
export interface InsideFile extends OpenFile {
  readonly stats: Stats
}

/** What a name stands for. */
export type Found = { readonly kind: 'file'; readonly file: InsideFile } | { readonly kind: 'directory' }

/**
 * The segments of a PATH_INFO, empty ones left out (nginx's merge_slashes); undefined when it names nothing: a NUL, a `.` or `..`,
 * a backslash or colon where these separate, or a dotfile that is not allowed. `/.well-known/` always is (RFC 8615).
 */
export function segmentsOf(pathInfo: string, dotfiles: boolean): string[] | undefined {
  if (pathInfo !== '' && !pathInfo.startsWith('/')) return undefined
  if (pathInfo.includes('\0') || pathInfo.includes('\\')) return undefined
  // Drives and alternate streams.
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

export interface RootOptions {
  /** Whether links may lead out of the root. */
  readonly followSymlinks: boolean
  /** Milliseconds, monotonic. */
  now(): number
  /** Whether to ask Linux where a descriptor leads; else paths are resolved and compared. */
  readonly proc?: boolean
}

/** How long the root's own real path is taken for true, ms: a link to the root that is moved at a deploy is seen by then. */
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

  /** What of an absolute path, in bytes as latin1, is below the root, as it was given or as it really is; undefined when nothing is. */
  async relative(path: string): Promise<string | undefined> {
    for (const base of [this.#native, await this.#realRoot()]) {
      const start = base.endsWith('/') ? base : `${base}/`
      if (path.startsWith(start)) return path.slice(start.length - 1)
    }
    return undefined
  }

  /** What is known of a name without opening it; undefined when there is nothing. Links are followed wherever they lead. */
  async look(segments: readonly string[], suffix = ''): Promise<Stats | undefined> {
    try {
      return await system.stat(this.#path(segments, suffix))
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  /**
   * What `segments` name; undefined for nothing, what lies outside, and what is neither a file nor a directory.
   *
   * @param suffix of the last name, as `.gz`
   * @throws Error of `node:fs` but for those that say that there is no such file (EACCES, EMFILE, EIO…)
   */
  async find(segments: readonly string[], suffix = ''): Promise<Found | undefined> {
    // A look first, since opening a device may do something to it.
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
      // At once: the inode of what is open is in memory. A turn of the thread pool costs more than the call, by tens of µs.
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

  /** Whether the file that is open lies below the root, whatever its name leads to by now. */
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

  /** Whether `path` leads below the root, and to the very file that `stats` are of. */
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

/** No such file, by whatever reason: a name that is too long or invalid, a part of it that is no directory, links in a circle. */
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
 * The absolute path of a folder that is an option.
 *
 * @throws TypeError when it is none
 */
export function folder(root: string | URL, whose: string): string {
  if (typeof root !== 'string' && !(root instanceof URL)) {
    throw new TypeError(`${whose}: the root is ${String(root)}: expected the path of a folder`)
  }
  const path = resolve(root instanceof URL ? fileURLToPath(root) : root)
  if (root === '' || !statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new TypeError(`${whose}: the root ${JSON.stringify(String(root))} is no folder (looked for at ${path})`)
  }
  return path
}
