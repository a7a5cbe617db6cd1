/** The setups of an experiment, started and warmed up. A setup that cannot start is reported and left out. */

import type { AccessLog, Framework, Peer, Running } from '../peers/peer.ts'
import type { SetupKey } from '../report/ledger.ts'
import { ask } from './client.ts'
import { warmUp } from './load.ts'
import { Workshop } from './workshop.ts'

/** A setup that takes part in an experiment: a peer, what it serves, and the source tree of its Gantry. */
export interface Contestant {
  readonly key: SetupKey
  readonly title: string
  readonly peer: Peer
  readonly framework: Framework | undefined
  readonly root: string
}

export interface Started extends Running {
  readonly contestant: Contestant
}

// Proxies answer 503 until they have found their container.
const READY_MILLISECONDS = 60_000

export class Fleet {
  readonly workshop: Workshop = new Workshop()
  readonly #warmUp: number
  readonly #say: (line: string) => void
  readonly #skipped: string[]
  #count = 0

  /**
   * @param skipped collects why setups are left out
   * @param warmUpSeconds of load that each setup gets before it is measured; 0 for none
   */
  constructor(say: (line: string) => void, skipped: string[], warmUpSeconds: number) {
    this.#say = say
    this.#skipped = skipped
    this.#warmUp = warmUpSeconds
  }

  /** Starts the contestants, and returns those that could be started in their order. */
  async start(contestants: readonly Contestant[], accessLog: AccessLog): Promise<Started[]> {
    const found: Started[] = []
    for (const contestant of contestants) {
      const started = await this.#startOne(contestant, accessLog)
      if (started) found.push(started)
    }
    return found
  }

  async close(): Promise<void> {
    await this.workshop.close()
  }

  async #startOne(contestant: Contestant, accessLog: AccessLog): Promise<Started | undefined> {
    const { peer, framework, root } = contestant
    // Short: the path of a Unix socket holds 107 characters.
    const label = `${this.#count++}-${peer.name}`
    try {
      const running = await peer.start({ label, workshop: this.workshop, accessLog, root, framework })
      await answers(running.port)
      if (this.#warmUp > 0) await warmUp(running.port, this.#warmUp)
      return { ...running, contestant }
    } catch (error) {
      const leftOut = `${contestant.title} is left out: `
      // Once: each experiment tries again, and most find the same reason.
      if (!this.#skipped.some((reason) => reason.startsWith(leftOut))) {
        const reason = `${leftOut}${(error as Error).message}`
        this.#skipped.push(reason)
        this.#say(`  ${reason}`)
      }
      return undefined
    } finally {
      this.workshop.emptyLogs()
    }
  }
}

async function answers(port: number): Promise<void> {
  for (const deadline = performance.now() + READY_MILLISECONDS; ; ) {
    const { status } = await ask(port, '/')
    if (status === 200) return
    if (performance.now() > deadline) throw new Error(`its first page is still answered with ${status}`)
  }
}

/** Fresh processes for measurements that earlier load would change. */
export async function withFresh<T>(
  contestants: readonly Contestant[],
  { say, skipped, warmUpSeconds }: { say: (line: string) => void; skipped: string[]; warmUpSeconds: number },
  use: (started: readonly Started[]) => Promise<T>,
): Promise<T> {
  const fleet = new Fleet(say, skipped, warmUpSeconds)
  try {
    return await use(await fleet.start(contestants, 'off'))
  } finally {
    await fleet.close()
  }
}
