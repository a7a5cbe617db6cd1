import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { FrameConnection } from '../../../protocol/frames/codec/connection.ts'
import {
  BACKLOG_MAX,
  CONTROL_MAX,
  DATA_MAX,
  Flag,
  Frame,
  Goaway,
  HEAD_MAX,
  INFORM_COUNT,
  INFORM_MAX,
  Reset,
  UPGRADED_MAX,
  WINDOW,
} from '../../../protocol/frames/codec/constants.ts'
import type { FrameStream } from '../../../protocol/frames/codec/stream.ts'
import { connection, drain, FIELDS, frame, hex, move, opened, pair, plain, types } from './support.ts'

const request = (stream: number, flags: number = 1): Buffer => frame(Frame.REQUEST, flags, stream, `00000005dc0002a000`)

interface Scene {
  caller: FrameConnection
  server: FrameConnection
  there: FrameStream
  here: FrameStream
}

function scene(flags: Parameters<typeof opened>[1] = {}): Scene {
  const both = pair()
  return { ...both, ...opened(both, flags) }
}

const u32 = (...numbers: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * numbers.length)
  numbers.forEach((number, at) => void bytes.writeUInt32BE(number, 4 * at))
  return bytes
}

/** Bytes that a peer sends to a server that has stream 1 open, and the code of the failure. */
const toServer: Record<string, [bytes: Buffer, code: string]> = {
  'a REQUEST on stream 0': [request(0), 'BAD_STREAM'],
  'a REQUEST on a number used before': [request(1), 'BAD_STREAM'],
  'a REQUEST whose frame is longer than a head and a chunk': [
    frame(Frame.REQUEST, 0, 2, Buffer.alloc(4 + HEAD_MAX + DATA_MAX + 1)).subarray(0, 9),
    'FRAME_TOO_LARGE',
  ],
  'a REQUEST whose head is longer than its frame': [frame(Frame.REQUEST, 0, 2, 'ffffffffdc0002a000'), 'BAD_HEAD'],
  'a REQUEST whose head is longer than HELLO allows': [
    frame(Frame.REQUEST, 0, 2, Buffer.concat([u32(HEAD_MAX + 1), Buffer.alloc(HEAD_MAX + 1)])),
    'BAD_HEAD',
  ],
  'a REQUEST without a head': [frame(Frame.REQUEST, 0, 2, '0000'), 'BAD_FRAME'],
  'a REQUEST with an empty head': [frame(Frame.REQUEST, 0, 2, '00000000'), 'BAD_HEAD'],
  'a REQUEST with a head a thousand arrays deep': [
    frame(Frame.REQUEST, 0, 2, Buffer.concat([u32(1000), Buffer.alloc(1000, 0x91)])),
    'BAD_HEAD',
  ],
  'a REQUEST with more body than a chunk': [
    frame(Frame.REQUEST, 0, 2, Buffer.concat([hex('00000005dc0002a000'), Buffer.alloc(DATA_MAX + 1)])),
    'FRAME_TOO_LARGE',
  ],
  'a held REQUEST with body': [frame(Frame.REQUEST, 2, 2, '00000005dc0002a00061'), 'FLOW_CONTROL'],
  'a REQUEST for an upgrade with body': [frame(Frame.REQUEST, 4, 2, '00000005dc0002a00061'), 'FLOW_CONTROL'],
  'a REQUEST for an upgrade with END': [request(2, 5), 'FLOW_CONTROL'],
  'a RESPONSE': [frame(Frame.RESPONSE, 0, 1, '00000005dc0001a0'), 'WRONG_ROLE'],
  'an INFORM': [frame(Frame.INFORM, 0, 1, 'dc0001a0'), 'WRONG_ROLE'],
  STARTED: [frame(Frame.STARTED, 0, 0, u32(1)), 'WRONG_ROLE'],
  'DATA on stream 0': [frame(Frame.DATA, 0, 0, '61'), 'BAD_STREAM'],
  'DATA on a stream never opened': [frame(Frame.DATA, 0, 2, '61'), 'BAD_STREAM'],
  'DATA without bytes and without END': [frame(Frame.DATA, 0, 1), 'EMPTY_DATA'],
  'DATA after the end': [Buffer.concat([frame(Frame.DATA, 1, 1), frame(Frame.DATA, 0, 1, '61')]), 'ENDED'],
  'DATA longer than a chunk': [frame(Frame.DATA, 0, 1, Buffer.alloc(DATA_MAX + 1)).subarray(0, 9), 'FRAME_TOO_LARGE'],
  'DATA of 16 MiB': [hex('13 00 ffffff 00000001'), 'FRAME_TOO_LARGE'],
  'DATA beyond its credit': [
    Buffer.concat([
      frame(Frame.DATA, 0, 1, Buffer.alloc(WINDOW / 2)),
      frame(Frame.DATA, 0, 1, Buffer.alloc(WINDOW / 2)),
      frame(Frame.DATA, 0, 1, '61'),
    ]),
    'FLOW_CONTROL',
  ],
  'TRAILERS after the end': [Buffer.concat([frame(Frame.DATA, 1, 1), frame(Frame.TRAILERS, 1, 1, 'dc0000')]), 'ENDED'],
  'TRAILERS whose payload is no array': [frame(Frame.TRAILERS, 1, 1, '81a161a162'), 'BAD_HEAD'],
  'TRAILERS longer than a head': [
    frame(Frame.TRAILERS, 1, 1, Buffer.alloc(HEAD_MAX + 1)).subarray(0, 9),
    'FRAME_TOO_LARGE',
  ],
  'a WINDOW of 0': [frame(Frame.WINDOW, 0, 1, u32(0)), 'FLOW_CONTROL'],
  'a WINDOW beyond 2³¹−1': [frame(Frame.WINDOW, 0, 1, u32(0x7fff_ffff)), 'FLOW_CONTROL'],
  'a WINDOW of 2³²−1': [frame(Frame.WINDOW, 0, 1, u32(0xffff_ffff)), 'FLOW_CONTROL'],
  'a WINDOW on stream 0': [frame(Frame.WINDOW, 0, 0, u32(1)), 'BAD_STREAM'],
  'a WINDOW on a stream never opened': [frame(Frame.WINDOW, 0, 9, u32(1)), 'BAD_STREAM'],
  'a WINDOW of three bytes': [frame(Frame.WINDOW, 0, 1, '000001'), 'BAD_FRAME'],
  'a WINDOW of five bytes': [frame(Frame.WINDOW, 0, 1, '0000000001'), 'FRAME_TOO_LARGE'],
  'a RESET without a code': [frame(Frame.RESET, 0, 1), 'BAD_FRAME'],
  'a RESET on a stream never opened': [frame(Frame.RESET, 0, 2, '02'), 'BAD_STREAM'],
  'a RESET with a text of 2000 bytes': [frame(Frame.RESET, 0, 1, Buffer.alloc(2000)), 'FRAME_TOO_LARGE'],
  'SLOTS on a stream': [frame(Frame.SLOTS, 0, 1, u32(1)), 'BAD_STREAM'],
  'SLOTS without a number': [frame(Frame.SLOTS, 0, 0), 'BAD_FRAME'],
  'a PING of seven bytes': [frame(Frame.PING, 0, 0, '01020304050607'), 'BAD_FRAME'],
  'a PONG of eight bytes': [frame(Frame.PONG, 0, 0, '0102030405060708'), 'BAD_FRAME'],
  'a GOAWAY of four bytes': [frame(Frame.GOAWAY, 0, 0, u32(1)), 'BAD_FRAME'],
  'HELLO again': [drain(connection('caller')), 'HELLO_TWICE'],
  'HELLO on a stream': [frame(Frame.HELLO, 0, 1, '90'), 'BAD_STREAM'],
  AUTH: [frame(Frame.AUTH, 0, 0, Buffer.alloc(32)), 'HANDSHAKE'],
}

