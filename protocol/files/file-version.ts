/** The version of a file, for code that reads a file again after a change. */

import type { Stats } from 'node:fs'

/** A string that changes when the file is written or replaced. */
export function fileVersion({ mtimeMs, ctimeMs, size, ino }: Stats): string {
  return `${mtimeMs} ${ctimeMs} ${size} ${ino}`
}
