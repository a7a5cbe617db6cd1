/**
 * Temporary directories for Unix sockets that only this user can reach. A process removes its own directories at exit,
 * and those of killed processes when it starts.
 */

import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const PREFIX = 'gantry-'
/** The socket on which the owner listens until it exits. */
const OWNER = 'owner.sock'
/** How many directories one sweep examines at most: a full folder for temporary files must not delay the start. */
const MOST = 1_000

/**
 * Makes a directory that only this user can enter (mkdtemp: mode 0700).
 *
 * Its owner listens on a socket in it, which the system closes when the process ends in any way. Unlike a process id,
 * that works across containers that share the folder, and after a restart of the host.
 *
 * @param name a part of the directory's name that says what it is for
 */
export function privateDirectory(name: string = ''): string {
  const directory = mkdtempSync(join(tmpdir(), PREFIX + name))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  const owner = createServer((socket) => socket.destroy())
  // Without the socket (path too long, no file descriptors) the directory is removed at exit only.
  owner.on('error', () => {})
  owner.listen(join(directory, OWNER))
  owner.unref()
  return directory
}

/** Removes this user's directories whose owners were killed. Does not throw, and does not keep the process alive. */
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

/** False for a symbolic link, which another user may have placed there. */
function isOurs(directory: string): boolean {
  const stats = lstatSync(directory)
  return stats.isDirectory() && stats.uid === process.getuid?.()
}

async function isAbandoned(directory: string): Promise<boolean> {
  if (await isRefused(join(directory, OWNER))) return true
  // Releases without OWNER listened on this socket as long as they lived.
  return basename(directory).startsWith(`${PREFIX}self-`) && (await isRefused(join(directory, 'self.sock')))
}

/** Whether `path` is a Unix socket on which no process listens. */
async function isRefused(path: string): Promise<boolean> {
  // Connections to a plain file are refused too.
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
