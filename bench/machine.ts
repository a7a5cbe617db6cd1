/** The machine that a run used, and how much else it did meanwhile: without that, no figure can be judged. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { cpuMicroseconds, MICROSECONDS_PER_TICK, machineTicks } from './measure/process-usage.ts'
import { versions } from './measure/programs.ts'
import { DENO_VERSION, hasDeno } from './peers/deno.ts'

export interface Machine {
  readonly cores: number
  readonly node: string
  /** Versions of peers and load generators, by title. */
  readonly others: Readonly<Record<string, string>>
  /** The load average of the last minute before the run. */
  readonly loadBefore: number
  /** The share of CPU time during the run, in percent, that processes used which are not the bench's. */
  readonly foreignPercent: number
  /** The share that the hypervisor gave to other machines. */
  readonly stolenPercent: number
  /** git's name of the measured revision, with `-dirty` if the working tree differs from it. */
  readonly revision: string
}

/**
 * Looks at the machine now, and again when the returned function is called, after all processes of the run have ended.
 */
export function observeMachine(): () => Machine {
  const own = (): number => cpuMicroseconds(process.pid) / MICROSECONDS_PER_TICK
  const ownBefore = own()
  const loadBefore = loadavg()[0]!
  const before = machineTicks(readFileSync('/proc/stat', 'utf8'))
  return () => {
    const now = machineTicks(readFileSync('/proc/stat', 'utf8'))
    const percent = (ticks: number): number => Math.max(0, (100 * ticks) / Math.max(1, now.all - before.all))
    return {
      cores: availableParallelism(),
      node: process.versions.node,
      others: { ...versions(), ...(hasDeno() && { Deno: DENO_VERSION }) },
      loadBefore,
      foreignPercent: percent(now.processes - before.processes - (own() - ownBefore)),
      stolenPercent: percent(now.stolen - before.stolen),
      revision: describe(),
    }
  }
}

/** A warning before a run, if other work runs; undefined on a quiet machine. */
export function busy(load: number, cores: number): string | undefined {
  if (load < cores / 2) return undefined
  return `the machine is busy: load average ${load.toFixed(1)} on ${cores} cores; trust ratios, not absolute figures`
}

function describe(): string {
  const cwd = join(import.meta.dirname, '..')
  try {
    const args = ['describe', '--always', '--dirty', '--abbrev=10', '--exclude=*']
    return execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}
