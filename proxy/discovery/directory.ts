/**
 * Watches a directory for sockets. File system events make it fast. The directory is also read about once a second,
 * since some file systems (overlays, network mounts) lose events, and the directory itself may be created later.
 */

import { type FSWatcher, watch } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import type { Timer } from '../../protocol/net/clock.ts'
import { LastReason, whyUnreachable } from '../../protocol/net/unreachable.ts'
import type { DialAddress, DiscoveryOptions, Report, Stop } from './report.ts'

/** Reports all sockets of a directory whenever they change, also when a socket was replaced by one of the same name. */
export function watchDirectory(path: string, report: Report, { clock, log, interval }: DiscoveryOptions): Stop {
  let stopped = false
  let timer: Timer | undefined
  let watcher: FSWatcher | undefined
  let known = ''
  const reason = new LastReason()
  let looking = false
  let noticed = false

  const unwatch = (): void => {
    watcher?.close()
    watcher = undefined
  }

  const rewatch = (): void => {
    if (watcher) return
    try {
      watcher = watch(path, { persistent: false }, () => {
        noticed = true
        look()
      })
      // The directory was removed, or the system has no watches left (ENOSPC): the directory is still read once a
      // second.
      watcher.on('error', unwatch)
    } catch {
      // The directory does not exist yet; `look` logs this.
    }
  }

  const look = async (): Promise<void> => {
    if (looking || stopped) return
    looking = true
    timer?.cancel()
    noticed = false
    try {
      rewatch()
      const entries = await readdir(path, { withFileTypes: true })
      if (stopped) return
      if (reason.end()) log.info({ directory: path }, 'the directory of an upstream can be read again')
      const names = entries
        .filter((entry) => entry.isSocket() && !entry.name.startsWith('.'))
        .map(({ name }) => name)
        .sort()
      const now = (await Promise.all(names.map((name) => identify(path, name)))).join('\0')
      if (stopped) return
      if (now !== known) {
        known = now
        report(names.map((name): DialAddress => ({ kind: 'unix', path: `${path}${name}` })))
      }
    } catch (error) {
      if (stopped) return
      // A directory that was removed and created again needs a new watch.
      unwatch()
      const why = whyUnreachable(error, 'resolve')
      if (reason.changes(why)) log.warn({ directory: path, ...why }, 'the directory of an upstream cannot be read')
      if (known !== '' && (error as NodeJS.ErrnoException).code === 'ENOENT') {
        known = ''
        report([])
      }
    } finally {
      looking = false
    }
    if (stopped) return
    if (noticed) look()
    else timer = clock.after(interval, look)
  }
  look()
  return () => {
    stopped = true
    timer?.cancel()
    unwatch()
  }
}

/**
 * Identifies a file: a new file of the same name has another inode. A file removed in the meantime is noticed next
 * time.
 */
async function identify(directory: string, name: string): Promise<string> {
  try {
    const { ino, birthtimeMs } = await lstat(`${directory}${name}`)
    return `${name} ${ino} ${birthtimeMs}`
  } catch {
    return name
  }
}