const toCaller: Record<string, [bytes: Buffer, code: string, flags?: Parameters<typeof opened>[1]]> = {
  'a REQUEST': [request(2), 'WRONG_ROLE'],
  'DATA before the response': [frame(Frame.DATA, 0, 1, '61'), 'TOO_EARLY'],
  'TRAILERS before the response': [frame(Frame.TRAILERS, 1, 1, 'dc0000'), 'TOO_EARLY'],
  'a RESPONSE on a stream never opened': [frame(Frame.RESPONSE, 0, 2, '00000004dc0001a0'), 'BAD_STREAM'],
  'a RESPONSE twice': [
    Buffer.concat([frame(Frame.RESPONSE, 0, 1, '00000004dc0001a0'), frame(Frame.RESPONSE, 0, 1, '00000004dc0001a0')]),
    'RESPONDED',
  ],
  'an INFORM after the response': [
    Buffer.concat([frame(Frame.RESPONSE, 0, 1, '00000004dc0001a0'), frame(Frame.INFORM, 0, 1, 'dc0001a0')]),
    'RESPONDED',
  ],
  'more INFORM frames than allowed': [
    Buffer.concat(Array.from({ length: INFORM_COUNT + 1 }, () => frame(Frame.INFORM, 0, 1, 'dc0001a0'))),
    'INFORM_FLOOD',
  ],
  'INFORM of too many bytes in all': [
    Buffer.concat(
      Array.from({ length: 5 }, () =>
        frame(Frame.INFORM, 0, 1, Buffer.concat([hex('dc0001da'), hex('0f00'), Buffer.alloc(0x0f00, 97)])),
      ),
    ),
    'INFORM_FLOOD',
  ],
  'an INFORM that is too long': [
    frame(Frame.INFORM, 0, 1, Buffer.alloc(INFORM_MAX + 1)).subarray(0, 9),
    'FRAME_TOO_LARGE',
  ],
  'more response than there is credit for': [
    Buffer.concat([
      frame(Frame.RESPONSE, 0, 1, Buffer.concat([hex('00000004dc0001a0'), Buffer.alloc(DATA_MAX)])),
      frame(Frame.DATA, 0, 1, Buffer.alloc(DATA_MAX)),
      frame(Frame.DATA, 0, 1, '61'),
    ]),
    'FLOW_CONTROL',
  ],
  'STARTED of a stream never opened': [frame(Frame.STARTED, 0, 0, u32(1, 2)), 'BAD_STREAM'],
  'STARTED without a stream': [frame(Frame.STARTED, 0, 0), 'BAD_FRAME'],
  'STARTED of half a number': [frame(Frame.STARTED, 0, 0, '000000010000'), 'BAD_FRAME'],
  'GOAWAY that denies a STARTED': [
    Buffer.concat([frame(Frame.STARTED, 0, 0, u32(1)), frame(Frame.GOAWAY, 0, 0, '0000000000')]),
    'GOAWAY',
  ],
}

