/** The other ends of a process's standard streams: readers that have closed, that stall, and full disks. */

import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'

export interface Reader {
  /** For `spawn`. */
  readonly stdio: number | 'pipe'
  close(): void
}

const { O_RDWR, O_NONBLOCK } = constants

/** A named pipe in `directory`, full at the start by default; its writers block, as those of a shell's pipes do. */
export class Pipe implements Reader {
  readonly stdio: number
  readonly #path: string
  #reader: number

  constructor(directory: string, full = true) {
    this.#path = `${directory}/${Math.random().toString(36).slice(2)}`
    execFileSync('mkfifo', [this.#path])
    this.#reader = openSync(this.#path, O_RDWR | O_NONBLOCK)
    this.stdio = openSync(this.#path, 'w')
    if (full) this.fill()
  }

  fill(): void {
    for (const size of [4096, 1]) {
      const bytes = Buffer.alloc(size, '\n')
      while (attempt(() => writeSync(this.#reader, bytes)) !== undefined);
    }
  }

  /** Its contents now. */
  read(): string {
    const bytes = Buffer.alloc(64 * 1024)
    let text = ''
    for (;;) {
      const length = attempt(() => readSync(this.#reader, bytes))
      if (length === undefined || length === 0) return text
      text += bytes.toString('utf8', 0, length)
    }
  }

  /** Closes the reading end. */
  leave(): void {
    closeSync(this.#reader)
  }

  /** Opens a reading end again. */
  returns(): void {
    this.#reader = openSync(this.#path, O_RDWR | O_NONBLOCK)
  }

  close(): void {
    closeSync(this.stdio)
  }
}

/** Reads; undefined if that would block. */
function attempt(act: () => number): number | undefined {
  try {
    return act()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return undefined
  }
}

export const readers: Readonly<Record<string, (directory: string) => Reader>> = {
  'a full disk (/dev/full)': () => {
    const stdio = openSync('/dev/full', 'w')
    return { stdio, close: () => closeSync(stdio) }
  },
  'a pipe whose reader has gone': (directory) => {
    const pipe = new Pipe(directory, false)
    pipe.leave()
    return pipe
  },
  'a full pipe that nobody reads': (directory) => {
    const pipe = new Pipe(directory)
    const close = (): void => {
      pipe.close()
      pipe.leave()
    }
    return { stdio: pipe.stdio, close }
  },
  // As for systemd's journal, and every stream of a child of Node. Full with some 300 KB.
  'a Unix socket that nobody reads': () => ({ stdio: 'pipe', close: () => {} }),
}
