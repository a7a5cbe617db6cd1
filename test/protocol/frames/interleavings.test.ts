/**
 * Two connections with random delays between them, driven in a random order. The invariants: the bytes of each stream
 * arrive once and in order, no side sends more than its credit, and from any state every stream ends.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { FrameConnection, FrameEvent } from '../../../protocol/frames/codec/connection.ts'
import { Frame, WINDOW_MIN } from '../../../protocol/frames/codec/constants.ts'
import type { FrameStream } from '../../../protocol/frames/codec/stream.ts'
import { connection, drain, FIELDS, frame, move, opened, pair, types } from './support.ts'

/** Body bytes that count up, so that each byte shows its position. */
function pattern(from: number, length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (from + at + seed) % 251
  return bytes
}

/** One direction of one stream: the progress of its sender and of its reader. */
class Flow {
  readonly total: number
  readonly seed: number
  sent = 0
  received = 0
  consumed = 0
  ended = false
  cut = false

  constructor(total: number, seed: number) {
    this.total = total
    this.seed = seed
  }

  receive(bytes: Uint8Array, end: boolean): void {
    assert.equal(this.ended, false, 'bytes after the end')
    assert.deepEqual(Buffer.from(bytes), Buffer.from(pattern(this.received, bytes.length, this.seed)))
    this.received += bytes.length
    if (end) {
      this.ended = true
      assert.equal(this.received, this.total, 'an end before all bytes have arrived')
    }
  }
}

interface Exchange {
  there: FrameStream
  here: FrameStream | undefined
  up: Flow
  down: Flow
  responded: boolean
  /** The response ends only after the request, so that the test sees an upload that hangs. */
  patient: boolean
}

class World {
  readonly caller: FrameConnection
  readonly server: FrameConnection
  readonly exchanges: Exchange[] = []
  readonly #window: number
  /** Streams without room: their sender does nothing until `unblocked` returns the stream. */
  readonly #blocked: Set<FrameStream> = new Set()
  /** Bytes in transit, in each direction. */
  #toServer: Buffer = Buffer.alloc(0)
  #toCaller: Buffer = Buffer.alloc(0)

  constructor(window: number, data: number) {
    const both = pair({ window, data }, { window, data })
    this.caller = both.caller
    this.server = both.server
    this.#window = window
  }

  open(up: number, down: number, hold: boolean, patient: boolean): void {
    const flow = new Flow(up, this.exchanges.length)
    const first = hold ? undefined : pattern(0, Math.min(up, 700), flow.seed)
    const end = up === (first?.length ?? 0) && !hold
    const there = this.caller.request(FIELDS, { end, hold, upgrade: false }, first)
    flow.sent = end ? up + 1 : (first?.length ?? 0)
    const exchange: Exchange = {
      there,
      here: undefined,
      up: flow,
      down: new Flow(down, 100),
      responded: false,
      patient,
    }
    there.owner = exchange
    this.exchanges.push(exchange)
  }

