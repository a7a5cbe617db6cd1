/**
 * `gantry proxy --workers COUNT`: a supervisor that starts, restarts and stops several proxies on the same ports.
 * Requests do not pass through the supervisor.
 */

import type { ChildProcess } from 'node:child_process'
import cluster from 'node:cluster'
import { randomBytes } from 'node:crypto'
import { childOf, describeExit } from '../process/children.ts'
import { type RunningServer, run, type ServeEnvironment } from '../process/run.ts'
import { STOP_GRACE_MILLISECONDS } from '../process/stay-alive.ts'
import { Supervised } from '../process/supervise.ts'
import type { OtherCode } from '../protocol/contract/error-codes.ts'
import type { Address } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { argumentsOf, type ParsedOptions } from '../protocol/options/options.ts'
import type { proxyOptions } from '../proxy/options.ts'

type Parsed = ParsedOptions<typeof proxyOptions>

/** A worker ended before it served. The worker has logged the reason. */
export class WorkerError extends Error {
  override readonly name: string = 'WorkerError'
  readonly code: OtherCode = 'WORKER_ENDED'
}

/**
 * Runs the supervisor, or with `--worker-of` one of its workers, until a signal has drained it.
 *
 * Node's cluster gives each worker the same listening sockets, and each worker accepts connections in its own event
 * loop, as nginx's and gunicorn's workers do: a busy worker accepts fewer, a blocked one none, and a crash loses no
 * connection that was not accepted.
 *
 * @param entry the file whose `proxy` command is run
 */
export async function runWorkers(parsed: Parsed, entry: string): Promise<void> {
  const { values, warnings } = parsed
  if (values.workerOf === undefined) {
    // The supervisor needs time to kill workers that do not exit, and then to exit itself.
    const options = { ...values, drainGrace: 2 * STOP_GRACE_MILLISECONDS }
    await run('proxy', options, (environment) => supervise(parsed, entry, environment), warnings)
    return
  }
  // Otherwise cluster would end a worker immediately when its supervisor is gone. The worker drains instead.
  if (cluster.worker) cluster.worker.exitedAfterDisconnect = true
  const { serveProxy } = await import('../proxy/serve.ts')
  await run('proxy', values, (environment) => serveProxy(values, environment), [], true)
}

/** Starts the workers. @throws WorkerError if one ends before it serves */
async function supervise({ values, given }: Parsed, entry: string, { log }: ServeEnvironment): Promise<RunningServer> {
  const id = randomBytes(6).toString('hex')
  // With round-robin each connection would pass through this process: slower than one process without workers.
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
        log.error({ worker, exit: describeExit(exit), milliseconds: Math.round(wait) }, 'a worker ended: restarting it')
      },
      onOverdue: (milliseconds) => log.warn({ worker, milliseconds }, 'a worker did not exit in time: killing it'),
    })
  })
  // However this process ends, its workers end too.
  process.on('exit', () => {
    for (const worker of workers) worker.kill()
  })

  const start = async (worker: Supervised<readonly Address[]>): Promise<readonly Address[]> => {
    const first = await worker.start()
    if ('ready' in first) return first.ready
    throw new WorkerError(`a worker ended before it was ready (${describeExit(first.exit)}); its own message is above`)
  }
  // The first worker starts alone: a mistake in the options is reported once, and a new token file exists for the
  // others.
  const addresses = await start(workers[0]!)
  await Promise.all(workers.slice(1).map(start))
  return {
    addresses,
    drain: async ({ skipNotice } = {}) => {
      // A worker closes its copy of a socket at a moment without new connections (protocol/net/listen.ts). If this
      // process closed its copy later, the system would reset the connections accepted between the two.
      for (const socket of sockets) socket.close()
      const skipsNotice = skipNotice?.aborted ?? false
      const time = (skipsNotice ? 0 : values.drainDelay) + values.drainTimeout + STOP_GRACE_MILLISECONDS
      await Promise.all(workers.map((worker) => worker.stop(time, 'SIGTERM', skipsNotice)))
    },
  }
}

/** A listening socket that this process shares with its workers. */
interface ListeningSocket {
  close(): void
}

/**
 * Adds the sockets that cluster sends to `worker` to `sockets`: cluster itself closes them only after all workers have.
 */
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
