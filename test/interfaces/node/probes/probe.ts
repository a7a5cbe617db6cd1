/**
 * Calls every method of a request, a response and their socket in every state that a listener can see, and prints the
 * results. A process of its own, because some calls end the process. The argument `node` or `gantry` selects the
 * server.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { fromNode } from '../../../../interfaces/node/from-node.ts'
import { serveHttp1 } from '../../../../protocol/http1/gateway.ts'
import { facts, MemoryHost } from '../../../support/memory-client.ts'
import { type Method, methods, properties, type Subject } from './members.ts'

export interface State {
  readonly upload: boolean
  readonly at: 'before the head' | 'after the head' | 'after the end'
  readonly aborted: boolean
}

export interface Outcome {
  readonly state: string
  /** The returned kind, or the thrown code. */
  readonly result: string
  /** Events of each, in order; callbacks count as the subject's. */
  readonly events: Record<Subject, string[]>
  readonly values: Record<Subject, Record<string, string>>
  readonly uncaught: string[]
}

export interface Report {
  readonly subject: Subject
  readonly name: string
  readonly way: number
  readonly outcomes: Outcome[]
}

type Exchange = Record<Subject, IncomingMessage | ServerResponse | Socket> & {
  req: IncomingMessage
  res: ServerResponse
  socket: Socket
}

const states: readonly State[] = [
  ...(['before the head', 'after the head', 'after the end'] as const).flatMap((at): State[] => [
    { upload: false, at, aborted: false },
    { upload: false, at, aborted: true },
  ]),
  { upload: true, at: 'before the head', aborted: true },
  { upload: true, at: 'after the head', aborted: true },
  { upload: true, at: 'after the end', aborted: false },
]

const nameOf = ({ upload, at, aborted }: State): string =>
  `${at}${upload ? ' of an upload' : ''}${aborted ? ', once the client has gone' : ''}`

/**
 * Event-loop iterations after which all effects of a call have happened: sockets are on the loopback, and no timer is
 * short.
 */
const SETTLED = 12

async function iterations(count: number): Promise<void> {
  for (let at = 0; at < count; at++) await new Promise(setImmediate)
}

const uncaught: string[] = []
// Before the handlers below are added, which would catch it.
const all = methods()
process.on('uncaughtException', (error) => {
  if (process.env['TRACE']) console.error(error)
  uncaught.push(`uncaughtException ${codeOf(error)}`)
})
process.on('unhandledRejection', (error) => uncaught.push(`unhandledRejection ${codeOf(error)}`))

function codeOf(error: unknown): string {
  if (error === null || error === undefined) return String(error)
  const { code, name } = error as NodeJS.ErrnoException
  return String(code ?? name)
}

let arrived: PromiseWithResolvers<Exchange>