  upload(exchange: Exchange, size: number): void {
    const { there, up } = exchange
    if (!there.takesData || up.sent > up.total || this.#blocked.has(there)) return
    if (!this.caller.hasRoom(there)) {
      this.#blocked.add(there)
      return
    }
    const chunk = pattern(up.sent, Math.min(size, up.total - up.sent), up.seed)
    const end = up.sent + chunk.length === up.total
    up.sent += chunk.length + (end ? 1 : 0)
    if (!this.caller.data(there, chunk, end)) this.#blocked.add(there)
    this.#checkCredit()
  }

  download(exchange: Exchange, size: number): void {
    const { here, down } = exchange
    if (!here || here.closed || (exchange.responded && !here.takesData) || this.#blocked.has(here)) return
    const chunk = pattern(down.sent, Math.min(size, down.total - down.sent), down.seed)
    const complete = down.sent + chunk.length === down.total
    const end = complete && (!exchange.patient || exchange.up.ended)
    if (exchange.responded && complete && chunk.length === 0 && !end) return
    if (!exchange.responded) {
      exchange.responded = true
      if (!this.server.head(here, '200 OK', [], chunk.length > 0 ? chunk : undefined, end)) this.#blocked.add(here)
    } else if (!this.server.data(here, chunk, end)) this.#blocked.add(here)
    down.sent += chunk.length
    this.#checkCredit()
  }

  read(exchange: Exchange): void {
    const { here, there, up, down } = exchange
    if (here) {
      this.server.releaseHold(here)
      this.server.consumed(here, up.received - up.consumed)
      up.consumed = up.received
    }
    this.caller.consumed(there, down.received - down.consumed)
    down.consumed = down.received
  }

  cut(exchange: Exchange, byCaller: boolean): void {
    if (byCaller) this.caller.abort(exchange.there, 2, '')
    else if (exchange.here) this.server.abort(exchange.here, 3, '')
    else return
    exchange.up.cut = true
    exchange.down.cut = true
  }

  write(max: number): void {
    this.#toServer = Buffer.concat([this.#toServer, ...this.caller.take(max)])
    this.#toCaller = Buffer.concat([this.#toCaller, ...this.server.take(max)])
    this.#relieve()
  }

  deliver(upTo: number): void {
    const there = this.#toServer.subarray(0, upTo)
    const back = this.#toCaller.subarray(0, upTo)
    this.#toServer = this.#toServer.subarray(there.length)
    this.#toCaller = this.#toCaller.subarray(back.length)
    for (const event of this.server.receive(there)) this.#atServer(event)
    for (const event of this.caller.receive(back)) this.#atCaller(event)
    this.#relieve()
    this.#healthy()
  }

  #relieve(): void {
    for (const connection of [this.caller, this.server]) {
      for (const stream of connection.unblocked()) this.#blocked.delete(stream)
    }
  }

  get idle(): boolean {
    return !this.caller.pending && !this.server.pending && this.#toServer.length === 0 && this.#toCaller.length === 0
  }

  #atServer(event: FrameEvent): void {
    if (event.type === 'request') {
      const exchange = this.exchanges[event.stream.id - 1]!
      exchange.here = event.stream
      event.stream.owner = exchange
      this.server.start(event.stream)
      exchange.up.receive(event.body ?? new Uint8Array(0), event.end)
    } else if (event.type === 'data') (event.stream.owner as Exchange).up.receive(event.bytes, event.end)
    else if (event.type === 'abort') (event.stream.owner as Exchange).down.cut = true
  }

  #atCaller(event: FrameEvent): void {
    if (event.type === 'head') (event.stream.owner as Exchange).down.receive(event.body ?? new Uint8Array(0), event.end)
    else if (event.type === 'data') (event.stream.owner as Exchange).down.receive(event.bytes, event.end)
    else if (event.type === 'abort') (event.stream.owner as Exchange).down.cut = true
  }

  #healthy(): void {
    assert.equal(this.caller.failure, undefined)
    assert.equal(this.server.failure, undefined)
    for (const { up, down } of this.exchanges) {
      assert.ok(up.received - up.consumed <= this.#window)
      assert.ok(down.received - down.consumed <= this.#window)
    }
  }

  #checkCredit(): void {
    for (const { there, here } of this.exchanges) {
      assert.ok(there.sendCredit >= 0)
      assert.ok(!here || here.sendCredit >= 0)
    }
  }

  /** From now on every side reads and writes until everything has ended. */
  finish(): void {
    for (let round = 0; round < 10_000; round++) {
      let busy = !this.idle
      for (const exchange of this.exchanges) {
        if (exchange.up.cut) continue
        this.upload(exchange, 5000)
        this.download(exchange, 5000)
        this.read(exchange)
        busy ||= !exchange.down.ended && !exchange.down.cut
      }
      if (!busy) break
      this.write(3000)
      this.deliver(4000)
    }
    for (const exchange of this.exchanges) {
      if (exchange.down.cut) continue
      assert.ok(exchange.down.ended, `a response never ended: ${JSON.stringify(exchange.down)}`)
    }
    assert.equal(this.caller.size, 0)
    assert.equal(this.server.size, 0)
    assert.ok(this.idle)
  }
}

const size = fc.oneof(fc.constant(0), fc.constant(1), fc.integer({ min: 0, max: 9000 }))
const step = fc.oneof(
  fc.record({ do: fc.constant('open' as const), up: size, down: size, hold: fc.boolean(), patient: fc.boolean() }),
  fc.record({ do: fc.constant('upload' as const), which: fc.nat(), size }),
  fc.record({ do: fc.constant('download' as const), which: fc.nat(), size }),
  fc.record({ do: fc.constant('read' as const), which: fc.nat() }),
  fc.record({ do: fc.constant('write' as const), size }),
  fc.record({ do: fc.constant('deliver' as const), size }),
  fc.record({ do: fc.constant('cut' as const), which: fc.nat(), byCaller: fc.boolean() }),
)