function fails(to: FrameConnection, from: FrameConnection, bytes: Buffer, code: string): void {
  to.receive(bytes)
  assert.equal(to.failure?.code, code)
  assert.equal(to.state, 'failed')
  // The peer gets the reason, and nothing more is read from it.
  const told = move(to, from).at(-1)
  assert.equal(told?.type, 'goaway')
  assert.equal(told.code, Goaway.PROTOCOL)
  assert.deepEqual(to.receive(frame(Frame.PING, 0, 0, '0102030405060708')), [])
}

describe('a server ends the link with GOAWAY for', () => {
  for (const [name, [bytes, code]] of Object.entries(toServer)) {
    test(name, () => {
      const { caller, server } = scene()
      fails(server, caller, bytes, code)
    })
  }
})

describe('a caller ends the link with GOAWAY for', () => {
  for (const [name, [bytes, code]] of Object.entries(toCaller)) {
    test(name, () => {
      const { caller, server } = scene({ end: true })
      fails(caller, server, bytes, code)
    })
  }

  test('DATA and TRAILERS on an upgrade that has no response, or was declined', () => {
    for (const [bytes, declined] of [
      [frame(Frame.DATA, 0, 1, '61'), false],
      [frame(Frame.DATA, 0, 1, '61'), true],
      [frame(Frame.TRAILERS, 1, 1, 'dc0000'), false],
      [frame(Frame.TRAILERS, 1, 1, 'dc0000'), true],
    ] as const) {
      const { caller, server, here } = scene({ upgrade: true })
      if (declined) server.head(here, '200 OK', [], undefined, false)
      drain(server)
      fails(server, caller, bytes, 'TOO_EARLY')
    }
  })

  test('TRAILERS after a 101, in both directions', () => {
    for (const side of ['caller', 'server'] as const) {
      const { caller, server, here } = scene({ upgrade: true })
      server.head(here, '101 Switching Protocols', [], undefined, false)
      move(server, caller)
      const both = { caller, server }
      fails(both[side], side === 'caller' ? server : caller, frame(Frame.TRAILERS, 1, 1, 'dc0000'), 'TOO_EARLY')
    }
  })
})

