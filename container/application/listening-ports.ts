/**
 * Finds which listening TCP ports belong to this process and which to its child processes. Linux reports them in /proc
 * (proc(5), proc_pid_fd(5)); other systems report them only to privileged programs, so here they stay unknown.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { descendantsOf, processTable, unlessGone } from '../../process/process-table.ts'

export interface ListeningPorts {
  /** Ports of all processes. */
  readonly all: ReadonlySet<number>
  readonly own: ReadonlySet<number>
  /** Ports of child processes and their descendants. */
  readonly descendants: ReadonlySet<number>
}

/** The state LISTEN in /proc/net/tcp (include/net/tcp_states.h). */
const LISTEN = '0A'

/** @returns undefined if the ports of this process or of one of its descendants cannot be read */
export function listeningPorts(pid: number = process.pid): ListeningPorts | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const ports = portsByInode()
    const portsOf = (pids: readonly number[]): Set<number> =>
      new Set(pids.flatMap(socketsOf).flatMap((inode) => ports.get(inode) ?? []))
    const descendants = descendantsOf(pid, processTable() ?? []).map((one) => one.pid)
    return { all: new Set(ports.values()), own: portsOf([pid]), descendants: portsOf(descendants) }
  } catch {
    // A descendant belongs to another user, or the system has no /proc.
    return undefined
  }
}

/** The ports of listening sockets, by inode. */
function portsByInode(): Map<string, number> {
  const ports = new Map<string, number>()
  for (const file of ['/proc/self/net/tcp', '/proc/self/net/tcp6']) {
    // A system without IPv6 does not have the second file.
    const lines = unlessGone(() => readFileSync(file, 'latin1').split('\n').slice(1)) ?? []
    for (const line of lines) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      if (state === LISTEN) ports.set(inode, Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16))
    }
  }
  return ports
}

/** The inodes of the sockets that a process has open. */
function socketsOf(pid: number): string[] {
  const names = unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? []
  return names.flatMap((name) => {
    const target = unlessGone(() => readlinkSync(`/proc/${pid}/fd/${name}`)) ?? ''
    return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []
  })
}