describe('two connections, in a random order of calls', () => {
  test('deliver every byte once and in order, stay within credit, and end every stream', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: WINDOW_MIN, max: 6000 }), (steps, window) => {
        const world = new World(window, 1024)
        for (const next of steps) {
          if (next.do === 'open') world.open(next.up, next.down, next.hold, next.patient)
          else if (next.do === 'write') world.write(next.size)
          else if (next.do === 'deliver') world.deliver(next.size)
          else {
            const exchange = world.exchanges[next.which % Math.max(1, world.exchanges.length)]
            if (!exchange || exchange.up.cut) continue
            if (next.do === 'upload') world.upload(exchange, next.size)
            else if (next.do === 'download') world.download(exchange, next.size)
            else if (next.do === 'read') world.read(exchange)
            else world.cut(exchange, next.byCaller)
          }
        }
        world.finish()
      }),
      { numRuns: 600 },
    )
  })
})

describe('the order of frames', () => {
  test('PONG overtakes everything, RESET overtakes queued body, and bodies alternate', () => {
    const both = pair()
    const streams = Array.from({ length: 3 }, () => opened(both, { end: true }).here)
    const { server } = both
    for (const stream of streams) server.head(stream, '200 OK', [], undefined, false)
    server.take(0)
    for (const stream of streams) server.data(stream, Buffer.alloc(120_000), false)
    server.abort(streams[0]!, 3, '')
    server.pong(Buffer.alloc(8), 0, 0)
    const sent = drain(server)
    const order = types(sent)
    // First the body that was written before the limit, then control frames, then queued body.
    assert.deepEqual(order, [Frame.PONG, Frame.DATA, Frame.RESET, ...Array<number>(4).fill(Frame.DATA)])
    const waited: number[] = []
    for (let at = 0; at < sent.length; at += 9 + sent.readUIntBE(at + 2, 3)) {
      if (sent[at] === Frame.DATA) waited.push(sent.readUInt32BE(at + 5))
    }
    assert.deepEqual(waited, [1, 2, 3, 2, 3])
  })

  test('a stream without credit does not delay another', () => {
    const both = pair({ window: 2048 })
    const first = opened(both, { end: true })
    const second = opened(both, { end: true })
    both.server.head(first.here, '200 OK', [], Buffer.alloc(100_000), false)
    move(both.server, both.caller)
    both.server.head(second.here, '200 OK', [], Buffer.from('quick'), true)
    const events = move(both.server, both.caller)
    assert.deepEqual(
      events.map((event) => [event.type, 'stream' in event && event.stream.id, 'end' in event && event.end]),
      [['head', 2, true]],
    )
  })

  test('no frame of body is longer than the peer accepts or exceeds the credit', () => {
    const both = pair({ window: 10_000, data: 1500 })
    const { here } = opened(both, { end: true })
    both.server.head(here, '200 OK', [], Buffer.alloc(50_000), true)
    const bytes = drain(both.server)
    let body = 0
    for (let at = 0; at < bytes.length; at += 9 + bytes.readUIntBE(at + 2, 3)) {
      const length = bytes.readUIntBE(at + 2, 3)
      const size = bytes[at] === Frame.DATA ? length : length - 4 - bytes.readUInt32BE(at + 9)
      assert.ok(size <= 1500)
      body += size
    }
    assert.equal(body, 10_000)
  })
})

describe('a sender without room', () => {
  test('that waits for the next write is unblocked after the write', () => {
    const both = pair()
    const { here } = opened(both, { end: true })
    assert.equal(both.server.head(here, '200 OK', [], Buffer.alloc(65_536), false), false)
    assert.deepEqual(both.server.unblocked(), [])
    assert.equal(both.server.pending, true)
    drain(both.server)
    assert.deepEqual(both.server.unblocked(), [here])
    assert.deepEqual(both.server.unblocked(), [])
    assert.equal(both.server.hasRoom(here), true)
  })

  test('that has used all its credit is unblocked by new credit', () => {
    const both = pair({ window: 2048 })
    const { here, there } = opened(both, { end: true })
    assert.equal(both.server.head(here, '200 OK', [], Buffer.alloc(2048), false), false)
    move(both.server, both.caller)
    assert.deepEqual(both.server.unblocked(), [])
    both.caller.consumed(there, 2048)
    move(both.caller, both.server)
    assert.deepEqual(both.server.unblocked(), [here])
  })

  test('that has ended is unblocked when its END is written, or when the stream is aborted', () => {
    for (const how of ['read', 'reset']) {
      const both = pair({ window: 2048 })
      const { here, there } = opened(both, { end: true })
      assert.equal(both.server.head(here, '200 OK', [], Buffer.alloc(3000), true), false)
      move(both.server, both.caller)
      assert.deepEqual(both.server.unblocked(), [])
      if (how === 'read') both.caller.consumed(there, 2048)
      else both.caller.abort(there, 2, '')
      move(both.caller, both.server)
      drain(both.server)
      assert.deepEqual(both.server.unblocked(), [here])
      assert.equal(here.closed, true)
    }
  })
})

