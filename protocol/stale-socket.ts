/**
 * Socket files whose process is gone: which file is which, and how one is removed without taking a live one of the same
 * name.
 */

import { linkSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs'

/** What tells a file from another one of the same name. */
export type FileIdentity = Pick<Stats, 'dev' | 'ino' | 'birthtimeMs'>

/** Undefined if nothing is at the path, or nobody may look. */
export function identityOf(path: string): FileIdentity | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  // An inode's number is given again soon after it was freed; its time of birth is not the same then.
  return a.dev === b.dev && a.ino === b.ino && a.birthtimeMs === b.birthtimeMs
}

/**
 * Removes a dead socket, unless another process has put a live one there since it was looked at.
 *
 * @param aside a free path in the same directory, which discovery ignores (a name that begins with a dot)
 * @returns whether the dead socket was removed here
 * @throws Error of node:fs if this process may not
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
    // Between the look and the rename a live socket may have come.
    if (sameFile(lstatSync(aside), stale)) return true
    giveBack(aside, path)
    return false
  } finally {
    remove(aside)
  }
}

/**
 * Without hard links (macOS, some mounts) a rename does it, which takes the path from whoever has made it anew
 * meanwhile.
 */
function giveBack(aside: string, path: string): void {
  try {
    linkSync(aside, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') renameSync(aside, path)
  }
}

export function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Another process was quicker, or may remove it where this one may not: there is nothing to do about it here.
  }
}
