/** Stops an application: SIGTERM while requests run and more arrive, and what happened to them. */

import type { Answer } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import type { Arrangement } from './command.ts'
import { DRAIN, pause, type Server } from './server.ts'
import type { Start } from './shape.ts'

/** Clients that send requests in a loop. */
const CLIENTS = 4
/** Requests per connection: node's server would wait for a connection that is never idle. */
const REQUESTS = 20
/** How long clients send requests before the signal, and at most after it, milliseconds. */
const BEFORE = 300
const AFTER = 25_000

export interface Stop {
  /** The result of the running request: `200`, or how it was truncated. */
  readonly running: string
  /** The exit code, or the signal that ended the process. */
  readonly exit: string
  /** Seconds from the signal to the end of the process. */
  readonly seconds: number
  /** Requests of the clients that continued: complete responses by status, truncated ones, and those without a byte. */
  readonly answers: Readonly<Record<string, number>>
  /** The code with which a WebSocket was closed. */
  readonly socket?: number
}

function kindOf(answer: Answer): string {
  if (answer.status === 0) return 'none'
  return answer.complete ? String(answer.status) : `cut ${answer.status}`
}

/** Requests `target` repeatedly, on each connection as long as it can be used. */
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

/** Sends SIGTERM to `server` while clients use it. With a socket, only a WebSocket is open. */
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
  // Closes its connection after the response: node's server waits for keep-alive connections.
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

/** Seconds by which a stop may exceed plain node's, and that the running request takes. */
const SLACK = 1.5
const RUNNING = 1.5
/** The code of a WebSocket that was lost without a close frame. */
const ABNORMAL = 1006

/** The ways in which a stop is worse than on plain node. */
export function worseThan(plain: Stop, other: Stop, arrangement: Arrangement): string[] {
  const faults: string[] = []
  // A proxy that has no container left responds 502 or 503.
  const allowed = { up: [], node: [], join: ['503'], http: ['502', '503'] }[arrangement] as readonly string[]
  const cut = Object.keys(other.answers).filter(
    (kind) => /cut|^5/.test(kind) && !(kind in plain.answers) && !allowed.includes(kind),
  )
  // A request that the application abandons during its stop has the drain timeout, and then gets an error page.
  const gaveUp = (plain.exit !== 'SIGTERM' || arrangement === 'http') && !/^2|^-/.test(plain.running)
  if (!gaveUp && !/^2|^-/.test(other.running)) faults.push(`the running request: ${other.running}`)
  // A process killed by a signal sets no exit code; Gantry's has finished its requests.
  const expected = plain.exit === 'SIGTERM' ? ['0', 'SIGTERM'] : [plain.exit]
  // `gantry up` exits as a supervisor that was stopped as asked.
  if (arrangement === 'up') expected.push('0')
  for (const kind of cut) faults.push(`${other.answers[kind]} answers ${kind}`)
  // Node's own server waits for the keep-alive connections of a proxy, as long as there are requests.
  if (arrangement === 'http') return faults
  if (!expected.includes(other.exit)) faults.push(`exit ${other.exit} instead of ${expected.join(' or ')}`)
  // A WebSocket that the application does not close is a running request: it has the drain timeout.
  const waits = gaveUp || plain.socket === ABNORMAL ? DRAIN : 0
  const longest = Math.max(plain.seconds, other.running === '-' ? 0 : RUNNING) + waits + SLACK
  if (other.seconds > longest) faults.push(`${other.seconds} s instead of ${plain.seconds} s`)
  return faults
}
