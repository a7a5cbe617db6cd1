import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { FrameConnection, FrameEvent } from '../../../../protocol/frames/codec/connection.ts'
import { FEATURES, Frame, Goaway } from '../../../../protocol/frames/codec/constants.ts'
import { readHello } from '../../../../protocol/frames/codec/hello.ts'
import { connection, drain, frame, move, plain, TOKEN } from '../support.ts'

/** Delivers the bytes of both sides until none are left, and returns their events. */
function talk(caller: FrameConnection, server: FrameConnection): { caller: FrameEvent[]; server: FrameEvent[] } {
  const heard: { caller: FrameEvent[]; server: FrameEvent[] } = { caller: [], server: [] }
  for (let turn = 0; turn < 4; turn++) {
    heard.server.push(...move(caller, server))
    heard.caller.push(...move(server, caller))
  }
  return heard
}

const other = { token: 'another token, as long as it may be', secret: true }
const token = { token: TOKEN, secret: true }
const none = {}
const NEXT = 'the next token'
/** The tokens of a side that changes from `TOKEN` to `NEXT`: it proves the first. */
const nextFirst = { token: [NEXT, TOKEN], secret: true }
const nextLast = { token: (): string[] => [TOKEN, NEXT], secret: true }
const next = { token: NEXT, secret: true }

describe('two sides of a handshake', () => {
  const open: Record<string, [Parameters<typeof connection>[1], Parameters<typeof connection>[1]]> = {
    'neither has a token': [none, none],
    'both have the same token, and the caller dialled': [token, token],
    'both have the same token, and the server dialled': [
      { ...token, dialled: false },
      { ...token, dialled: true },
    ],
    'both say they dialled': [
      { ...token, dialled: true },
      { ...token, dialled: true },
    ],
    'the server accepts the old token of the caller too': [token, nextFirst],
    'the server accepts the next token of the caller already': [next, nextLast],
    'the caller accepts the old token of a server that dialled': [
      { ...nextFirst, dialled: false },
      { ...token, dialled: true },
    ],
    'both have two tokens in another order, and the caller dialled': [nextFirst, nextLast],
    'both have two tokens in another order, and both dialled': [
      { ...nextLast, dialled: true },
      { ...nextFirst, dialled: true },
    ],
  }
  for (const [name, [ours, theirs]] of Object.entries(open)) {
    test(`${name}: open`, () => {
      const caller = connection('caller', ours)
      const server = connection('server', theirs)
      const heard = talk(caller, server)
      assert.equal(caller.state, 'open')
      assert.equal(server.state, 'open')
      assert.equal(heard.caller.filter(({ type }) => type === 'ready').length, 1)
      assert.equal(heard.server.filter(({ type }) => type === 'ready').length, 1)
      assert.equal(caller.peer?.id, 'c1')
      assert.equal(server.peer?.id, 'p')
    })
  }

  const closed: Record<
    string,
    [Parameters<typeof connection>[1], Parameters<typeof connection>[1], failure: string, goaway: number]
  > = {
    'they have different tokens': [token, other, 'UNAUTHENTICATED', Goaway.UNAUTHENTICATED],
    'the dialler proves a token that the other side does not know yet': [
      nextFirst,
      token,
      'UNAUTHENTICATED',
      Goaway.UNAUTHENTICATED,
    ],
    'the old token has been removed': [token, next, 'UNAUTHENTICATED', Goaway.UNAUTHENTICATED],
    'neither of two tokens is held': [other, nextFirst, 'UNAUTHENTICATED', Goaway.UNAUTHENTICATED],
    'only the caller has one': [token, none, 'UNAUTHENTICATED', Goaway.UNAUTHENTICATED],
    'only the server has one': [none, token, 'UNAUTHENTICATED', Goaway.UNAUTHENTICATED],
    'both say they accepted': [{ ...token, dialled: false }, token, 'DIALLED', Goaway.PROTOCOL],
    'they sent the same nonce': [{ nonce: new Uint8Array(16).fill(0x5e) }, none, 'UNAUTHENTICATED', 2],
  }
  for (const [name, [ours, theirs, failure, goaway]] of Object.entries(closed)) {
    test(`${name}: nothing is served, and both sides get the reason`, () => {
      const caller = connection('caller', ours)
      const server = connection('server', theirs)
      const heard = talk(caller, server)
      for (const events of [heard.caller, heard.server]) {
        assert.ok(!events.some(({ type }) => type === 'ready'))
      }
      const failures = [caller.failure?.code, server.failure?.code]
      assert.ok(failures.includes(failure), String(failures))
      const told = [...heard.caller, ...heard.server].filter((event) => event.type === 'goaway')
      // A side that has failed itself reads no more, so only its own failure is checked.
      assert.equal(told.length + failures.filter((code) => code === failure).length, 2)
      for (const event of told) assert.equal(event.type === 'goaway' && event.code, goaway)
    })
  }

  test('two callers, or two servers, refuse each other', () => {
    for (const role of ['caller', 'server'] as const) {
      const one = connection(role)
      move(connection(role, { nonce: new Uint8Array(16) }), one)
      assert.equal(one.failure?.code, 'ROLE')
    }
  })
})

