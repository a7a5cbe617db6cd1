/** The processes of this system, from /proc (proc_pid_stat(5)), which only Linux has. */

import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  readonly group: number
  /** In clock ticks after the system's start. Pids are reused: another process with the same pid has another time. */
  readonly startedAt: string
  /** The process has ended, and its parent has not read its exit status. */
  readonly isZombie: boolean
}

/** Index of the field starttime (22), counted from the state (field 3). */
const STARTTIME = 19

/** @returns undefined if the system has no such list */
export function processTable(): ProcessEntry[] | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (entryOf(name) ?? []) : []))
  } catch {
    return undefined
  }
}

function entryOf(pid: string): ProcessEntry | undefined {
  const text = unlessGone(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  if (text === undefined) return undefined
  // The second field is the program's name in parentheses, and may hold any character.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, parent, group] = fields
  const startedAt = fields[STARTTIME] ?? ''
  return { pid: Number(pid), parent: Number(parent), group: Number(group), startedAt, isZombie: state === 'Z' }
}

/** The child processes of `pid`, and their descendants. */
export function descendantsOf(pid: number, table: readonly ProcessEntry[]): ProcessEntry[] {
  const children = Map.groupBy(table, ({ parent }) => parent)
  const found: ProcessEntry[] = []
  const open = [pid]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const those = children.get(next) ?? []
    found.push(...those)
    open.push(...those.map((child) => child.pid))
  }
  return found
}

/** The result of `read`; undefined if the process or file has disappeared: processes end while this code reads. */
export function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}
