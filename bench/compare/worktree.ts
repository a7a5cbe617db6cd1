/** Another revision of the repository in a temporary folder, with the modules it needs, until it is removed again. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../measure/programs.ts'
import { UsageError } from '../options.ts'

export interface Worktree {
  readonly root: string
  /** The full name of the commit. */
  readonly commit: string
  /** Removes the folder and git's record of it; a second call does nothing. */
  remove(): void
}

const INSTALL_MILLISECONDS = 300_000

/**
 * The commit that a revision names.
 *
 * @throws UsageError if git knows no such commit, or there is no repository
 */
export function commitOf(repository: string, revision: string): string {
  try {
    git(repository, 'rev-parse', '--git-dir')
  } catch (error) {
    throw new UsageError(`--compare needs git (Debian: git) and a clone of the repository, not only its files`, {
      cause: error,
    })
  }
  try {
    // `--end-of-options`: a revision that begins with a dash is no option.
    return git(repository, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`)
  } catch {
    throw new UsageError(
      `--compare: expected a revision of git (a branch, a tag or a commit), got ${JSON.stringify(revision)}`,
    )
  }
}

/** How the other tree gets its modules: ours are linked if both trees lock the same ones. */
export function modulesPlan(repository: string, root: string): 'link' | 'install' {
  const lock = (folder: string): string | undefined => {
    const file = join(folder, 'package-lock.json')
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined
  }
  return existsSync(join(repository, 'node_modules')) && lock(repository) === lock(root) ? 'link' : 'install'
}

/**
 * Checks a revision out into a temporary folder. The folder is removed when this process exits, also on a signal that
 * ends it by `process.exit`.
 *
 * @param install replaces `npm ci`
 * @throws UsageError if git knows no such revision; Error if it cannot be checked out or its modules not installed
 */
export async function checkOut(
  repository: string,
  revision: string,
  say: (line: string) => void,
  install: (root: string) => Promise<unknown> = npmCi,
): Promise<Worktree> {
  const commit = commitOf(repository, revision)
  const folder = mkdtempSync(join(tmpdir(), 'gantry-compare-'))
  const root = join(folder, 'tree')
  let removed = false
  const remove = (): void => {
    if (removed) return
    removed = true
    process.off('exit', remove)
    try {
      git(repository, 'worktree', 'remove', '--force', root)
    } catch {
      // `worktree add` has failed, or files were still being written: the folder goes below.
    }
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  process.on('exit', remove)
  try {
    // Hooks of the user have nothing to do with a folder that lives for a few minutes.
    git(repository, '-c', 'core.hooksPath=/dev/null', 'worktree', 'add', '--quiet', '--detach', root, commit)
    if (modulesPlan(repository, root) === 'link') {
      symlinkSync(join(repository, 'node_modules'), join(root, 'node_modules'))
    } else {
      say(`installing the modules of ${revision} (its package-lock.json differs)`)
      await install(root)
    }
    return { root, commit, remove }
  } catch (error) {
    remove()
    throw error
  }
}

function npmCi(root: string): Promise<string> {
  return run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, timeout: INSTALL_MILLISECONDS })
}

function git(repository: string, ...args: readonly string[]): string {
  const stdio = ['ignore', 'pipe', 'pipe'] as const
  return execFileSync('git', ['-C', repository, ...args], { encoding: 'utf8', stdio: [...stdio] }).trim()
}