describe('a token', () => {
  test('that is empty is refused: an empty key proves nothing', () => {
    for (const empty of ['', [], [TOKEN, ''], () => []]) {
      assert.throws(() => connection('caller', { token: empty, secret: true }), { code: 'EMPTY_TOKEN' })
    }
  })
})

describe('the proof', () => {
  /** A server that has read the caller's HELLO, and the proof that it would accept. */
  function asked(): { server: FrameConnection; proof: Buffer } {
    const caller = connection('caller', token)
    const server = connection('server', token)
    move(caller, server)
    move(server, caller)
    return { server, proof: drain(caller) }
  }

  test('is not sent by the accepting side before the dialler has proved its token', () => {
    const server = connection('server', token)
    const sent = Buffer.concat([drain(server), drain(server)])
    move(connection('caller', token), server)
    assert.equal(drain(server).length, 0)
    assert.equal(sent[0], Frame.HELLO)
  })

  test('does not contain the token', () => {
    const caller = connection('caller', token)
    const server = connection('server', token)
    const bytes: Buffer[] = []
    for (let turn = 0; turn < 3; turn++) {
      const there = drain(caller)
      server.receive(there)
      const back = drain(server)
      caller.receive(back)
      bytes.push(there, back)
    }
    assert.equal(caller.state, 'open')
    assert.ok(!Buffer.concat(bytes).includes(TOKEN))
  })

  for (const bit of [0, 7, 128, 255]) {
    test(`with bit ${bit} changed is wrong`, () => {
      const { server, proof } = asked()
      proof[9 + (bit >> 3)]! ^= 1 << (bit & 7)
      server.receive(proof)
      assert.equal(server.failure?.code, 'UNAUTHENTICATED')
    })
  }

  test('that is shorter is wrong', () => {
    const { server, proof } = asked()
    server.receive(frame(Frame.AUTH, 0, 0, proof.subarray(9, 40)))
    assert.equal(server.failure?.code, 'UNAUTHENTICATED')
  })

  test('of another connection is wrong: a replay of all bytes of a caller', () => {
    const caller = connection('caller', token)
    const first = connection('server', token)
    const said = [drain(caller)]
    first.receive(said[0]!)
    move(first, caller)
    said.push(drain(caller))
    first.receive(said[1]!)
    assert.equal(first.state, 'open')
    const second = connection('server', { ...token, nonce: new Uint8Array(16).fill(9) })
    for (const bytes of said) second.receive(bytes)
    assert.equal(second.failure?.code, 'UNAUTHENTICATED')
  })

  test('of a side that is sent back to it is wrong (reflection)', () => {
    const victim = connection('caller', token)
    const hello = drain(victim)
    // Its own HELLO is refused because of the role.
    victim.receive(hello)
    assert.equal(victim.failure?.code, 'ROLE')
    // With the role changed, the proof is a caller's proof, which is not accepted from a server.
    const second = connection('caller', token)
    const sent = drain(second)
    const changed = Buffer.from(
      sent.subarray(9).toString('latin1').replace('caller', 'server').replace('ca', 'cb'),
      'latin1',
    )
    second.receive(frame(Frame.HELLO, 0, 0, changed))
    const proof = drain(second)
    assert.equal(proof[0], Frame.AUTH)
    second.receive(proof)
    assert.equal(second.failure?.code, 'UNAUTHENTICATED')
  })

  test('of a HELLO that was changed in transit is wrong', () => {
    const caller = connection('caller', token)
    const server = connection('server', token)
    const hello = drain(caller)
    hello.write('x', hello.indexOf('a170', 0, 'hex') + 1)
    server.receive(hello)
    move(server, caller)
    move(caller, server)
    assert.equal(server.failure?.code, 'UNAUTHENTICATED')
  })

  test('that is unexpected ends the link', () => {
    const server = connection('server')
    move(connection('caller'), server)
    server.receive(frame(Frame.AUTH, 0, 0, Buffer.alloc(32)))
    assert.equal(server.failure?.code, 'HANDSHAKE')
  })
})

