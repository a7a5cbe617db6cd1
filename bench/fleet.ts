/** The arrangements of a run: started when first asked for, warmed up, left running, and left out aloud when they cannot be had. */

import { type Arrangement, type ArrangementName, startArrangement, titleOf } from './arrangements.ts'
import { load } from './load.ts'
import { Workshop } from './workshop.ts'

export class Fleet {
  readonly workshop: Workshop = new Workshop()
  /** Why what was left out is missing. */
  readonly skipped: string[]
  readonly #running = new Map<string, Promise<Arrangement | undefined>>()
  readonly #warmUp: number
  readonly #say: (line: string) => void

  /** @param warmUp seconds of load that every arrangement gets before it is measured */
  constructor(say: (line: string) => void, skipped: string[], warmUp = 1) {
    this.#warmUp = warmUp
    this.#say = say
    this.skipped = skipped
  }

  /** Started and warmed up; undefined when it cannot be had, which is said once. */
  get(name: ArrangementName, accessLog: 'on' | 'off'): Promise<Arrangement | undefined> {
    const key = `${name} ${accessLog}`
    let running = this.#running.get(key)
    if (running === undefined) {
      running = this.#start(name, accessLog)
      this.#running.set(key, running)
    }
    return running
  }

  /** Those of the names that can be had. */
  async all(names: readonly ArrangementName[], accessLog: 'on' | 'off'): Promise<Arrangement[]> {
    const found: Arrangement[] = []
    for (const name of names) {
      const arrangement = await this.get(name, accessLog)
      if (arrangement) found.push(arrangement)
    }
    return found
  }

  async close(): Promise<void> {
    await this.workshop.close()
  }

  async #start(name: ArrangementName, accessLog: 'on' | 'off'): Promise<Arrangement | undefined> {
    try {
      const arrangement = await startArrangement(name, accessLog, this.workshop)
      // The first seconds belong to the compilers.
      const round = await load(arrangement, { path: '/', connections: 64, seconds: this.#warmUp, upload: 0 })
      if (round.errors > 0) throw new Error(`${round.errors} of its first requests failed`)
      return arrangement
    } catch (error) {
      const reason = `${titleOf(name)} (access log ${accessLog}) is left out: ${(error as Error).message}`
      if (!this.skipped.includes(reason)) this.skipped.push(reason)
      this.#say(reason)
      return undefined
    } finally {
      this.workshop.emptyLogs()
    }
  }
}

/** Fresh processes for a measurement of memory, which earlier load would blur. */
export async function withFresh<T>(
  names: readonly ArrangementName[],
  say: (line: string) => void,
  skipped: string[],
  use: (arrangements: readonly Arrangement[]) => Promise<T>,
): Promise<T> {
  const fleet = new Fleet(say, skipped)
  try {
    return await use(await fleet.all(names, 'off'))
  } finally {
    await fleet.close()
  }
}
