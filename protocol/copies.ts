/** Which versions of Gantry this process has loaded: the server's own, and those that its application and middleware import. */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { loadedFrom } from './brand.ts'
import type { Logger } from './log.ts'

export interface Copy {
  readonly version: string
  /** The folder of its `package.json`. */
  readonly path: string
}

/** The package that a folder belongs to; undefined when it is not Gantry's (a bundle has no version of its own). */
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

/** The first copy of each version that is not this one's, as far as they are known. */
export function otherVersions(own: Copy | undefined, folders: Iterable<string>): readonly Copy[] {
  const found: Map<string, Copy> = new Map()
  for (const folder of folders) {
    const copy = copyIn(folder)
    if (copy && copy.version !== own?.version && !found.has(copy.version)) found.set(copy.version, copy)
  }
  return [...found.values()]
}

/** Once an application and its middleware are loaded: says it if they use another version of Gantry than their server. */
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