describe('before the handshake is complete', () => {
  for (const type of [Frame.REQUEST, Frame.DATA, Frame.PING, Frame.SLOTS, Frame.AUTH, 0x7f, 0x47]) {
    test(`a frame of type 0x${type.toString(16)} ends the link at its first byte`, () => {
      const server = connection('server', token)
      server.receive(Uint8Array.of(type))
      assert.equal(server.failure?.code, 'HANDSHAKE')
    })
  }

  test('a request after HELLO and before the proof is not accepted', () => {
    const caller = connection('caller', { secret: true })
    const server = connection('server', token)
    move(caller, server)
    const events = server.receive(frame(Frame.REQUEST, 1, 1, '00000004dc0002a000'))
    assert.deepEqual(events, [])
    assert.equal(server.failure?.code, 'HANDSHAKE')
  })

  test('no more than 4 KiB of HELLO is read', () => {
    const server = connection('server')
    server.receive(frame(Frame.HELLO, 0, 0, Buffer.alloc(4097)).subarray(0, 9))
    assert.equal(server.failure?.code, 'FRAME_TOO_LARGE')
  })

  test('a second HELLO ends the link', () => {
    const server = connection('server')
    const hello = drain(connection('caller'))
    server.receive(hello)
    server.receive(hello)
    assert.equal(server.failure?.code, 'HELLO_TWICE')
  })
})

describe('a feature', () => {
  const cases: readonly [string, caller: readonly string[], server: readonly string[], agreed: readonly string[]][] = [
    ['that both name is agreed', ['a'], ['a'], ['a']],
    ['that the caller alone names is not', ['a', 'b'], ['b'], ['b']],
    ['that the server alone names is not', ['b'], ['c', 'b'], ['b']],
    ['that is unknown to the other is ignored', ['x.1-2'], [], []],
    ['named in another order, or twice, is agreed all the same', ['a', 'b'], ['b', 'b', 'a'], ['a', 'b']],
    ['that begins as another does is another', ['a'], ['ab'], []],
  ]
  for (const [name, ours, theirs, agreed] of cases) {
    for (const secret of [none, token]) {
      test(`${name}${secret === token ? ', with a token' : ''}`, () => {
        const caller = connection('caller', { ...secret, features: ours })
        const server = connection('server', { ...secret, features: theirs })
        talk(caller, server)
        assert.deepEqual([caller.state, server.state], ['open', 'open'])
        for (const feature of new Set([...ours, ...theirs])) {
          assert.equal(caller.agreed(feature), agreed.includes(feature), `${feature} for the caller`)
          assert.equal(server.agreed(feature), agreed.includes(feature), `${feature} for the server`)
        }
      })
    }
  }

  test('is not agreed before the link is open: a peer without a proof agrees on nothing', () => {
    const caller = connection('caller', { ...token, features: ['a'] })
    const server = connection('server', { ...token, features: ['a'] })
    assert.ok(!caller.agreed('a'))
    move(server, caller)
    // The server's HELLO has arrived, and its proof has not.
    assert.deepEqual([caller.state, caller.agreed('a')], ['proof', false])
    talk(caller, server)
    assert.deepEqual([caller.agreed('a'), server.agreed('a')], [true, true])
  })

  test('is no longer agreed after the link has failed', () => {
    const caller = connection('caller', { features: ['a'] })
    const server = connection('server', { features: ['a'] })
    talk(caller, server)
    server.receive(frame(Frame.WINDOW, 0, 1, Buffer.alloc(4)))
    assert.deepEqual([server.state, server.agreed('a')], ['failed', false])
  })

  test('has a name that HELLO can carry, and is sent to every peer', () => {
    for (const name of FEATURES) assert.match(name, /^[\w.-]+$/)
    const server = connection('server', none)
    const hello = drain(server)
    assert.deepEqual(readHello(hello.subarray(9)).features, FEATURES)
  })

  test('is described in SPEC.md, each once', () => {
    const page = readFileSync(new URL('../../../../protocol/frames/SPEC.md', import.meta.url), 'utf8')
    const section = /### Features\n([\s\S]*?)\n## /.exec(page)![1]!
    const described = [...section.matchAll(/^\| `([\w.-]+)` \|/gm)].map(([, name]) => name)
    assert.deepEqual(described.sort(), [...FEATURES].sort())
  })
})

