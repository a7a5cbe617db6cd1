/**
 * The previous release, as a folder whose commands can be run: its sources from git, with the dependencies of this
 * tree.
 */

import { execFileSync, type SpawnSyncReturns } from 'node:child_process'
import { mkdirSync, realpathSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryFile } from './child.ts'

export interface Release {
  /** `v1.2.3`, or a commit's short hash. */
  readonly name: string
  readonly commit: string
}

/** Why the release is not available, and what to do. */
interface NoRelease {
  readonly unavailable: string
}

/** Variables of a surrounding git process (a hook) would direct this git to another repository. */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_')))

/** Runs git in `root`, even if another user owns it (CI that runs as root). */
function git(root: string, ...argv: string[]): Buffer {
  const command = ['-c', `safe.directory=${realpathSync(root)}`, '-C', root, ...argv]
  return execFileSync('git', command, {
    env: environment,
    maxBuffer: Number.POSITIVE_INFINITY,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function lines(root: string, ...argv: string[]): string[] {
  return git(root, ...argv)
    .toString()
    .split('\n')
    .filter((line) => line !== '')
}

/** The first line, or undefined if git's exit code is not 0. */
function answer(root: string, ...argv: string[]): string | undefined {
  try {
    return lines(root, ...argv)[0]
  } catch (error) {
    if (typeof (error as SpawnSyncReturns<Buffer>).status !== 'number') throw error
    return undefined
  }
}

/**
 * The last tag `v…` before HEAD. If there is no tag: the first commit of this line of history that has `file`, or HEAD
 * if no commit has it. For a merge, the merge commit counts, not the commit of the branch that wrote the file.
 */
export function previousRelease(root: string, file: string): Release | NoRelease {
  const top = toplevel(root)
  if (typeof top === 'object') return top
  if (top !== realpathSync(root)) {
    return { unavailable: `${root} is not a clone of its own: run this in a clone of the repository` }
  }
  if (answer(root, 'rev-parse', '--is-shallow-repository') !== 'false') {
    return { unavailable: 'the clone is shallow, so that older releases are not in it: git fetch --unshallow --tags' }
  }
  const described = ['describe', '--tags', '--abbrev=0', '--match', 'v[0-9]*']
  // A release is compared with its predecessor.
  const from = answer(root, ...described, '--exact-match', 'HEAD') === undefined ? 'HEAD' : 'HEAD^'
  const tag = answer(root, ...described, from)
  if (tag !== undefined) return { name: tag, commit: lines(root, 'rev-list', '-n', '1', tag)[0]! }
  const added = ['log', '--first-parent', '-m', '--diff-filter=A', '--reverse', '--format=%H', '--', file]
  const commit = answer(root, ...added) ?? lines(root, 'rev-parse', 'HEAD')[0]!
  return { name: commit.slice(0, 12), commit }
}

function toplevel(root: string): string | NoRelease {
  try {
    const top = answer(root, 'rev-parse', '--show-toplevel')
    if (top !== undefined) return realpathSync(top)
    return { unavailable: `${root} has no git history: run this in a clone of the repository` }
  } catch (error) {
    return { unavailable: `git cannot be run: ${(error as Error).message}` }
  }
}

/** Writes the files of the release into `folder`, where its commands can then run. */
export function unpack(root: string, { commit }: Release, folder: string): void {
  mkdirSync(folder, { recursive: true })
  execFileSync('tar', ['-x', '-C', folder], { input: git(root, 'archive', '--format=tar', commit) })
  symlinkSync(repositoryFile('node_modules'), join(folder, 'node_modules'))
}
