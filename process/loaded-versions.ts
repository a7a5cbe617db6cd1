/**
 * Finds the versions of Gantry that this process has loaded: the server's own, and those that its application and
 * middleware import.
 */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { loadedFrom } from '../protocol/contract/brand.ts'
import type { Logger } from '../protocol/log/logger.ts'

interface Copy {
  readonly version: string
  /** The folder of its `package.json`. */
  readonly path: string
}

/** The package that a folder belongs to; undefined if it is not Gantry's (in a bundle the version is unknown). */
function copyIn(folder: string): Copy | undefined {
  for (let path = folder; ; path = dirname(path)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as Record<string, unknown>
      return name === 'gantry' && typeof version === 'string' ? { version, path } : undefined
    } catch {
      if (path === dirname(path)) return undefined
    }
  }
}

/** One copy for each known version that differs from this copy's version. */
export function otherVersions(own: Copy | undefined, folders: Iterable<string>): readonly Copy[] {
  const found: Map<string, Copy> = new Map()
  for (const folder of folders) {
    const copy = copyIn(folder)
    if (copy && copy.version !== own?.version && !found.has(copy.version)) found.set(copy.version, copy)
  }
  return [...found.values()]
}

/**
 * Logs a warning if the application or its middleware uses another version of Gantry than the server. Call it after
 * they are loaded.
 */
export function warnOfOtherVersions(log: Pick<Logger, 'warn'>): void {
  if (loadedFrom.size === 1) return
  const own = copyIn(import.meta.dirname)
  const others = otherVersions(own, loadedFrom)
  if (!own || others.length === 0) return
  const theirs = others.map(({ version, path }) => `${version} (${path})`).join(' and ')
  log.warn(
    { server: own, application: others },
    `two versions of Gantry are loaded: the server is ${own.version} (${own.path}), and the application or its middleware imports ${theirs}; install one version for both, or start the server from the application's own folder with npx gantry`,
  )
}