describe('HELLO', () => {
  const good: (string | number)[] = [
    ...['version', 1, 'role', 'caller', 'dialled', 1, 'secret', 0, 'nonce', 'a'.repeat(32)],
    ...['window', 131072, 'data', 65536, 'head', 262144, 'id', 'p'],
  ]

  function payload(items: readonly (string | number)[]): Buffer {
    const parts: Buffer[] = [Buffer.from([0xdc, items.length >> 8, items.length & 255])]
    for (const item of items) {
      if (typeof item === 'string') parts.push(Buffer.from([0xd9, item.length]), Buffer.from(item))
      else {
        const number = Buffer.alloc(5, 0xce)
        number.writeUInt32BE(item, 1)
        parts.push(number)
      }
    }
    return Buffer.concat(parts)
  }

  function given(changes: Record<string, string | number>): Buffer {
    const items = [...good]
    for (const [key, value] of Object.entries(changes)) {
      const at = items.indexOf(key)
      if (at === -1) items.push(key, value)
      else items[at + 1] = value
    }
    return payload(items)
  }

  test('may have unknown keys, and omit keys with a default', () => {
    const hello = readHello(given({ colour: 'blue', 'limit.head': 65536, features: 'a b.c' }))
    assert.equal(hello.identity.limits['head'], 65536)
    assert.deepEqual(hello.features, ['a', 'b.c'])
    assert.equal(hello.identity.workers, 1)
  })

  test('with a limit named __proto__ changes nothing but that limit', () => {
    const { limits } = readHello(given({ 'limit.__proto__': 7 })).identity
    assert.equal(Object.getPrototypeOf(limits), null)
    assert.deepEqual(Object.keys(limits), ['__proto__'])
  })

  test('may have the instance of its process', () => {
    assert.equal(readHello(given({ instance: '00c0ffee' })).identity.instance, '00c0ffee')
    assert.equal(readHello(given({})).identity.instance, undefined)
  })

  const bad: Record<string, Record<string, string | number>> = {
    'an instance with a line break': { instance: 'a\nb' },
    'a role that there is not': { role: 'admin' },
    'no nonce to speak of': { nonce: '' },
    'a window of nothing': { window: 0 },
    'a window beyond 2³¹−1': { window: 0x8000_0000 },
    'a window that is text': { window: 'wide' },
    'a version 0': { version: 0 },
    'an id with a line break': { id: 'a\nb' },
    'an id without end': { id: 'a'.repeat(129) },
    'a dialled that is no flag': { dialled: 2 },
    'features with control characters': { features: 'a\x00' },
    'DATA so short that heads would never end': { data: 1 },
  }
  for (const [name, changes] of Object.entries(bad)) {
    test(`with ${name} is refused`, () => {
      assert.throws(() => readHello(given(changes)), { code: 'BAD_HELLO' })
    })
  }

  test('with a key twice is refused', () => {
    assert.throws(() => readHello(payload([...good, 'id', 'q'])), { code: 'BAD_HELLO' })
  })

  test('of a version without overlap names both sides’ versions', () => {
    const server = connection('server')
    server.receive(frame(Frame.HELLO, 0, 0, given({ version: 3, oldest: 2 })))
    assert.equal(server.failure?.code, 'VERSION')
    assert.match(server.failure?.message ?? '', /this side speaks 1 to 1, the peer 2 to 3/)
    const caller = connection('caller')
    assert.deepEqual(caller.receive(drain(server).subarray(9 + 0xb1)).map(plain)[0]?.['code'], Goaway.VERSION)
  })

  test('of a newer version that still understands ours is accepted', () => {
    const server = connection('server')
    assert.equal(server.receive(frame(Frame.HELLO, 0, 0, given({ version: 9, oldest: 1 })))[0]?.type, 'ready')
  })
})
