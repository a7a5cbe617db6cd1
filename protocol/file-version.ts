/** What changes when a file is written or replaced: its version, for files that are read again when it does. */

import type { Stats } from 'node:fs'

export function fileVersion({ mtimeMs, ctimeMs, size, ino }: Stats): string {
  return `${mtimeMs} ${ctimeMs} ${size} ${ino}`
}
