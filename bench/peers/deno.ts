/**
 * Deno.serve without a proxy. The npm package `deno` is no dependency: the bench installs it when it is first measured.
 */

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, Unavailable } from '../measure/programs.ts'
import { freePort } from '../measure/workshop.ts'
import { app, type Peer, running } from './peer.ts'

/** The version that is installed: one version, so that results of different days can be compared. */
export const DENO_VERSION = '2.9.6'

// Some 40 MB to download.
const INSTALL_MILLISECONDS = 180_000

/** git ignores this folder. */
const folder = join(import.meta.dirname, '..', 'installed', `deno-${DENO_VERSION}`)

/** Whether the bench has installed it. */
export function hasDeno(): boolean {
  return existsSync(programIn(folder))
}

function programIn(base: string): string {
  return join(base, 'node_modules', '.bin', 'deno')
}

/**
 * The path of the executable, installed if it is not there.
 *
 * @throws Unavailable if npm cannot install it
 */
async function denoProgram(): Promise<string> {
  if (hasDeno()) return programIn(folder)
  // Installed beside its place and then renamed: an interrupted installation is not taken for a whole one.
  const unfinished = `${folder}.${process.pid}`
  const remove = (): void => rmSync(unfinished, { recursive: true, force: true, maxRetries: 3 })
  process.on('exit', remove)
  mkdirSync(unfinished, { recursive: true })
  writeFileSync(join(unfinished, 'package.json'), '{"private":true}\n')
  process.stdout.write(`installing deno ${DENO_VERSION} (npm) into bench/installed\n`)
  try {
    const args = ['install', '--no-save', '--no-package-lock', '--no-audit', '--no-fund', `deno@${DENO_VERSION}`]
    await run('npm', args, { cwd: unfinished, timeout: INSTALL_MILLISECONDS })
    renameSync(unfinished, folder)
  } catch (error) {
    // Another run of the bench may have been faster.
    if (hasDeno()) return programIn(folder)
    const { message } = error as Error
    throw new Unavailable(`the npm package deno@${DENO_VERSION} cannot be installed: ${message}`, { cause: error })
  } finally {
    process.off('exit', remove)
    remove()
  }
  return programIn(folder)
}

export const deno: Peer = {
  name: 'deno',
  title: 'Deno.serve, no proxy',
  gantry: false,
  async start(site) {
    if (site.accessLog === 'on') throw new Unavailable('Deno.serve has no access log')
    const port = await freePort()
    const server = await site.workshop.start({
      name: `${site.label}-deno`,
      command: await denoProgram(),
      args: [
        'run',
        '--no-prompt',
        '--no-config',
        '--no-lock',
        '--allow-net=127.0.0.1',
        app('deno-serve.ts'),
        String(port),
      ],
      endpoints: [port],
    })
    return running(port, server)
  },
}
