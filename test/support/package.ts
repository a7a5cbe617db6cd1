/** The package as npm would install it in an application: built, with this repository's dependencies. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryFile } from './child.ts'

export interface InstalledCopy {
  /** The application's folder. */
  readonly folder: string
  /** `node_modules/gantry` in it. */
  readonly path: string
  /** The file that `npx gantry` runs. */
  readonly command: string
}

/**
 * Builds Gantry into `folder`/node_modules. Downloads nothing.
 *
 * @param version replaces the version of package.json
 */
export function installCopy(folder: string, version?: string): InstalledCopy {
  const modules = join(folder, 'node_modules')
  const path = join(modules, 'gantry')
  mkdirSync(path, { recursive: true })
  execFileSync(process.execPath, [repositoryFile('scripts/build.ts'), '--out', path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ours = repositoryFile('node_modules')
  for (const name of readdirSync(ours)) {
    if (!name.startsWith('.')) symlinkSync(join(ours, name), join(modules, name))
  }
  if (version !== undefined) {
    const manifest = join(path, 'package.json')
    writeFileSync(manifest, JSON.stringify({ ...JSON.parse(readFileSync(manifest, 'utf8')), version }))
  }
  return { folder, path, command: join(path, 'dist', 'cli', 'gantry.js') }
}
