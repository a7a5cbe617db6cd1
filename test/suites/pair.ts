/** Arrangements of real processes: joins their faults, and ends the first process if the second one does not start. */

import { faultsOf, type Gantry } from '../support/gantry.ts'
import { overHttp, type Running } from './arrangement.ts'

/** A `Running` over the HTTP port of processes; it ends them. */
export function overProcesses(
  port: number,
  processes: readonly Gantry[],
  clean: () => Promise<void> = async () => {},
): Running {
  const running = overHttp({ port }, async () => {
    await Promise.all(processes.map(({ child }) => child.end()))
    await clean()
  })
  return { ...running, broken: () => [...processes.flatMap(faultsOf), ...(running.broken?.() ?? [])] }
}

/** Starts two processes, the second after the first listens. If the second does not start, the first is ended. */
export async function two(
  first: Promise<Gantry>,
  second: (first: Gantry) => Promise<Gantry>,
): Promise<[Gantry, Gantry]> {
  const one = await first
  try {
    return [one, await second(one)]
  } catch (error) {
    await one.child.end()
    throw error
  }
}

/** A proxy and a container that connect at one address. */
export async function overPair(
  startProxy: () => Promise<Gantry>,
  startContainer: () => Promise<Gantry>,
  clean: () => Promise<void>,
): Promise<Running> {
  try {
    const [proxy, container] = await two(startProxy(), startContainer)
    return overProcesses(proxy.port, [proxy, container], clean)
  } catch (error) {
    await clean()
    throw error
  }
}