describe('STARTED', () => {
  test('is one frame for all requests of a read that have no response', () => {
    const both = pair()
    for (let at = 0; at < 5; at++) both.caller.request(FIELDS, { end: true, hold: false, upgrade: false }, undefined)
    for (const event of both.server.receive(drain(both.caller))) {
      assert.ok(event.type === 'request')
      both.server.start(event.stream)
      if (event.stream.id % 2 === 0) both.server.head(event.stream, '200 OK', [], undefined, true)
    }
    const bytes = drain(both.server)
    assert.deepEqual(types(bytes), [Frame.RESPONSE, Frame.RESPONSE, Frame.STARTED])
    assert.deepEqual(
      both.caller
        .receive(bytes)
        .filter(({ type }) => type === 'started')
        .map((event) => 'stream' in event && event.stream.id),
      [1, 3, 5],
    )
  })

  test('is sent before any credit beyond the initial window', () => {
    const both = pair()
    const { here } = opened(both, {}, Buffer.alloc(65_536))
    both.server.start(here)
    both.server.consumed(here, 65_536)
    assert.deepEqual(types(drain(both.server)), [Frame.STARTED, Frame.WINDOW])
  })

  test('is sent before the credit of a held request', () => {
    const both = pair()
    const { here } = opened(both, { hold: true })
    both.server.start(here)
    both.server.releaseHold(here)
    both.server.releaseHold(here)
    assert.deepEqual(types(drain(both.server)), [Frame.STARTED, Frame.WINDOW])
  })
})

describe('GOAWAY', () => {
  test('names the last accepted request, and the requests above it never ran', () => {
    const both = pair()
    const { there } = opened(both, { end: true })
    both.server.goaway(0, 'stopping')
    const late = both.caller.request(FIELDS, { end: false, hold: false, upgrade: false }, Buffer.from('body'))
    assert.deepEqual(both.server.receive(Buffer.concat([drain(both.caller), frame(Frame.DATA, 1, 2, '61')])), [])
    assert.equal(both.server.failure, undefined)
    const [event] = move(both.server, both.caller)
    assert.ok(event?.type === 'goaway')
    assert.deepEqual(event.untaken, [late])
    assert.equal(late.closed, true)
    assert.equal(there.closed, false)
    assert.throws(() => both.caller.request(FIELDS, { end: true, hold: false, upgrade: false }, undefined), {
      code: 'NOT_OPEN',
    })
  })

  test('lets accepted requests finish', () => {
    const both = pair()
    const { here } = opened(both, { end: true })
    both.server.goaway(0, 'stopping')
    both.server.head(here, '200 OK', [], Buffer.from('hi'), true)
    assert.deepEqual(
      move(both.server, both.caller).map(({ type }) => type),
      ['goaway', 'head'],
    )
  })
})

describe('stream numbers', () => {
  test('are exhausted long before they wrap around', () => {
    const both = pair({ firstStream: 0xffff_0000 })
    assert.equal(both.caller.exhausted, false)
    opened(both, { end: true })
    assert.equal(both.caller.exhausted, true)
    assert.throws(() => both.caller.request(FIELDS, { end: true, hold: false, upgrade: false }, undefined), {
      code: 'NOT_OPEN',
    })
    assert.equal(both.server.failure, undefined)
  })
})

