/** Identifies socket files, and removes one whose process has ended, but never a live one of the same name. */

import { linkSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs'

/** Tells a file from another one of the same name. */
export type FileIdentity = Pick<Stats, 'dev' | 'ino' | 'birthtimeMs'>

/** Undefined if there is no file at the path, or this process may not read the directory. */
export function identityOf(path: string): FileIdentity | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/** Whether both are the same file, and not only of the same name or inode number. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  // Inode numbers are reused soon; the time of birth differs then.
  return a.dev === b.dev && a.ino === b.ino && a.birthtimeMs === b.birthtimeMs
}

/**
 * Removes a dead socket, unless another process has replaced it by a live one.
 *
 * @param aside a free path in the same directory that discovery ignores (a name that begins with a dot)
 * @returns whether this call removed the dead socket
 * @throws Error of node:fs if this process may not remove it
 */
export function removeStale(path: string, stale: FileIdentity, aside: string): boolean {
  const there = identityOf(path)
  if (!there || !sameFile(there, stale)) return false
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  try {
    // Another process may have created a live socket before the rename.
    if (sameFile(lstatSync(aside), stale)) return true
    giveBack(aside, path)
    return false
  } finally {
    remove(aside)
  }
}

/**
 * Restores a live socket that was moved. Without hard links (macOS, some mounts) a rename does so, which replaces a
 * socket that was created meanwhile.
 */
function giveBack(aside: string, path: string): void {
  try {
    linkSync(aside, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') renameSync(aside, path)
  }
}

/** Removes a file if that is possible. */
export function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Another process has removed it, or this process may not remove it: nothing is left to do here.
  }
}