describe('a caller fails only the stream, and reports it, for', () => {
  test('a 101 without an upgrade request', () => {
    const { caller, server, there } = scene({ end: true })
    const other = opened({ caller, server }, { end: true })
    const events = caller.receive(
      frame(Frame.RESPONSE, 0, 1, Buffer.concat([u32(7), hex('dc0001 a3'), Buffer.from('101')])),
    )
    assert.deepEqual(events.map(plain), [
      { type: 'violation', stream: 1, text: 'a 101 on stream 1, which asked for no upgrade' },
    ])
    assert.equal(caller.failure, undefined)
    assert.equal(there.closed, true)
    assert.deepEqual(move(caller, server).map(plain), [
      { type: 'abort', stream: 1, code: Reset.PROTOCOL, text: 'a 101 on stream 1, which asked for no upgrade' },
    ])
    server.head(other.here, '200 OK', [], undefined, true)
    assert.equal(move(server, caller)[0]?.type, 'head')
  })
})

describe('a peer that does not read', () => {
  test('gets at most one PONG for its PINGs, one SLOTS, and one WINDOW per stream', () => {
    const { server, here } = scene()
    server.full = true
    for (let round = 1; round <= 20_000; round++) {
      for (const event of server.receive(frame(Frame.PING, 0, 0, Buffer.concat([u32(7), u32(round)])))) {
        if (event.type === 'ping') server.pong(event.token, 3, 0)
      }
      server.receive(frame(Frame.DATA, 0, 1, Buffer.alloc(WINDOW / 2)))
      server.consumed(here, WINDOW / 2)
      server.slots(round)
      assert.ok(server.backlog <= 13)
    }
    assert.equal(server.failure, undefined)
    assert.deepEqual(
      drain(server).toString('hex'),
      Buffer.concat([
        frame(Frame.PONG, 0, 0, Buffer.concat([u32(7), u32(20_000), u32(3), u32(0)])),
        frame(Frame.SLOTS, 0, 0, u32(20_000)),
        frame(Frame.WINDOW, 0, 1, u32(20_000 * (WINDOW / 2))),
      ]).toString('hex'),
    )
  })

  test('is disconnected when more refusals are queued than a caller can have requests open', () => {
    const { server } = scene()
    server.slots(100)
    drain(server)
    server.full = true
    let refused = 0
    while (!server.failure && refused < 100_000) {
      for (const event of server.receive(request(refused + 2))) {
        if (event.type !== 'request') continue
        server.abort(event.stream, Reset.REFUSED, 'no slot is free')
        refused++
      }
    }
    assert.equal(server.failure?.code, 'OVERLOADED')
    assert.equal(refused, 100 + UPGRADED_MAX + 1)
    assert.equal(server.size, 1)
    assert.ok(server.backlog < 1000)
  })

  test('gets no RESET for a request that it aborted itself', () => {
    const { server } = scene()
    server.full = true
    for (let id = 2; id < 50_000; id++) {
      for (const event of server.receive(request(id))) {
        if (event.type === 'request') server.abort(event.stream, Reset.REFUSED, 'no slot is free')
      }
      server.receive(frame(Frame.RESET, 0, id, '02'))
      assert.equal(server.backlog, 0)
    }
    assert.equal(server.failure, undefined)
  })

  test('causes no queued bytes by requests that it starts and aborts', () => {
    const { server } = scene()
    server.full = true
    for (let id = 2; id < 10_000; id++) {
      for (const event of server.receive(request(id))) {
        if (event.type !== 'request') continue
        server.start(event.stream)
      }
      server.receive(frame(Frame.RESET, 0, id, '02'))
      server.unblocked()
    }
    assert.equal(server.failure, undefined)
    assert.equal(server.backlog, 0)
    assert.deepEqual(types(drain(server)), [])
  })

  test('causes only queued heads by answered requests that it aborts', () => {
    const { server } = scene()
    server.full = true
    for (let id = 2; id < 10_000; id++) {
      for (const event of server.receive(request(id))) {
        if (event.type !== 'request') continue
        server.start(event.stream)
        server.head(event.stream, '200 OK', [], undefined, false)
        server.data(event.stream, Buffer.alloc(10), false)
      }
      server.receive(frame(Frame.RESET, 0, id, '02'))
      server.unblocked()
    }
    assert.equal(server.failure, undefined)
    assert.deepEqual(new Set(types(drain(server))), new Set([Frame.RESPONSE]))
  })

  test('is visible in the backlog long before responses fill memory', () => {
    const { server } = scene()
    let id = 2
    while (server.backlog <= BACKLOG_MAX && id < 1_000_000) {
      for (const event of server.receive(request(id++))) {
        if (event.type === 'request') server.head(event.stream, '200 OK', [['X', 'y'.repeat(2000)]], undefined, true)
      }
    }
    assert.ok(server.backlog > BACKLOG_MAX)
    assert.ok(server.backlog < BACKLOG_MAX + 4096)
  })
})

