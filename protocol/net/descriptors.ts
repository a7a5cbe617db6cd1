/**
 * File descriptors of this process: the limit, how many connections fit, and a log line when there are none left. Node
 * reports nothing then: libuv accepts each client with a spare descriptor and closes the connection at once.
 */

import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import type { Logger } from '../log/logger.ts'
import type { Clock } from './clock.ts'

/** Used if the limit cannot be determined: the usual default of operating systems. */
const USUAL_LIMIT = 1024
/**
 * Descriptors reserved: connections that may become links (128), health, refusals, undecided connections (32 each), and
 * a few for names and files.
 */
const RESERVE = 256
/**
 * Share of a high limit that is reserved: what an application or middleware opens grows with the number of requests.
 */
const RESERVE_SHARE = 0.1

/**
 * How many file descriptors this process may have; Infinity: unlimited. Node raises the soft limit to the hard limit at
 * its start.
 */
export function descriptorLimit(): number {
  try {
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    if (soft !== undefined) return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    // Not Linux.
  }
  try {
    const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } }
    const soft = report.userLimits?.open_files?.soft
    if (soft === 'unlimited') return Number.POSITIVE_INFINITY
    if (Number(soft) > 0) return Number(soft)
  } catch {
    // A runtime without reports.
  }
  return USUAL_LIMIT
}

function descriptorsOpen(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    // About what Node itself needs.
    return 32
  }
}

/**
 * How many client connections fit beside the reserved descriptors.
 *
 * @param each descriptors that one connection may take
 */
export function connectionsThatFit(
  each: number,
  limit: number = descriptorLimit(),
  open: number = descriptorsOpen(),
): number {
  if (limit === Number.POSITIVE_INFINITY) return limit
  const free = Math.max(0, limit - open)
  const reserve = reserveOf(free)
  return Math.max(1, Math.floor((free - reserve) / each))
}

function reserveOf(free: number): number {
  return Math.min(Math.max(RESERVE, free * RESERVE_SHARE), free / 2)
}

/**
 * How many of `most` connections of a kind that uses the reserve fit. If the limit is low, the reserve is smaller than
 * the sum of all kinds: each kind gets its share, so that a flood of one kind leaves descriptors to the others.
 */
export function fitsInReserve(
  most: number,
  limit: number = descriptorLimit(),
  open: number = descriptorsOpen(),
): number {
  if (limit === Number.POSITIVE_INFINITY) return most
  const reserve = reserveOf(Math.max(0, limit - open))
  return reserve >= RESERVE ? most : Math.max(1, Math.floor((most * reserve) / RESERVE))
}

/**
 * Refused connections that may be open at once, so that a burst of clients is answered: a share of the free
 * descriptors.
 */
const REFUSALS = { most: 1024, share: 1 / 8 }

/**
 * How many refused connections may be open at once: an eighth of the descriptors that client connections leave free.
 *
 * @param connections how many connections clients may have
 * @param each descriptors that a client connection may take
 */
export function refusalsThatFit(
  connections: number,
  each: number,
  limit: number = descriptorLimit(),
  open: number = descriptorsOpen(),
): number {
  if (limit === Number.POSITIVE_INFINITY) return REFUSALS.most
  const free = Math.max(0, limit - open)
  const left = Math.max(reserveOf(free), free - connections * each)
  return Math.max(1, Math.min(REFUSALS.most, Math.floor(left * REFUSALS.share)))
}

/**
 * How many connections clients may have.
 *
 * @param given `--max-connections`
 * @param each descriptors that one connection may take
 */
export function mostConnections(given: number | undefined, each: number, log: Logger): number {
  const fit = connectionsThatFit(each)
  if (given !== undefined && given > fit) {
    log.warn(
      { maxConnections: given, fit, limit: descriptorLimit() },
      `--max-connections ${given} is more than ulimit -n allows beside links and health (${fit}); without free file descriptors clients are disconnected without a response: raise ulimit -n, or lower --max-connections`,
    )
  }
  return given ?? fit
}

/** Time between two checks, ms: a shortage that lasts is logged within a second. */
const CHECK_MILLISECONDS = 1_000

const SHORT: ReadonlySet<string | undefined> = new Set(['EMFILE', 'ENFILE'])

/**
 * Logs once when the process is out of file descriptors, and once when it has free ones again.
 *
 * @param open opens a descriptor and returns its number; throws the system's error
 */
export function watchDescriptors(
  clock: Clock,
  log: Logger,
  open: () => number = () => openSync('/dev/null', 'r'),
): void {
  let short = false
  const check = (): void => {
    let code: string | undefined
    try {
      closeSync(open())
    } catch (error) {
      code = (error as NodeJS.ErrnoException).code
    }
    if (SHORT.has(code) !== short) {
      short = !short
      const limit = descriptorLimit()
      if (short) {
        log.error(
          { code, limit },
          `out of file descriptors (${code}): clients are disconnected, and no connection or file can be opened: raise ulimit -n, or lower --max-connections`,
        )
      } else log.warn({ limit }, 'file descriptors are available again')
    }
    clock.after(CHECK_MILLISECONDS, check)
  }
  clock.after(CHECK_MILLISECONDS, check)
}
