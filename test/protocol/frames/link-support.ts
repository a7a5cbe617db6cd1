/** Links to an application, and links whose other end the test drives by hand. */

import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import type { Application, Body, Environ, Headers } from '../../../protocol/contract/application.ts'
import { environFromHttp } from '../../../protocol/contract/environ.ts'
import type { Exchange } from '../../../protocol/contract/exchange.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { type CallError, Caller, type CallerOptions, ReplayableBody } from '../../../protocol/frames/caller.ts'
import type { FrameConnection, FrameConnectionOptions, FrameEvent } from '../../../protocol/frames/codec/connection.ts'
import { fixedSlots, type ServeOptions, type ServerLink, serveFrames } from '../../../protocol/frames/server.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'
import { until } from '../../support/until.ts'
import { connection, identity } from './support.ts'

export { until }

/** A few iterations of the event loop, in which something must not happen. */
export async function iterations(count: number = 20): Promise<void> {
  for (let at = 0; at < count; at++) await new Promise((resolve) => setImmediate(resolve))
}

/** One end of a link, driven by hand. */
export class Peer {
  readonly connection: FrameConnection
  readonly stream: Duplex
  readonly events: FrameEvent[] = []
  ended = false

  constructor(stream: Duplex, role: 'caller' | 'server', options: Partial<FrameConnectionOptions> = {}) {
    this.connection = connection(role, options)
    this.stream = stream
    stream.on('data', (chunk: Buffer) => {
      this.events.push(...this.connection.receive(chunk))
      this.send()
    })
    stream.on('end', () => {
      this.ended = true
      stream.end()
    })
    stream.on('error', () => {})
    this.send()
  }

  /** Sends the queued bytes of the connection. */
  send(): void {
    for (const part of this.connection.take(1 << 24)) this.stream.write(part)
  }

  /** Waits for the event of this type. @param nth 0: the first one */
  async heard<T extends FrameEvent['type']>(type: T, nth: number = 0): Promise<Extract<FrameEvent, { type: T }>> {
    const found = (): FrameEvent[] => this.events.filter((event) => event.type === type)
    await until(() => found().length > nth, `event ${type}`)
    return found()[nth] as Extract<FrameEvent, { type: T }>
  }
}

export interface CallerScene {
  caller: Caller
  clock: FakeClock
  log: RecordingLog
  /** Errors of onClosed. */
  closed: (Error | undefined)[]
  changes: string[]
}

export function callerOn(stream: Duplex, options: Partial<CallerOptions> = {}): CallerScene {
  const clock = new FakeClock()
  const log = new RecordingLog()
  const closed: (Error | undefined)[] = []
  const changes: string[] = []
  const caller: Caller = new Caller(stream, {
    clock,
    log,
    identity: identity('p'),
    onChange: () => changes.push(`${caller.state} ${caller.inFlight}/${caller.grant}`),
    onClosed: (error) => closed.push(error),
    ...options,
  })
  return { caller, clock, log, closed, changes }
}

export interface ServerScene {
  server: ServerLink
  host: SettlingHost
  clock: FakeClock
  log: RecordingLog
  closed: (Error | undefined)[]
}

/** A host that records the settled exchanges. */
export class SettlingHost extends MemoryHost {
  readonly done: Exchange[] = []

  override settled(exchange: Exchange): void {
    this.done.push(exchange)
  }
}

export function serverOn(stream: Duplex, application: Application, options: Partial<ServeOptions> = {}): ServerScene {
  const clock = new FakeClock()
  const log = new RecordingLog()
  const host = new SettlingHost(log)
  const closed: (Error | undefined)[] = []
  const server = serveFrames(stream, application, {
    clock,
    log,
    host,
    process: facts,
    identity: identity('c1'),
    slots: fixedSlots(10),
    onClosed: (error) => closed.push(error),
    ...options,
  })
  return { server, host, clock, log, closed }
}

/** A caller and a server with `application`, ready and granted. */
export async function linked(
  application: Application,
  options: { caller?: Partial<CallerOptions>; server?: Partial<ServeOptions>; streams?: [Duplex, Duplex] } = {},
): Promise<{ here: CallerScene; there: ServerScene; streams: [Duplex, Duplex] }> {
  const streams = options.streams ?? duplexPair()
  const there = serverOn(streams[1], application, options.server)
  const here = callerOn(streams[0], options.caller)
  await until(() => here.caller.state === 'ready' && here.caller.grant > 0, 'a ready link')
  return { here, there, streams }
}

/** A caller whose container is driven by hand, and has granted 10 slots. */
export async function callerAgainstPeer(
  options: Partial<CallerOptions> = {},
  ofPeer: Partial<FrameConnectionOptions> = {},
): Promise<CallerScene & { peer: Peer; stream: Duplex }> {
  const [mine, theirs] = duplexPair()
  const peer = new Peer(theirs, 'server', ofPeer)
  const scene = callerOn(mine, options)
  await until(() => scene.caller.state === 'ready')
  peer.connection.slots(10)
  peer.send()
  await until(() => scene.caller.grant === 10)
  return { ...scene, peer, stream: mine }
}

/** A server whose proxy is driven by hand. */
export async function serverAgainstPeer(
  application: Application,
  options: Partial<ServeOptions> = {},
): Promise<ServerScene & { peer: Peer }> {
  const [mine, theirs] = duplexPair()
  const peer = new Peer(theirs, 'caller')
  const scene = serverOn(mine, application, options)
  await peer.heard('slots')
  return { ...scene, peer }
}

export function environ(target: string = '/', method: string = 'GET', headers: string[] = []): Environ {
  return environFromHttp(
    { method, target, minor: 1, headers: ['Host', 'a', ...headers], upgrade: headers.includes('Upgrade') },
    { remoteAddress: '192.0.2.1', remotePort: '4000', serverName: 'a', serverPort: '80', scheme: 'http' },
    facts,
  )
}

/** An input that a test fills. */
export class TestInput extends RequestInput {
  consumed: number
  asked: boolean

  constructor() {
    super({
      wanted: () => {
        this.asked = true
      },
      consumed: (bytes) => {
        this.consumed += bytes
      },
    })
    this.consumed = 0
    this.asked = false
  }
}

export interface Called {
  head: { status: string; headers: Headers } | undefined
  body: ReplayableBody
  response: Promise<Body>
  /** Resolves with the error of the call. */
  failed: Promise<CallError>
}

/** Makes a call and records its head, response and error. */
export function call(caller: Caller, request: Environ = environ(), body?: ReplayableBody): Called {
  const called: Called = {
    head: undefined,
    body: body ?? new ReplayableBody(new RequestInput(null)),
    response: Promise.resolve([]),
    failed: Promise.resolve() as unknown as Promise<CallError>,
  }
  called.response = caller.call(
    request,
    (status, headers) => {
      called.head = { status, headers }
      return async () => {}
    },
    called.body,
  )
  called.failed = called.response.then(
    () => assert.fail('the call was answered'),
    (error: CallError) => error,
  )
  called.failed.catch(() => {})
  return called
}

export async function bytesOf(body: Body | Promise<Body>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of (await body) as AsyncIterable<Uint8Array>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('latin1')
}
