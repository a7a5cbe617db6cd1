import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { FrameConnection } from '../../../protocol/frames/codec/connection.ts'
import { Goaway, Reset } from '../../../protocol/frames/codec/constants.ts'
import type { FrameStream } from '../../../protocol/frames/codec/stream.ts'
import { connection, drain, FIELDS, frame, hex, move, opened, pair, plain, TOKEN } from './support.ts'

interface Scene {
  caller: FrameConnection
  server: FrameConnection
  /** Stream 1, at the caller and at the server. */
  there: FrameStream
  here: FrameStream
}

const REQUEST_ENDS = { end: true }

function scene(flags: Parameters<typeof opened>[1] = REQUEST_ENDS): Scene {
  const both = pair()
  return { ...both, ...opened(both, flags) }
}

interface Golden {
  from: 'caller' | 'server'
  bytes: string
  write(scene: Scene): void
  /** The event at the other side. */
  event: Record<string, unknown> | undefined
  scene?: () => Scene
}

const text = (value: string): string => Buffer.from(value, 'latin1').toString('hex')

const frames: Record<string, Golden> = {
  'a REQUEST that is whole': {
    from: 'caller',
    // type, flags END, length, stream 2; head length; [ "r1", 1, 0 "GET", 0 "a" ]; body
    bytes: `10 01 000014 00000002  0000000d  96 a2${text('r1')} 01 00 a3${text('GET')} 00 a1${text('a')}  ${text('abc')}`,
    write: ({ caller }) => caller.request(FIELDS, { end: true, hold: false, upgrade: false }, Buffer.from('abc')),
    event: { type: 'request', stream: 2, fields: FIELDS, body: 'abc', end: true, hold: false },
  },
  'a REQUEST whose body waits for credit, with names that no table has': {
    from: 'caller',
    bytes: `10 02 000033 00000002  0000002f  9a a0 02 00 a4${text('POST')} a1${text('X')} a2c3a9
            3b b8${text('a'.repeat(24))} a5${text('X-Own')} a0`,
    write: ({ caller }) =>
      caller.request(
        {
          requestId: '',
          variables: ['REQUEST_METHOD', 'POST', 'X', '\xe9'],
          headers: ['accept', 'a'.repeat(24), 'X-Own', ''],
        },
        { end: false, hold: true, upgrade: false },
        undefined,
      ),
    event: {
      type: 'request',
      stream: 2,
      fields: {
        requestId: '',
        variables: ['REQUEST_METHOD', 'POST', 'X', '\xe9'],
        headers: ['accept', 'a'.repeat(24), 'X-Own', ''],
      },
      end: false,
      hold: true,
    },
  },
  'a REQUEST for an upgrade': {
    from: 'caller',
    bytes: `10 04 000011 00000002  0000000d  96 a2${text('r1')} 01 00 a3${text('GET')} 00 a1${text('a')}`,
    write: ({ caller }) => caller.request(FIELDS, { end: false, hold: false, upgrade: true }, undefined),
    event: { type: 'request', stream: 2, fields: FIELDS, end: false, hold: false },
  },
  'a RESPONSE that is whole': {
    from: 'server',
    bytes: `12 01 00001a 00000001  00000014  93 a6${text('200 OK')} 05 aa${text('text/plain')}  ${text('hi')}`,
    write: ({ server, here }) => server.head(here, '200 OK', [['Content-Type', 'text/plain']], Buffer.from('hi'), true),
    event: {
      type: 'head',
      stream: 1,
      status: '200 OK',
      headers: [['Content-Type', 'text/plain']],
      body: 'hi',
      end: true,
    },
  },
  'an INFORM': {
    from: 'server',
    bytes: `11 00 000016 00000001  93 af${text('103 Early Hints')} 35 a3${text('</a')}`,
    write: ({ server, here }) => server.inform(here, '103 Early Hints', [['Link', '</a']]),
    event: { type: 'inform', stream: 1, status: '103 Early Hints', headers: [['Link', '</a']] },
  },
  'DATA of a request': {
    from: 'caller',
    bytes: `13 00 000003 00000001  ${text('abc')}`,
    scene: () => scene({ end: false }),
    write: ({ caller, there }) => caller.data(there, Buffer.from('abc'), false),
    event: { type: 'data', stream: 1, bytes: 'abc', end: false },
  },
  'DATA that is the end': {
    from: 'caller',
    bytes: `13 01 000003 00000001  ${text('abc')}`,
    scene: () => scene({ end: false }),
    write: ({ caller, there }) => caller.data(there, Buffer.from('abc'), true),
    event: { type: 'data', stream: 1, bytes: 'abc', end: true },
  },
  'an END without bytes': {
    from: 'caller',
    bytes: '13 01 000000 00000001',
    scene: () => scene({ end: false }),
    write: ({ caller, there }) => caller.data(there, new Uint8Array(0), true),
    event: { type: 'data', stream: 1, bytes: '', end: true },
  },
  TRAILERS: {
    from: 'caller',
    bytes: `14 01 000007 00000001  92 a1${text('a')} a3${text('bcd')}`,
    scene: () => scene({ end: false }),
    write: ({ caller, there }) => caller.end(there, ['a', 'bcd']),
    event: { type: 'end', stream: 1, fields: ['a', 'bcd'] },
  },
  'STARTED of two streams': {
    from: 'server',
    bytes: '06 00 000008 00000000  00000001 00000002',
    scene: () => {
      const both = scene()
      const second = opened(both, { end: true })
      both.server.start(both.here)
      both.server.start(second.here)
      return both
    },
    write: () => {},
    event: { type: 'started', stream: 1 },
  },
  WINDOW: {
    from: 'server',
    bytes: '15 00 000004 00000001  00020000',
    scene: () => scene({ hold: true }),
    write: ({ server, here }) => server.releaseHold(here),
    event: undefined,
  },
  RESET: {
    from: 'server',
    bytes: `16 00 000008 00000001  01 ${text('no slot')}`,
    write: ({ server, here }) => server.abort(here, Reset.REFUSED, 'no slot'),
    event: { type: 'abort', stream: 1, code: 1, text: 'no slot' },
  },
  'SLOTS granted': {
    from: 'server',
    bytes: '05 00 000004 00000000  000003e8',
    write: ({ server }) => server.slots(1000),
    event: { type: 'slots', count: 1000 },
  },
  PING: {
    from: 'caller',
    bytes: '03 00 000008 00000000  0102030405060708',
    write: ({ caller }) => caller.ping(hex('0102030405060708')),
    event: { type: 'ping', token: '\x01\x02\x03\x04\x05\x06\x07\x08' },
  },
  PONG: {
    from: 'server',
    bytes: '04 00 000010 00000000  0102030405060708 00000002 0000000d',
    write: ({ server }) => server.pong(hex('0102030405060708'), 2, 12.6),
    event: { type: 'pong', token: '\x01\x02\x03\x04\x05\x06\x07\x08', running: 2, lag: 13 },
  },
  'TRAILERS that end the response to an upgrade that was declined': {
    from: 'server',
    // 41 ETag, "x"
    bytes: `14 01 000004 00000001  92 29 a1${text('x')}`,
    scene: () => {
      const made = scene({ upgrade: true })
      made.server.head(made.here, '200 OK', [], undefined, false)
      move(made.server, made.caller)
      return made
    },
    write: ({ server, here }) => server.end(here, ['ETag', 'x']),
    event: { type: 'end', stream: 1, fields: ['ETag', 'x'] },
  },
  GOAWAY: {
    from: 'server',
    bytes: `02 00 000009 00000000  00000001 00 ${text('stop')}`,
    write: ({ server }) => server.goaway(Goaway.DRAINING, 'stop'),
    event: { type: 'goaway', code: 0, text: 'stop', untaken: [] },
  },
}

