/** CPU time and resident memory of a process and all its children, and the machine's load, from Linux's /proc. */

import { readdirSync, readFileSync } from 'node:fs'

// USER_HZ, in which /proc counts: 100 on every architecture of Linux that Node runs on (proc(5), sysconf(3)).
export const MICROSECONDS_PER_TICK = 10_000

/** CPU microseconds of a /proc/PID/stat line: utime + stime, and those of children that have exited. */
export function cpuFromStat(stat: string): number {
  const fields = afterName(stat)
  let ticks = 0
  for (let at = 11; at <= 14; at++) ticks += Number(fields[at])
  return ticks * MICROSECONDS_PER_TICK
}

export function parentFromStat(stat: string): number {
  return Number(afterName(stat)[1])
}

/** The fields after `pid (name) `: the name may hold spaces and parentheses. */
function afterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** VmRSS of a /proc/PID/status, in bytes. */
export function residentFromStatus(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** The process and all its living descendants. */
export function tree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = read(`/proc/${entry}/stat`)
    if (stat === undefined) continue
    const parent = parentFromStat(stat)
    const siblings = children.get(parent)
    if (siblings) siblings.push(Number(entry))
    else children.set(parent, [Number(entry)])
  }
  const found = [root]
  for (let at = 0; at < found.length; at++) found.push(...(children.get(found[at]!) ?? []))
  return found
}

/** CPU microseconds that the process and its descendants have used so far. */
export function cpuMicroseconds(root: number): number {
  let sum = 0
  for (const pid of tree(root)) {
    const stat = read(`/proc/${pid}/stat`)
    if (stat !== undefined) sum += cpuFromStat(stat)
  }
  return sum
}

/** Resident bytes of these processes. Pages that processes share count in each of them. */
export function residentBytes(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) sum += residentFromStatus(read(`/proc/${pid}/status`) ?? '')
  return sum
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined // The process has exited since it was listed.
  }
}

/** The peak resident memory of some processes between `start` and `stop`, sampled every 20 ms. */
export class MemoryWatch {
  readonly before: number
  #peak: number
  readonly #pids: readonly number[]
  readonly #timer: NodeJS.Timeout

  constructor(root: number) {
    this.#pids = tree(root)
    this.before = residentBytes(this.#pids)
    this.#peak = this.before
    this.#timer = setInterval(() => this.look(), 20)
  }

  look(): void {
    this.#peak = Math.max(this.#peak, residentBytes(this.#pids))
  }

  /** Bytes by which the peak was above the start. */
  stop(): number {
    clearInterval(this.#timer)
    this.look()
    return this.#peak - this.before
  }
}

/** Clock ticks of the machine since its boot, from the first line of /proc/stat. */
export function machineTicks(stat: string): {
  readonly all: number
  /** In processes of users and in the kernel on their behalf. */
  readonly processes: number
  /** Taken by the hypervisor. */
  readonly stolen: number
} {
  // user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time (proc(5)).
  const ticks = /^cpu +(.*)$/m.exec(stat)?.[1]?.split(' ').slice(0, 8).map(Number) ?? []
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
  return { all: sum(ticks), processes: sum(ticks.slice(0, 3)), stolen: ticks[7] ?? 0 }
}
