/**
 * Runs the same listeners on node's own server and, as applications, behind our gateway. Clients must get the same
 * responses, and listeners must see the same events in the same order.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  request,
  type ServerResponse,
} from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { facts, MemoryHost } from './memory-client.ts'
import { listening } from './sockets.ts'

/** Records what a listener sees. */
export type Note = (event: string) => void

export interface Case {
  title: string
  listener(req: IncomingMessage, res: ServerResponse, note: Note): unknown
  request?: RequestOptions
  body?: string
  /** Sent after the body. */
  trailers?: Record<string, string>
  /** The client disconnects after it has received a part of the response. */
  abort?: boolean
  /** Sent only after a 100: with `Expect: 100-continue`, which the server's 'checkContinue' listener handles. */
  expects?: string
  /** Sent as the first part of a body that is never completed. */
  begins?: string
  /** The client disconnects after the listener has recorded `req data`, and gets no response. */
  leaves?: boolean
  /** The last event to record. Default: `res close`. */
  last?: string
}

interface Seen {
  status: number | undefined
  reason: string | undefined
  fields: string[]
  body: string
  trailers: string[]
  failure: string | undefined
  /** Informational responses. */
  informed: string[]
  events: string[]
}

const HOP: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', 'server', 'trailer'])

/** Records the usual events. */
export function watch(req: IncomingMessage, res: ServerResponse, note: Note): void {
  req.on('end', () => note('req end'))
  req.on('aborted', () => note('req aborted'))
  req.on('error', (error: NodeJS.ErrnoException) => note(`req error ${error.code}`))
  req.on('close', () => note(`req close ${req.complete} ${req.readableEnded} ${req.aborted}`))
  res.on('prefinish', () => note('res prefinish'))
  res.on('finish', () => note(`res finish ${res.writableFinished} ${res.socket === null}`))
  res.on('close', () => note(`res close ${res.writableEnded} ${res.writableFinished} ${res.destroyed}`))
}

/** A test for each case. */
export function compare(title: string, cases: readonly Case[]): void {
  describe(title, () => {
    const noted: Map<string, string[]> = new Map()
    const stops: (() => Promise<void>)[] = []
    let ports: [native: number, ours: number]

    before(async () => {
      const listener: RequestListener = (req, res) => {
        const { searchParams } = new URL(req.url!, 'http://x')
        const key = String(req.headers['x-case'] ?? searchParams.get('case'))
        const [index] = key.split(':')
        const events: string[] = []
        noted.set(key, events)
        cases[Number(index)]!.listener(req, res, (event) => events.push(event))
      }
      const server = createServer(listener)
      server.on('checkContinue', listener)
      const native = await listening(server)
      const host = new MemoryHost()
      const application = fromNode(listener, { keepFraming: true })
      const options = { host, facts, admit: () => host.admit() }
      const ours = await listening(
        createTcpServer(
          { allowHalfOpen: true, noDelay: true },
          (socket) => void serveHttp1(socket, application, options),
        ),
      )
      stops.push(native.stop, ours.stop, () => host.idle())
      ports = [native.address.port, ours.address.port]
    })

    after(async () => {
      for (const stop of stops) await stop()
    })

    for (const [index, given] of cases.entries()) {
      const { request: options = {}, body: sent, trailers, abort, expects, begins, leaves, last = 'res close' } = given
      // A named event must occur on both sides; a usual event must occur if any of its kind occurred.
      it(given.title, async () => {
        const [native, ours] = await Promise.all(
          ports.map(async (port, side): Promise<Seen> => {
            const key = `${index}:${side}`
            const req = request({
              ...options,
              port,
              agent: false,
              headers: {
                ...(options.headers as object),
                ...(expects !== undefined && { Expect: '100-continue' }),
                'X-Case': key,
                Host: 'x',
              },
            })
            if (expects !== undefined) {
              req.flushHeaders()
              req.once('continue', () => req.end(expects))
            } else if (begins !== undefined) req.write(begins)
            else if (trailers) {
              req.write(sent ?? '')
              req.addTrailers(trailers)
              req.end()
            } else req.end(sent)
            const seen = leaves ? await left(req, () => noted.get(key)) : await fetched(req, abort === true)
            if (begins !== undefined) req.destroy()
            const watched = noted.get(key)!
            const expectsEnd =
              given.last !== undefined || watched.some((event) => event.startsWith('res ') || event.startsWith('req '))
            while (expectsEnd && !watched.some((event) => event.startsWith(last))) await new Promise(setImmediate)
            // Each side has node's order. Whether a request closes before its response is sent depends on timing.
            const events = watched.toSorted(
              (one, other) => Number(one.startsWith('req ')) - Number(other.startsWith('req ')),
            )
            const body = seen.body.replaceAll(key, '')
            return { ...seen, body: body.length > 1000 ? createHash('sha1').update(body).digest('hex') : body, events }
          }),
        )
        assert.deepEqual(ours, native)
      })
    }
  })
}

/** A client that disconnects after the listener has received a part of its body. */
async function left(req: ClientRequest, noted: () => string[] | undefined): Promise<Omit<Seen, 'events'>> {
  const failed = once(req, 'error') as Promise<[NodeJS.ErrnoException]>
  while (!noted()?.includes('req data')) await new Promise(setImmediate)
  req.destroy()
  const [{ code }] = await failed
  return { status: undefined, reason: undefined, fields: [], body: '', trailers: [], failure: code, informed: [] }
}

async function fetched(req: ClientRequest, abort: boolean): Promise<Omit<Seen, 'events'>> {
  const informed: string[] = []
  req.on('continue', () => informed.push('100'))
  req.on('information', ({ statusCode, rawHeaders }) => informed.push(`${statusCode} ${rawHeaders}`))
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  let body = ''
  let failure: string | undefined
  res.setEncoding('latin1')
  try {
    for await (const chunk of res) {
      body += chunk
      if (abort) break
    }
  } catch (error) {
    failure = (error as NodeJS.ErrnoException).code
  }
  const fields: string[] = []
  for (let at = 0; at < res.rawHeaders.length; at += 2) {
    if (!HOP.has(res.rawHeaders[at]!.toLowerCase())) fields.push(`${res.rawHeaders[at]}: ${res.rawHeaders[at + 1]}`)
  }
  return {
    status: res.statusCode,
    reason: res.statusMessage,
    fields,
    body,
    trailers: res.rawTrailers,
    failure,
    informed,
  }
}
