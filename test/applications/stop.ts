/** How an application stops: SIGTERM while requests run and more come in, and what became of them. */

import type { Answer } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { DRAIN, pause, type Server } from './server.ts'
import type { Arrangement, Start } from './shape.ts'

/** Clients that ask again and again. */
const CLIENTS = 4
/** Requests on one connection: node's server would wait for one that is never idle. */
const REQUESTS = 20
/** Milliseconds for which they do before the signal, and at most after it. */
const BEFORE = 300
const AFTER = 25_000

export interface Stop {
  /** What became of the request that ran: `200`, or how it was cut. */
  readonly running: string
  /** The exit code, or the signal that ended the process. */
  readonly exit: string
  /** Seconds from the signal to the end of the process. */
  readonly seconds: number
  /** Requests of the clients that went on: whole answers by status, cut ones, and those that got no byte. */
  readonly answers: Readonly<Record<string, number>>
  /** The code with which a WebSocket was closed. */
  readonly socket?: number
}

function kindOf(answer: Answer): string {
  if (answer.status === 0) return 'none'
  return answer.complete ? String(answer.status) : `cut ${answer.status}`
}

/** Asks for `target` on one connection after the other, each as long as it may be used. */
async function load(
  server: Server,
  target: string,
  stopped: () => boolean,
  count: (kind: string) => void,
): Promise<void> {
  while (!stopped()) {
    let client: HttpClient
    try {
      client = await HttpClient.connect({ port: server.port, host: '127.0.0.1' })
    } catch {
      count('refused')
      await pause(50)
      continue
    }
    for (let left = REQUESTS; left > 0 && client.reusable && !stopped(); left--) {
      count(kindOf(await client.fetch(server.addressed({ target }))))
      await pause(5)
    }
    client.destroy()
  }
}

/** Sends SIGTERM to `server`, which is used meanwhile. With a socket, a WebSocket is all that is open. */
export async function stopUnderLoad(server: Server, start: Start, socket: string | undefined): Promise<Stop> {
  const answers: Record<string, number> = {}
  let over = false
  const opened = socket === undefined ? undefined : await server.open(socket)
  const target = start.load ?? start.ready ?? '/'
  const clients = opened
    ? []
    : Array.from({ length: CLIENTS }, () =>
        load(
          server,
          target,
          () => over,
          (kind) => (answers[kind] = (answers[kind] ?? 0) + 1),
        ),
      )
  await pause(BEFORE)
  const slow = start.slow === undefined || opened ? undefined : await server.connect()
  // It goes when it has its answer: node's server waits for connections that are kept.
  const long = typeof start.slow === 'string' ? { target: start.slow } : start.slow
  const running = slow?.fetch(server.addressed(long!)).finally(() => slow.destroy())
  await pause(BEFORE)
  const signalled = performance.now()
  server.main.process.kill('SIGTERM')
  const ended = await Promise.race([server.main.exited, pause(AFTER)])
  const seconds = Math.round((performance.now() - signalled) / 100) / 10
  over = true
  await Promise.all(clients)
  const closed = opened ? await Promise.race([opened.closed, pause(1_000)]) : undefined
  return {
    running: running ? kindOf(await running) : '-',
    exit: ended ? (ended.signal ?? String(ended.code)) : 'still runs',
    seconds,
    answers,
    ...(closed === undefined ? {} : { socket: closed as number }),
  }
}

/** Seconds that a stop may take longer than plain node's, and that the request takes which runs then. */
const SLACK = 1.5
const RUNNING = 1.5
/** The code of a WebSocket that was not closed, but lost. */
const ABNORMAL = 1006

/** What is worse than on plain node. */
export function worseThan(plain: Stop, other: Stop, arrangement: Arrangement): string[] {
  const faults: string[] = []
  // A proxy that has nothing left behind it says so.
  const allowed = { up: [], node: [], join: ['503'], http: ['502', '503'] }[arrangement] as readonly string[]
  const cut = Object.keys(other.answers).filter(
    (kind) => /cut|^5/.test(kind) && !(kind in plain.answers) && !allowed.includes(kind),
  )
  // What an application gives up by itself when it stops has the drain timeout, and then an error page.
  const gaveUp = (plain.exit !== 'SIGTERM' || arrangement === 'http') && !/^2|^-/.test(plain.running)
  if (!gaveUp && !/^2|^-/.test(other.running)) faults.push(`the running request: ${other.running}`)
  // A process that a signal ended had no say; Gantry's has finished what ran.
  const expected = plain.exit === 'SIGTERM' ? ['0', 'SIGTERM'] : [plain.exit]
  // `gantry up` ends as a supervisor that did what it was told.
  if (arrangement === 'up') expected.push('0')
  for (const kind of cut) faults.push(`${other.answers[kind]} answers ${kind}`)
  // Node's own server waits for the connections that a proxy keeps and uses, as long as there are requests.
  if (arrangement === 'http') return faults
  if (!expected.includes(other.exit)) faults.push(`exit ${other.exit} instead of ${expected.join(' or ')}`)
  // A WebSocket that the application does not end is a request that runs: it has the drain timeout.
  const waits = gaveUp || plain.socket === ABNORMAL ? DRAIN : 0
  const longest = Math.max(plain.seconds, other.running === '-' ? 0 : RUNNING) + waits + SLACK
  if (other.seconds > longest) faults.push(`${other.seconds} s instead of ${plain.seconds} s`)
  return faults
}