describe('a flood', () => {
  test('of requests that are aborted at once keeps nothing', () => {
    const { server } = scene()
    for (let id = 2; id < 20_000; id++) {
      server.receive(Buffer.concat([request(id), frame(Frame.RESET, 0, id, '02')]))
    }
    assert.equal(server.failure, undefined)
    assert.equal(server.size, 1)
    assert.equal(server.backlog, 0)
  })

  test('of WINDOW and RESET for closed streams is ignored', () => {
    const { caller, server, here } = scene({ end: true })
    server.head(here, '200 OK', [], undefined, true)
    move(server, caller)
    for (let round = 0; round < 1000; round++) {
      server.receive(frame(Frame.WINDOW, 0, 1, u32(0x7fff_ffff)))
      server.receive(frame(Frame.RESET, 0, 1, '02'))
      caller.receive(frame(Frame.RESET, 0, 1, '02'))
    }
    assert.equal(server.failure, undefined)
    assert.equal(caller.failure, undefined)
  })

  test('of skipped frames keeps nothing', () => {
    const { server } = scene()
    const unknown = frame(0x60, 0, 0, Buffer.alloc(100_000))
    for (let round = 0; round < 100; round++) assert.deepEqual(server.receive(unknown), [])
    assert.equal(server.failure, undefined)
  })

  test('of body for a refused request is ignored', () => {
    const { server, here } = scene()
    server.abort(here, 1, 'no slot is free')
    for (let round = 0; round < 100; round++) {
      assert.deepEqual(server.receive(frame(Frame.DATA, 0, 1, Buffer.alloc(DATA_MAX))), [])
    }
    assert.equal(server.failure, undefined)
  })
})