const HELLO = `c1 00 0000b0 00000000  dc001c
  a7${text('version')} 01  a6${text('oldest')} 01  a4${text('role')} a6${text('caller')}  a7${text('dialled')} 01
  a6${text('secret')} 00  a5${text('nonce')} d920${text('ca'.repeat(16))}
  a6${text('window')} ce00020000  a4${text('data')} ce00010000  a4${text('head')} ce00040000  a8${text('features')} b0${text('upgrade-trailers')}
  a2${text('id')} a1${text('p')}  a6${text('worker')} 00  a7${text('workers')} 01  a5${text('slots')} 00`

describe('every frame is written as the golden bytes', () => {
  test('HELLO', () => {
    assert.equal(drain(connection('caller')).toString('hex'), hex(HELLO).toString('hex'))
  })

  test('AUTH of the dialler, then of the other side', () => {
    const caller = connection('caller', { token: TOKEN })
    const server = connection('server', { token: TOKEN })
    move(caller, server)
    move(server, caller)
    const first = drain(caller)
    assert.equal(
      first.toString('hex'),
      '010000002000000000055bc0496f01af764842ee58ba30360d6f698465ce928773119c816d0a1bf56e',
    )
    server.receive(first)
    assert.equal(
      drain(server).toString('hex'),
      '0100000020000000002214b65f633906c12421afc9dda08c98e43e735c3bf0c91e2dc350a4716d340a',
    )
  })

  for (const [name, golden] of Object.entries(frames)) {
    test(name, () => {
      const made = (golden.scene ?? scene)()
      golden.write(made)
      assert.equal(drain(made[golden.from]).toString('hex'), hex(golden.bytes).toString('hex'))
    })
  }
})

