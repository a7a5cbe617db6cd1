/**
 * Detects when one of many files is written, replaced, removed or created. File system events (chokidar) make it fast.
 * Each file is also checked about once a second, since events are lost on network mounts, on host directories in a
 * virtual machine, and sometimes when a rename replaces a file.
 */

import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { type FSWatcher, watch } from 'chokidar'
import type { Logger } from '../protocol/log/logger.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import { ABSENT, signatureOf } from './messages.ts'

interface WatcherOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Called when a file has changed since it was added or last reported. */
  readonly onChange: (file: string) => void
  /** How often every file is checked, ms. Default 1,000. */
  readonly interval?: number
}

/** The fraction of time that checks may take: each is a `stat` of every file, on the developer's machine. */
const CHECK_SHARE = 1 / 20

export class Watcher {
  readonly #options: WatcherOptions
  readonly #interval: number
  /** The last known signature of each file. */
  readonly #files: Map<string, string> = new Map()
  readonly #directories: Set<string> = new Set()
  readonly #events: FSWatcher
  #timer: Timer | undefined
  #closed = false

  constructor(options: WatcherOptions) {
    this.#options = options
    this.#interval = options.interval ?? 1_000
    // Watch directories, not files: a file that was removed or replaced has no events any more.
    this.#events = watch([], {
      depth: 0,
      ignored: (path) => !this.#files.has(path) && !this.#directories.has(path),
    })
    this.#events.on('all', (_event, path) => void this.#check(path))
    // chokidar drops events within a few milliseconds of another, and reports removals late. After any event in a
    // directory all of its files are checked.
    this.#events.on('raw', (_event, _name, details) =>
      this.#checkDirectory((details as { watchedPath?: string }).watchedPath),
    )
    // No watches left (ENOSPC), or an unreadable directory: the regular checks continue.
    this.#events.on('error', (error) =>
      this.#options.log.debug(
        { error: String(error) },
        'file system events are not available: files are checked once a second',
      ),
    )
    this.#timer = options.clock.after(this.#interval, this.#look)
  }

  get files(): string[] {
    return [...this.#files.keys()]
  }

  /** @param signature of the file when it was read; ABSENT: the file did not exist */
  add(file: string, signature: string): void {
    if (this.#closed) return
    if (!this.#files.has(file)) {
      this.#files.set(file, signature)
      const directory = dirname(file)
      if (!this.#directories.has(directory)) {
        this.#directories.add(directory)
        this.#events.add(directory)
      } else this.#events.add(file)
    }
    // The file may have changed since it was read.
    void this.#check(file)
  }

  /** Stops watching all files except these. */
  keep(files: ReadonlySet<string>): void {
    for (const file of this.#files.keys()) {
      if (files.has(file)) continue
      this.#files.delete(file)
      this.#events.unwatch(file)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#events.close()
  }

  /** Checks every file now. */
  async look(): Promise<void> {
    await Promise.all(this.files.map((file) => this.#check(file)))
  }

  readonly #look = async (): Promise<void> => {
    const { clock } = this.#options
    const began = clock.now()
    await this.look()
    if (this.#closed) return
    this.#timer = clock.after(Math.max(this.#interval, (clock.now() - began) / CHECK_SHARE), this.#look)
  }

  /** Checks the files of a directory. @param path of a file or directory with an event */
  #checkDirectory(path: string | undefined): void {
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