describe('a head', () => {
  test('that is longer than the peer accepts is refused by the sender, and nothing is sent', () => {
    const both = pair({}, { head: 16_384 })
    const headers = ['X', 'y'.repeat(17_000)]
    assert.throws(
      () => both.caller.request({ ...FIELDS, headers }, { end: true, hold: false, upgrade: false }, undefined),
      {
        code: 'HEAD_TOO_LARGE',
      },
    )
    assert.equal(drain(both.caller).length, 0)
    opened(both, { end: true })
  })

  test('of 64 KiB of bytes above 0x7F is accepted with the default limits', () => {
    const both = pair()
    const value = '\xff'.repeat(65_536)
    both.caller.request({ ...FIELDS, headers: ['X', value] }, { end: true, hold: false, upgrade: false }, undefined)
    const [event] = move(both.caller, both.server)
    assert.ok(event?.type === 'request')
    assert.equal(event.fields.headers[1], value)
  })
})

describe('an upgrade', () => {
  test('ignores a WINDOW before the 101, which gives the request its window', () => {
    const both = pair({}, { window: 4096 })
    const { here, there } = opened(both, { upgrade: true })
    both.caller.receive(frame(Frame.WINDOW, 0, there.id, '00000064'))
    assert.equal(both.caller.failure, undefined)
    assert.equal(there.takesData, false)
    both.server.head(here, '101 Switching Protocols', [], undefined, false)
    move(both.server, both.caller)
    assert.equal(there.sendCredit, 4096)
    both.caller.data(there, new Uint8Array(5000), false)
    const [event] = move(both.caller, both.server)
    assert.ok(event?.type === 'data')
    assert.equal(event.bytes.length, 4096)
    assert.equal(both.server.failure, undefined)
  })

  test('carries bytes both ways after the 101, and each direction ends by itself', () => {
    const both = pair()
    const { here, there } = opened(both, { upgrade: true })
    both.server.head(here, '101 Switching Protocols', [], undefined, false)
    both.server.data(here, Buffer.from('from the server'), true)
    const events = move(both.server, both.caller)
    assert.deepEqual(
      events.map(({ type }) => type),
      ['head', 'data'],
    )
    assert.equal(there.closed, false)
    both.caller.data(there, Buffer.from('from the caller'), false)
    both.caller.data(there, new Uint8Array(0), true)
    const heard = move(both.caller, both.server)
    assert.deepEqual(
      heard.map((event) => event.type === 'data' && [Buffer.from(event.bytes).toString(), event.end]),
      [
        ['from the caller', false],
        ['', true],
      ],
    )
    assert.deepEqual([here.closed, there.closed, both.caller.size, both.server.size], [true, true, 0, 0])
  })

  test('that is declined is an ordinary response', () => {
    const both = pair()
    const { here, there } = opened(both, { upgrade: true })
    both.server.head(here, '200 OK', [], Buffer.from('no'), true)
    move(both.server, both.caller)
    assert.deepEqual([here.closed, there.closed], [true, true])
  })

  test('that is declined can have early hints, body and trailers', () => {
    const both = pair()
    const { here, there } = opened(both, { upgrade: true })
    both.server.inform(here, '103 Early Hints', [])
    both.server.head(here, '200 OK', [], undefined, false)
    both.server.data(here, Buffer.from('no'), false)
    both.server.end(here, ['ETag', 'x'])
    assert.deepEqual(
      move(both.server, both.caller).map(({ type }) => type),
      ['inform', 'head', 'data', 'end'],
    )
    assert.equal(both.caller.failure, undefined)
    assert.deepEqual([here.closed, there.closed], [true, true])
  })

  test('that is declined has no trailers for a peer that does not accept them', () => {
    const server = connection('server')
    const caller = connection('caller')
    // The peer's HELLO, with the feature's name replaced by an unknown one.
    const hello = Buffer.from(
      drain(caller).toString('latin1').replace('upgrade-trailers', 'another-feature0'),
      'latin1',
    )
    server.receive(hello)
    move(server, caller)
    const stream = caller.request(FIELDS, { end: false, hold: false, upgrade: true }, undefined)
    const [event] = move(caller, server)
    assert.ok(event?.type === 'request')
    server.head(event.stream, '200 OK', [], undefined, false)
    server.end(event.stream, ['ETag', 'x'])
    assert.deepEqual(types(drain(server)), [Frame.RESPONSE, Frame.DATA])
    assert.equal(event.stream.closed, true)
    assert.equal(stream.closed, false)
  })

  test('cannot be accepted for a request that asks for none: the application gets an error, and nothing is sent', () => {
    const both = pair()
    const { here } = opened(both, { end: true })
    assert.throws(() => both.server.head(here, '101 Switching Protocols', [], undefined, false), {
      code: 'NOT_UPGRADE',
    })
    assert.equal(drain(both.server).length, 0)
  })
})