describe('every frame is read from the golden bytes', () => {
  const cases = Object.entries(frames)

  function receiver(golden: Golden): FrameConnection {
    const made = (golden.scene ?? scene)()
    return golden.from === 'caller' ? made.server : made.caller
  }

  for (const [name, golden] of cases) {
    const bytes = hex(golden.bytes)

    test(`${name}, in one piece`, () => {
      const to = receiver(golden)
      const events = to.receive(bytes)
      assert.equal(to.failure, undefined)
      assert.deepEqual(events[0] && plain(events[0]), golden.event)
    })

    test(`${name}, byte by byte`, () => {
      const to = receiver(golden)
      const events: Record<string, unknown>[] = []
      for (const byte of bytes) events.push(...to.receive(Uint8Array.of(byte)).map(plain))
      assert.equal(to.failure, undefined)
      // Body is delivered in the parts in which it arrives.
      const joined = events.reduce<Record<string, unknown> | undefined>((all, next) => {
        if (all === undefined) return next
        if (all['type'] === 'data') return { ...next, bytes: `${all['bytes']}${next['bytes']}` }
        return all
      }, undefined)
      assert.deepEqual(joined, golden.event)
    })

    test(`${name}, with the start of the next frame`, () => {
      const to = receiver(golden)
      const next = frame(0x03, 0, 0, '0102030405060708')
      for (let cut = 0; cut <= next.length; cut++) {
        const to = receiver(golden)
        const events = to.receive(Buffer.concat([bytes, next.subarray(0, cut)]))
        events.push(...to.receive(next.subarray(cut)))
        assert.equal(to.failure, undefined)
        assert.equal(events.at(-1)?.type, 'ping')
        assert.deepEqual(golden.event && plain(events[0]!), golden.event)
      }
      assert.equal(to.failure, undefined)
    })
  }

  test('HELLO byte by byte', () => {
    const server = connection('server')
    const events = [...hex(HELLO)].flatMap((byte) => server.receive(Uint8Array.of(byte)))
    assert.deepEqual(events.map(plain), [
      { type: 'ready', peer: { id: 'p', worker: 0, workers: 1, slots: 0, limits: Object.create(null) } },
    ])
  })

  test('an unknown type is skipped, whatever its length and stream', () => {
    const { caller } = pair()
    const unknown = frame(0x7f, 0xff, 12, Buffer.alloc(100_000, 7))
    const events = caller.receive(Buffer.concat([unknown.subarray(0, 5000)]))
    events.push(...caller.receive(unknown.subarray(5000)))
    events.push(...caller.receive(frame(0x05, 0, 0, '00000007')))
    assert.deepEqual(events.map(plain), [{ type: 'slots', count: 7 }])
    assert.equal(caller.failure, undefined)
  })

  test('unknown flags are ignored', () => {
    const { caller } = pair()
    assert.equal(caller.receive(frame(0x05, 0xf8, 0, '00000007'))[0]?.type, 'slots')
  })
})