describe('a caller whose peer does not read', () => {
  const WHOLE = { end: true, hold: false, upgrade: false }

  test('queues nothing for requests that were aborted before they were sent', () => {
    const { caller, server } = scene()
    drain(caller)
    caller.full = true
    for (let round = 0; round < 100_000; round++) {
      const stream = caller.request(FIELDS, WHOLE, undefined)
      caller.abort(stream, Reset.CANCELLED, 'the client has gone')
      assert.equal(caller.backlog, 0)
    }
    assert.equal(caller.pending, false)
    assert.equal(caller.failure, undefined)
    // The stream numbers of the removed requests are a gap.
    caller.full = false
    const next = caller.request(FIELDS, WHOLE, undefined)
    assert.equal(next.id, 100_002)
    assert.deepEqual(
      move(caller, server).map((event) => [event.type, 'stream' in event && event.stream.id]),
      [['request', 100_002]],
    )
  })

  test('queues one RESET for each request that was sent', () => {
    const { caller, server, there } = scene()
    const left = Array.from({ length: 50 }, () => caller.request(FIELDS, WHOLE, undefined))
    move(caller, server)
    caller.full = true
    for (const stream of [there, ...left]) caller.abort(stream, Reset.CANCELLED, '')
    const kept = caller.request(FIELDS, WHOLE, undefined)
    const gone = caller.request(FIELDS, WHOLE, undefined)
    caller.abort(gone, Reset.CANCELLED, '')
    const events = move(caller, server)
    assert.deepEqual(
      events.map((event) => 'stream' in event && `${event.type} ${event.stream.id}`),
      [...[there, ...left].map(({ id }) => `abort ${id}`), `request ${kept.id}`],
      'RESETs go first: their slots may be what the requests need',
    )
  })

  test('sends a request before its body, its trailers and its end, whatever is queued', () => {
    const { caller, server } = scene()
    drain(caller)
    caller.full = true
    const streams = [1, 2, 3].map(() => caller.request(FIELDS, { ...WHOLE, end: false }, Buffer.from('first')))
    caller.end(streams[0]!, ['ETag', 'x'])
    caller.data(streams[1]!, Buffer.alloc(3000, 97), true)
    caller.data(streams[2]!, new Uint8Array(0), true)
    caller.goaway(Goaway.RETIRING, 'numbers')
    const events = move(caller, server)
    assert.equal(server.failure, undefined)
    assert.deepEqual(
      events.map((event) => ('stream' in event ? `${event.type} ${event.stream.id}` : event.type)),
      ['request 2', 'request 3', 'request 4', 'goaway', 'end 2', 'data 3', 'data 4'],
    )
  })

  test('forgets the requests that its peer did not accept', () => {
    const { caller } = scene()
    drain(caller)
    caller.full = true
    const stream = caller.request(FIELDS, WHOLE, undefined)
    const [event] = caller.receive(frame(Frame.GOAWAY, 0, 0, '0000000100'))
    assert.ok(event?.type === 'goaway')
    assert.deepEqual(event.untaken, [stream])
    assert.equal(caller.pending, false)
  })

  test('is congested above 64 KiB, until the queue is short again', () => {
    const { caller } = scene()
    drain(caller)
    assert.equal(caller.congested, false)
    for (let bytes = 0; bytes <= 2 * CONTROL_MAX; bytes += 1000) {
      caller.request({ ...FIELDS, headers: ['X', 'y'.repeat(1000)] }, WHOLE, undefined)
    }
    assert.equal(caller.congested, false, 'a socket that is not full takes everything in the same tick')
    drain(caller)
    caller.full = true
    const streams: FrameStream[] = []
    while (!caller.congested) {
      streams.push(caller.request({ ...FIELDS, headers: ['X', 'y'.repeat(1000)] }, WHOLE, undefined))
      assert.ok(streams.length < 100)
    }
    assert.ok(caller.backlog > CONTROL_MAX && caller.backlog < CONTROL_MAX + 2000)
    caller.abort(streams[0]!, Reset.CANCELLED, '')
    assert.equal(caller.congested, false)
  })
})

