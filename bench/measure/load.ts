/**
 * One round of load on a running setup: the load generator's figures, and the CPU and memory of the server processes.
 */

import type { Running } from '../peers/peer.ts'
import { answer, open, requestHead } from './client.ts'
import { cpuMicroseconds, residentBytes, tree } from './process-usage.ts'
import { findProgram, programs } from './programs.ts'
import { type ClosedLoop, type ClosedLoopResult, wrk } from './wrk.ts'

export interface Usage {
  /** Microseconds of CPU for each request, over all server processes. */
  readonly cpu: number
  /** The same by process, in the order of the setup's servers. */
  readonly cpuByServer: readonly number[]
  /** Resident bytes of all server processes after the round. */
  readonly resident: number
}

/** Runs `act` and adds what the servers used meanwhile. */
export async function withUsage<T>(
  { servers }: Running,
  requests: (result: T) => number,
  act: () => Promise<T>,
): Promise<T & Usage> {
  const used = (): number[] => servers.map(({ pid }) => cpuMicroseconds(pid))
  const before = used()
  const result = await act()
  const count = requests(result)
  const cpuByServer = used().map((value, at) => (value - before[at]!) / count)
  const cpu = cpuByServer.reduce((sum, value) => sum + value, 0)
  return { ...result, cpu, cpuByServer, resident: residentBytes(servers.flatMap(({ pid }) => tree(pid))) }
}

/** One round of wrk on a setup. */
export async function closedLoop(
  running: Running,
  load: ClosedLoop,
): Promise<ClosedLoopResult & Usage & { readonly requestsPerSecond: number }> {
  const result = await withUsage(
    running,
    ({ requests }) => requests,
    () => wrk(load),
  )
  return { ...result, requestsPerSecond: result.requests / result.seconds }
}

/** The connections of a warm-up without wrk. */
const WARM_UP_CONNECTIONS = 32

/**
 * Load that is not measured, so that the JIT compiler has seen the code.
 *
 * @throws Error if a request fails
 */
export async function warmUp(port: number, seconds: number): Promise<void> {
  if (findProgram(programs.wrk.names) !== undefined) {
    const { errors } = await wrk({ port, path: '/', connections: 64, seconds, upload: 0 })
    if (errors > 0) throw new Error(`${errors} requests of the warm-up failed`)
    return
  }
  const deadline = performance.now() + seconds * 1000
  await Promise.all(
    Array.from({ length: WARM_UP_CONNECTIONS }, async () => {
      const socket = await open(port)
      try {
        while (performance.now() < deadline) {
          socket.write(requestHead('GET', '/'))
          const { status } = await answer(socket)
          if (status !== 200) throw new Error(`a request of the warm-up was answered with ${status}`)
        }
      } finally {
        socket.resetAndDestroy()
      }
    }),
  )
}
