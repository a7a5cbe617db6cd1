/**
 * `gantry proxy --workers COUNT`: one process that starts, restarts and stops as many proxies as were asked for, all on the same ports.
 * What they do is their own matter; requests never pass through it.
 *
 * Node's cluster gives each of them the same listening sockets, and each takes connections off them when its loop comes round to it (as
 * nginx's and gunicorn's workers do): one that is busy takes fewer, one that hangs none, and one that crashes loses none that it has not taken.
 */

import type { ChildProcess } from 'node:child_process'
import cluster from 'node:cluster'
import { randomBytes } from 'node:crypto'
import { childOf, describeExit } from '../process/children.ts'
import { STOP_GRACE_MILLISECONDS } from '../process/keep-alive.ts'
import { type Running, run, type ServeEnvironment } from '../process/run.ts'
import { Supervised } from '../process/supervise.ts'
import type { OtherCode } from '../protocol/contract/error-codes.ts'
import type { Address } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { argumentsOf, type ParsedOptions } from '../protocol/options/options.ts'
import type { proxyOptions } from '../proxy/options.ts'

type Parsed = ParsedOptions<typeof proxyOptions>

/** A worker ended before it had served. What was wrong, it has said itself. */
export class WorkerError extends Error {
  override readonly name: string = 'WorkerError'
  readonly code: OtherCode = 'WORKER_ENDED'
}

/**
 * Runs the workers' supervisor, or one of them, by `--worker-of`. Both stay until a signal has drained them.
 *
 * @param entry The file whose `proxy` command is run.
 */
export async function runWorkers(parsed: Parsed, entry: string): Promise<void> {
  const { values, warnings } = parsed
  if (values.workerOf === undefined) {
    // Time to end the workers that do not exit, and then to exit itself.
    const options = { ...values, drainGrace: 2 * STOP_GRACE_MILLISECONDS }
    await run('proxy', options, (environment) => supervise(parsed, entry, environment), warnings)
    return
  }
  // Without this, cluster ends a worker at once when its supervisor is gone; it drains instead.
  if (cluster.worker) cluster.worker.exitedAfterDisconnect = true
  const { serveProxy } = await import('../proxy/serve.ts')
  await run('proxy', values, (environment) => serveProxy(values, environment), [], true)
}

/** @throws WorkerError */
async function supervise({ values, given }: Parsed, entry: string, { log }: ServeEnvironment): Promise<Running> {
  const id = randomBytes(6).toString('hex')
  // Round-robin would have each connection pass through here: fewer of them a second than one process takes by itself.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  const sockets: Set<ListeningSocket> = new Set()
  const workers = Array.from({ length: values.workers }, (_, worker) => {
    return new Supervised<readonly Address[]>({
      clock: systemClock,
      random: Math.random,
      start: () => {
        cluster.setupPrimary({ exec: entry, args: ['proxy', ...argumentsOf(given), `--worker-of=${id}/${worker}`] })
        return childOf(
          () => noting(cluster.fork().process, sockets),
          (err) => log.error({ worker, err }, 'a worker cannot be reached'),
        )
      },
      onReady: () => log.info({ worker }, 'a worker serves'),
      onCrash: (exit, wait) => {
        log.error(
          { worker, exit: describeExit(exit), milliseconds: Math.round(wait) },
          'a worker ended; starting it again',
        )
      },
      onOverdue: (milliseconds) => log.warn({ worker, milliseconds }, 'a worker did not exit in time; killing it'),
    })
  })
  // However this process ends, none of them stays without it.
  process.on('exit', () => {
    for (const worker of workers) worker.kill()
  })

  const start = async (worker: Supervised<readonly Address[]>): Promise<readonly Address[]> => {
    const first = await worker.start()
    if ('ready' in first) return first.ready
    throw new WorkerError(`a worker ended before it was ready (${describeExit(first.exit)}); its own message is above`)
  }
  // The first alone: what is wrong with the options is then said once, and a token that is to be made is there for the others.
  const addresses = await start(workers[0]!)
  await Promise.all(workers.slice(1).map(start))
  return {
    addresses,
    drain: async ({ hurry } = {}) => {
      // A worker closes its copy of a socket at a moment without new connections (protocol/net/listen.ts). If this process
      // closed its copy later, the system would reset the connections accepted between the two.
      for (const socket of sockets) socket.close()
      const isHurried = hurry?.aborted ?? false
      const time = (isHurried ? 0 : values.drainDelay) + values.drainTimeout + STOP_GRACE_MILLISECONDS
      await Promise.all(workers.map((worker) => worker.stop(time, 'SIGTERM', isHurried)))
    },
  }
}

/** A listening socket of which each worker has a copy. */
interface ListeningSocket {
  close(): void
}

/** Adds the sockets that cluster sends to `worker` to `sockets`: cluster closes them only after all workers have. */
function noting(worker: ChildProcess, sockets: Set<ListeningSocket>): ChildProcess {
  const send = worker.send.bind(worker) as (...given: unknown[]) => boolean
  worker.send = ((...given: unknown[]) => {
    const [, handle] = given
    if (typeof (handle as Partial<ListeningSocket> | undefined)?.close === 'function') {
      sockets.add(handle as ListeningSocket)
    }
    return send(...given)
  }) as typeof worker.send
  return worker
}
