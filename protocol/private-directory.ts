/**
 * Directories in the folder for temporary files, for Unix sockets that only this user may reach. A process removes its
 * own at exit; those of processes that were killed are removed by the next process.
 */

import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const PREFIX = 'gantry-'
/** The socket on which the owner listens as long as it lives. */
const OWNER = 'owner.sock'
/** Directories that one sweep looks at, so that a full folder for temporary files does not delay a start. */
const MOST = 1_000

/**
 * Makes a directory that only this user can enter (mkdtemp: mode 0700).
 *
 * Its owner listens on a socket in it: unlike a process id, that works across containers that share the folder, and after
 * a restart of the host. The system closes the socket when the process ends, however it ends.
 *
 * @param name what it is for, as a part of its name
 */
export function privateDirectory(name: string = ''): string {
  const directory = mkdtempSync(join(tmpdir(), PREFIX + name))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  const owner = createServer((socket) => socket.destroy())
  // Without it (a path that is too long, no descriptors) the directory is removed at exit only.
  owner.on('error', () => {})
  owner.listen(join(directory, OWNER))
  owner.unref()
  return directory
}

/** Removes this user's directories whose owners were killed. Neither throws nor keeps the process alive. */
export async function sweepPrivateDirectories(folder: string = tmpdir()): Promise<void> {
  let names: string[]
  try {
    names = readdirSync(folder).filter((name) => name.startsWith(PREFIX))
  } catch {
    return
  }
  for (const name of names.slice(0, MOST)) {
    const directory = join(folder, name)
    try {
      if (!isOurs(directory) || !(await isAbandoned(directory))) continue
      rmSync(directory, { recursive: true, force: true })
    } catch {
      // It cannot be entered, or another process removes it at the same time.
    }
  }
}

/** Another user may have placed a link there. */
function isOurs(directory: string): boolean {
  const stats = lstatSync(directory)
  return stats.isDirectory() && stats.uid === process.getuid?.()
}

async function isAbandoned(directory: string): Promise<boolean> {
  if (await isRefused(join(directory, OWNER))) return true
  // Releases without OWNER listened on this one as long as they lived.
  return basename(directory).startsWith(`${PREFIX}self-`) && (await isRefused(join(directory, 'self.sock')))
}

/** Whether `path` is a Unix socket on which no process listens. */
async function isRefused(path: string): Promise<boolean> {
  // A connection to a plain file is refused too.
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false
  return await new Promise((resolve) => {
    const socket = new Socket()
    const over = (refused: boolean): void => {
      socket.destroy()
      resolve(refused)
    }
    socket
      .on('connect', () => over(false))
      .on('error', (error: NodeJS.ErrnoException) => over(error.code === 'ECONNREFUSED'))
    socket.connect(path)
    socket.unref()
  })
}
