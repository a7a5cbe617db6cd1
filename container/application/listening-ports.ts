/**
 * Which of the TCP ports that are listened on belong to this process, and which to the processes that it started. Linux says so in /proc
 * (proc(5), proc_pid_fd(5)); other systems say so to privileged programs only, and here nothing is known about them.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { descendantsOf, processTable, unlessGone } from '../../process/process-table.ts'

export interface ListeningPorts {
  /** Of whatever process. */
  readonly all: ReadonlySet<number>
  readonly own: ReadonlySet<number>
  /** Of child processes and theirs. */
  readonly descendants: ReadonlySet<number>
}

/** The state LISTEN in /proc/net/tcp (include/net/tcp_states.h). */
const LISTEN = '0A'

/** @returns undefined where it cannot be known, or cannot be known of every descendant */
export function listeningPorts(pid: number = process.pid): ListeningPorts | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const ports = portsByInode()
    const portsOf = (pids: readonly number[]): Set<number> =>
      new Set(pids.flatMap(socketsOf).flatMap((inode) => ports.get(inode) ?? []))
    const descendants = descendantsOf(pid, processTable() ?? []).map((one) => one.pid)
    return { all: new Set(ports.values()), own: portsOf([pid]), descendants: portsOf(descendants) }
  } catch {
    // A descendant of another user, or a system without /proc.
    return undefined
  }
}

/** Inodes of listening sockets. */
function portsByInode(): Map<string, number> {
  const ports = new Map<string, number>()
  for (const file of ['/proc/self/net/tcp', '/proc/self/net/tcp6']) {
    // Without IPv6 there is no second file.
    const lines = unlessGone(() => readFileSync(file, 'latin1').split('\n').slice(1)) ?? []
    for (const line of lines) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      if (state === LISTEN) ports.set(inode, Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16))
    }
  }
  return ports
}

/** Inodes of the sockets that a process holds. */
function socketsOf(pid: number): string[] {
  const names = unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? []
  return names.flatMap((name) => {
    const target = unlessGone(() => readlinkSync(`/proc/${pid}/fd/${name}`)) ?? ''
    return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []
  })
}
