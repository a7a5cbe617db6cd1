/** The version of a file, for files that are read again when they have changed. */

import type { Stats } from 'node:fs'

/** A text that changes when the file is written or replaced. */
export function fileVersion({ mtimeMs, ctimeMs, size, ino }: Stats): string {
  return `${mtimeMs} ${ctimeMs} ${size} ${ino}`
}