async function start(whose: string): Promise<Server> {
  const listener = (req: IncomingMessage, res: ServerResponse): void => {
    arrived.resolve({ req, res, socket: req.socket })
  }
  let server: Server
  if (whose === 'node') server = createServer(listener)
  else {
    const host = new MemoryHost()
    const application = fromNode(listener, { keepFraming: true })
    server = createTcpServer(
      { allowHalfOpen: true, noDelay: true },
      (socket) => void serveHttp1(socket, application, { host, facts, admit: () => host.admit() }),
    )
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

async function outcome(port: number, method: Method, way: number, state: State): Promise<Outcome> {
  if (process.env['TRACE']) console.error(method.subject, method.name, way, nameOf(state))
  arrived = Promise.withResolvers()
  const client = connect(port, '127.0.0.1')
  let received = ''
  client.on('data', (chunk) => (received += chunk)).on('error', () => {})
  client.write(
    state.upload ? 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsome' : 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  )
  const exchange = await arrived.promise
  const { req, res, socket } = exchange
  // Node's server has a listener of its own.
  socket.on('error', () => {})
  await iterations(2)
  if (state.at === 'after the head') {
    res.writeHead(200, { 'Content-Type': 'text/plain' })
    res.write('begun')
  } else if (state.at === 'after the end') res.end('ended')
  while (state.at !== 'before the head' && !/begun|ended/.test(received)) await iterations(1)
  while (state.at === 'after the end' && !res.closed) await iterations(1)
  if (state.aborted) {
    client.destroy()
    while (!res.closed || (state.at !== 'after the end' && !req.closed)) await iterations(1)
  }
  await iterations(SETTLED)

  const events: Record<Subject, string[]> = { req: [], res: [], socket: [] }
  for (const subject of ['req', 'res', 'socket'] as const) {
    const one = exchange[subject]
    const emit = one.emit
    one.emit = function emitted(this: typeof one, event: string | symbol, ...given: unknown[]) {
      const [first] = given
      events[subject].push(`${String(event)}${first instanceof Error ? ` ${codeOf(first)}` : ''}`)
      return (emit as (...all: unknown[]) => boolean).call(this, event, ...given)
    } as typeof one.emit
  }
  uncaught.length = 0
  const subject = exchange[method.subject]
  const called = (error?: unknown): void =>
    void events[method.subject].push(`called ${error instanceof Error ? codeOf(error) : ''}`)
  let result: string
  let settled: string | undefined
  try {
    const call = (subject as unknown as Record<string | symbol, (...given: unknown[]) => unknown>)[method.key]
    const returned = call!.apply(subject, method.ways[way]!(called))
    result = returned === subject ? 'this' : shown(returned)
    if (returned instanceof Promise) {
      settled = 'pending'
      returned.then(
        (value) => (settled = `resolves ${shown(value)}`),
        (error) => (settled = `rejects ${codeOf(error)}`),
      )
    }
  } catch (error) {
    result = `throws ${codeOf(error)}`
  }
  await iterations(SETTLED)
  const values = { req: valuesOf('req', req), res: valuesOf('res', res), socket: valuesOf('socket', socket) }
  const seen = {
    state: nameOf(state),
    result: settled ?? result,
    events: structuredClone(events),
    values,
    uncaught: [...uncaught],
  }
  client.destroy()
  socket.destroy()
  await iterations(3)
  return seen
}

function valuesOf(subject: Subject, one: object): Record<string, string> {
  const values: Record<string, string> = {}
  for (const name of names[subject]) {
    try {
      values[name] = shown((one as Record<string, unknown>)[name])
    } catch (error) {
      values[name] = `throws ${codeOf(error)}`
    }
  }
  return values
}

/** A value without the parts that differ between any two servers. */
function shown(value: unknown): string {
  if (value instanceof Error) return `error ${codeOf(value)}`
  if (Array.isArray(value)) return `array of ${value.length}`
  if (typeof value === 'object' && value !== null) return 'object'
  return typeof value === 'function' ? 'function' : String(value)
}

const names: Record<Subject, string[]> = { req: [], res: [], socket: [] }

/** The properties of node's objects: both sides are read for the same ones. */
async function learn(): Promise<void> {
  const server = await start('node')
  arrived = Promise.withResolvers()
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  const { req, res, socket } = await arrived.promise
  Object.assign(names, {
    req: properties('req', req),
    res: properties('res', res),
    socket: properties('socket', socket),
  })
  client.destroy()
  server.close()
}

await learn()
const server = await start(process.argv[2]!)
const { port } = server.address() as AddressInfo
for (const method of all) {
  for (const way of method.ways.keys()) {
    const outcomes: Outcome[] = []
    for (const state of states) outcomes.push(await outcome(port, method, way, state))
    const report: Report = { subject: method.subject, name: method.name, way, outcomes }
    process.stdout.write(`${JSON.stringify(report)}\n`)
  }
}
// A full pipe accepts the rest later.
process.stdout.write('', () => process.exit())