describe('bytes', () => {
  test('of a small slice of a large read are copied, so that the read is not kept in memory', () => {
    const { server } = scene()
    const read = Buffer.alloc(65_536)
    const one = frame(Frame.DATA, 0, 1, '61')
    one.copy(read)
    const [event] = server.receive(read.subarray(0, one.length))
    assert.ok(event?.type === 'data')
    assert.ok(event.bytes.buffer.byteLength < 1024)
  })

  test('of a small complete body are copied', () => {
    const { server } = scene()
    const one = frame(Frame.REQUEST, Flag.END, 2, '00000005dc0002a00061')
    const read = Buffer.alloc(1 << 20)
    one.copy(read)
    const [event] = server.receive(read.subarray(0, one.length))
    assert.ok(event?.type === 'request')
    read.fill(0)
    assert.equal(Buffer.from(event.body!).toString(), 'a')
    // The copy is in a slab of Node's pool, whatever its size.
    assert.equal(event.body!.buffer.byteLength, Buffer.allocUnsafe(1).buffer.byteLength)
  })

  test('at random give events or one failure, in each role and state', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc
        .tuple(
          fc.constantFrom(...Object.values(Frame), 0x7f),
          fc.integer({ min: 0, max: 7 }),
          fc.constantFrom(0, 1, 2, 3, 0xffff_ffff),
          fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(hex('00000005dc0002a000')), fc.constant(u32(1))),
        )
        .map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
    )
    fc.assert(
      fc.property(fc.boolean(), fc.boolean(), fc.array(bytes, { maxLength: 30 }), (asCaller, fresh, chunks) => {
        const both = fresh ? { caller: connection('caller'), server: connection('server') } : scene()
        const to = asCaller ? both.caller : both.server
        for (const chunk of chunks) {
          const before = to.failure
          const events = to.receive(chunk)
          if (before) assert.deepEqual(events, [])
          for (const event of events) {
            if (event.type === 'request') to.start(event.stream)
          }
        }
        if (to.failure) assert.equal(to.state, 'failed')
        to.take(1 << 20)
      }),
      { numRuns: 3000 },
    )
  })

  test('split anywhere give the same events', () => {
    const { caller } = scene()
    for (let at = 0; at < 5; at++) {
      const stream = caller.request(
        { requestId: 'r', variables: ['A', 'é'.repeat(at * 50)], headers: [] },
        { end: false, hold: false, upgrade: false },
        Buffer.alloc(at * 7, 65 + at),
      )
      caller.data(stream, Buffer.alloc(300, 97 + at), at % 2 === 0)
    }
    const bytes = drain(caller)
    const heard = (cuts: number[]): unknown => {
      const { server } = scene()
      const bodies: Record<number, string> = {}
      const seen: string[] = []
      let last = 0
      for (const cut of [...cuts, bytes.length].sort((a, b) => a - b)) {
        for (const event of server.receive(bytes.subarray(last, cut))) {
          if (event.type === 'request') {
            seen.push(`request ${event.stream.id} ${event.fields.variables.join()}`)
            bodies[event.stream.id] = Buffer.from(event.body ?? '').toString('latin1')
          } else if (event.type === 'data') {
            bodies[event.stream.id] += Buffer.from(event.bytes).toString('latin1')
            if (event.end) seen.push(`end ${event.stream.id}`)
          }
        }
        last = cut
      }
      assert.equal(server.failure, undefined)
      return { seen, bodies }
    }
    const whole = heard([])
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 20 }), (cuts) => {
        assert.deepEqual(heard(cuts), whole)
      }),
    )
  })
})
