/**
 * Notices when one of many files is written, replaced, removed or made. The system's notices (chokidar) make it quick; a
 * look about once a second makes it sure, since they are lost on network mounts, on a host's directory in a virtual machine's container, and
 * now and then where a file is replaced by a rename. It imports nothing and starts nothing.
 */

import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { type FSWatcher, watch } from 'chokidar'
import type { Logger } from '../protocol/log/logger.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import { ABSENT, signatureOf } from './messages.ts'

export interface WatcherOptions {
  readonly clock: Clock
  readonly log: Logger
  /** A file differs from what it was when it was added, or last differed. */
  readonly onChange: (file: string) => void
  /** Milliseconds between two looks at every file. */
  readonly interval?: number
}

/** A look may take this part of the time: it is a `stat` for each file, on the machine that someone works at. */
const LOOKING_SHARE = 1 / 20

export class Watcher {
  readonly #options: WatcherOptions
  readonly #interval: number
  /** Each file's signature as it is known. */
  readonly #files: Map<string, string> = new Map()
  readonly #directories: Set<string> = new Set()
  readonly #notices: FSWatcher
  #timer: Timer | undefined
  #closed = false

  constructor(options: WatcherOptions) {
    this.#options = options
    this.#interval = options.interval ?? 1_000
    // Directories are watched, not files: a file that was removed, or replaced by another one, has no notices of its own any more.
    this.#notices = watch([], {
      depth: 0,
      ignored: (path) => !this.#files.has(path) && !this.#directories.has(path),
    })
    this.#notices.on('all', (_event, path) => void this.#check(path))
    // chokidar leaves out what comes within a few milliseconds, and tells late of what is removed. That anything has happened in a directory is
    // reason enough to look at its files: what has changed, they say themselves.
    this.#notices.on('raw', (_event, _name, details) =>
      this.#stirred((details as { watchedPath?: string }).watchedPath),
    )
    // No more watches to be had (ENOSPC), a directory that may not be read: the looks go on.
    this.#notices.on('error', (error) => this.#options.log.debug({ error: String(error) }, 'files are not watched'))
    this.#timer = options.clock.after(this.#interval, this.#look)
  }

  get files(): string[] {
    return [...this.#files.keys()]
  }

  /** @param signature what whoever uses the file has seen of it; ABSENT: nothing was there */
  add(file: string, signature: string): void {
    if (this.#closed) return
    if (!this.#files.has(file)) {
      this.#files.set(file, signature)
      const directory = dirname(file)
      if (!this.#directories.has(directory)) {
        this.#directories.add(directory)
        this.#notices.add(directory)
      } else this.#notices.add(file)
    }
    // It may have been changed since it was read.
    void this.#check(file)
  }

  /** Forgets all files but these. */
  keep(files: ReadonlySet<string>): void {
    for (const file of this.#files.keys()) {
      if (files.has(file)) continue
      this.#files.delete(file)
      this.#notices.unwatch(file)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#notices.close()
  }

  /** Looks at every file now. */
  async look(): Promise<void> {
    await Promise.all(this.files.map((file) => this.#check(file)))
  }

  readonly #look = async (): Promise<void> => {
    const { clock } = this.#options
    const began = clock.now()
    await this.look()
    if (this.#closed) return
    this.#timer = clock.after(Math.max(this.#interval, (clock.now() - began) / LOOKING_SHARE), this.#look)
  }

  /** @param path of a file or directory with notices */
  #stirred(path: string | undefined): void {
    if (path === undefined) return
    const directory = this.#directories.has(path) ? path : dirname(path)
    for (const file of this.#files.keys()) if (dirname(file) === directory) void this.#check(file)
  }

  async #check(file: string): Promise<void> {
    if (!this.#files.has(file)) return
    const now = await signature(file)
    const known = this.#files.get(file)
    if (this.#closed || known === undefined || known === now) return
    this.#files.set(file, now)
    this.#options.onChange(file)
  }
}

async function signature(file: string): Promise<string> {
  try {
    return signatureOf(await stat(file, { bigint: true }))
  } catch {
    return ABSENT
  }
}

/** `app.ts and 2 more`, for a line in a terminal. */
export function describeFiles(files: readonly string[]): string {
  const [first, ...rest] = files.map((file) => basename(file))
  if (first === undefined) return 'nothing'
  return rest.length === 0 ? first : `${first} and ${rest.length} more`
}
