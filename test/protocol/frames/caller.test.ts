import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { describe, test } from 'node:test'
import { judge, RETRIES } from '../../../pool/replay.ts'
import type { Environ } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { Exchange } from '../../../protocol/contract/exchange.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { type CallError, ReplayableBody } from '../../../protocol/frames/caller.ts'
import { Flag, Frame, Goaway, HEAD_MIN, Reset, WINDOW } from '../../../protocol/frames/codec/constants.ts'
import { RecordingSink } from '../../support/exchange.ts'
import { MemoryHost } from '../../support/memory-client.ts'
import {
  bytesOf,
  type Called,
  call,
  callerAgainstPeer,
  callerOn,
  environ,
  iterations,
  Peer,
  TestInput,
  until,
} from './link-support.ts'
import { drain, frame, TOKEN } from './support.ts'

const text = (value: string): Buffer => Buffer.from(value, 'latin1')

function facts(error: CallError): unknown {
  return [error.code, error.ran, error.responded]
}

describe('a call', () => {
  test('is sent in one frame, and a response of one frame resolves with an array', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller, environ('/a?b=c', 'GET', ['X-Own', '\xe9']))
    const request = await peer.heard('request')
    assert.equal(request.end, true)
    assert.equal(request.fields.requestId.length > 0, true)
    assert.deepEqual(request.fields.headers, ['Host', 'a', 'X-Own', '\xe9'])
    peer.connection.head(request.stream, '200 OK', [['Content-Type', 'text/plain']], text('hi'), true)
    peer.send()
    const body = await made.response
    assert.deepEqual(made.head, { status: '200 OK', headers: [['Content-Type', 'text/plain']] })
    assert.ok(Array.isArray(body))
    assert.equal(await bytesOf(body), 'hi')
    assert.equal(caller.inFlight, 0)
    caller.destroy()
  })

  test('takes its slot synchronously, and inspect() shows the slot', async () => {
    const { caller, peer } = await callerAgainstPeer()
    assert.equal(caller.inspect(), '<Caller ready c1/0 0 of 10>')
    call(caller)
    call(caller)
    assert.equal(caller.inspect(), '<Caller ready c1/0 2 of 10>')
    peer.connection.abort((await peer.heard('request')).stream, Reset.APPLICATION, 'x')
    peer.send()
    await until(() => caller.inFlight === 1)
    caller.destroy()
    assert.equal(caller.inFlight, 0)
  })

  test('sends a body under credit, with its end on the last chunk', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    input.push(Buffer.alloc(3 * WINDOW))
    input.end()
    call(caller, environ('/', 'POST'), new ReplayableBody(input))
    const { stream } = await peer.heard('request')
    await iterations()
    const received = (): number =>
      peer.events.reduce(
        (sum, event) =>
          sum + (event.type === 'request' ? (event.body?.length ?? 0) : event.type === 'data' ? event.bytes.length : 0),
        0,
      )
    assert.equal(received(), WINDOW)
    assert.ok(input.consumed <= WINDOW + 65_536, 'no more is read from the client than the credit allows')
    peer.connection.start(stream)
    for (let at = 0; at < 3; at++) {
      peer.connection.consumed(stream, WINDOW)
      peer.send()
      await iterations()
    }
    assert.equal(received(), 3 * WINDOW)
    const last = peer.events.at(-1)
    assert.ok(last?.type === 'data' && last.end && last.bytes.length > 0)
    caller.destroy()
  })

  test('sends each chunk when the client sends it', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    call(caller, environ('/', 'POST'), new ReplayableBody(input))
    assert.equal((await peer.heard('request')).end, false)
    input.push(text('one'))
    assert.equal(Buffer.from((await peer.heard('data')).bytes).toString(), 'one')
    input.push(text('two'))
    input.end(['X-Sum', '7'])
    assert.equal(Buffer.from((await peer.heard('data', 1)).bytes).toString(), 'two')
    assert.deepEqual((await peer.heard('end')).fields, ['X-Sum', '7'])
    caller.destroy()
  })

  test('with Expect: 100-continue does not read its input before the container reads it', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    call(caller, environ('/', 'POST', ['Expect', '100-continue', 'Content-Length', '4']), new ReplayableBody(input))
    const request = await peer.heard('request')
    assert.equal(request.hold, true)
    await iterations()
    assert.equal(input.asked, false)
    peer.connection.start(request.stream)
    peer.connection.releaseHold(request.stream)
    peer.send()
    await until(() => input.asked)
    input.push(text('body'))
    input.end()
    assert.equal(Buffer.from((await peer.heard('data')).bytes).toString(), 'body')
    caller.destroy()
  })

  test('with trailers that are longer than the container accepts fails with TOO_LARGE, as with a head that is too long', async () => {
    const { caller, peer } = await callerAgainstPeer({}, { head: HEAD_MIN })
    const input = new TestInput()
    const made = call(caller, environ('/', 'POST'), new ReplayableBody(input))
    await peer.heard('request')
    input.push(text('one'))
    input.end(['X-Sum', 'é'.repeat(HEAD_MIN / 2)])
    const error = await made.failed
    assert.deepEqual(facts(error), ['TOO_LARGE', 'maybe', false])
    const sent = { method: 'POST', responded: false, whole: true, attempts: 1, losses: 1, retries: RETRIES }
    assert.equal(judge(error, sent)?.status, 431)
    // The container gets a RESET, and the link stays open.
    await peer.heard('abort')
    const next = call(caller)
    const { stream } = await peer.heard('request', 1)
    peer.connection.head(stream, '200 OK', [], undefined, true)
    peer.send()
    await next.response
    assert.equal(next.head?.status, '200 OK')
    caller.destroy()
  })

  test('passes early hints and trailers to environ.gantry', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const request = environ()
    const seen: unknown[] = []
    request.gantry.earlyHints = (headers) => void seen.push(headers)
    request.gantry.trailers = (fields) => void seen.push(fields())
    const made = call(caller, request)
    const { stream } = await peer.heard('request')
    peer.connection.inform(stream, '103 Early Hints', [['Link', '</a>']])
    peer.connection.head(stream, '200 OK', [], text('a'), false)
    peer.connection.end(stream, ['X-Sum', '1'])
    peer.send()
    assert.equal(await bytesOf(made.response), 'a')
    assert.deepEqual(seen, [[['Link', '</a>']], [['X-Sum', '1']]])
    caller.destroy()
  })

  test('with a variable that is no string rejects with its name, sends nothing, and holds no slot', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const request = environ()
    request['app.user'] = { id: 1 }
    await assert.rejects(call(caller, request).response, /app\.user/)
    assert.equal(caller.inFlight, 0)
    await iterations()
    assert.equal(peer.events.filter(({ type }) => type === 'request').length, 0)
    caller.destroy()
  })

  test('with a head that is longer than the peer accepts fails with TOO_LARGE before anything is sent', async () => {
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'server', { head: 16_384 })
    const { caller } = callerOn(mine)
    await until(() => caller.state === 'ready')
    const error = await call(caller, environ(`/${'a'.repeat(20_000)}`)).failed
    assert.deepEqual(facts(error), ['TOO_LARGE', 'no', false])
    assert.equal(caller.inFlight, 0)
    peer.stream.destroy()
    caller.destroy()
  })

  test('fails with the error of its input, and resets the stream', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    const made = call(caller, environ('/', 'POST'), new ReplayableBody(input))
    await peer.heard('request')
    const reason = new AbortError('CLIENT_GONE', 'the client has gone')
    input.fail(reason)
    assert.equal(await made.failed, reason)
    assert.equal((await peer.heard('abort')).code, Reset.CANCELLED)
    assert.equal(caller.inFlight, 0)
    caller.destroy()
  })

  test('stops reading its input when the response is complete', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    const made = call(caller, environ('/', 'POST'), new ReplayableBody(input))
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], undefined, true)
    peer.send()
    await made.response
    input.push(text('late'))
    input.push(text('later'))
    await iterations()
    assert.equal(caller.state, 'ready')
    assert.equal(peer.events.filter(({ type }) => type === 'data').length, 0)
    caller.destroy()
  })

  test('with an invalid response fails with PROTOCOL', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const promise = caller.call(
      environ(),
      () => {
        throw new TypeError('not a status line')
      },
      new ReplayableBody(new RequestInput(null)),
    )
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, 'nonsense', [], text('a'), false)
    peer.send()
    await assert.rejects(promise, { code: 'PROTOCOL', ran: 'maybe', responded: true })
    await peer.heard('abort')
    assert.equal(caller.state, 'ready')
    caller.destroy()
  })
})

describe('an upgrade', () => {
  test('delivers the bytes and the END that are in the frame of the 101', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const [client, far] = duplexPair()
    const request = environ('/', 'GET', ['Upgrade', 'x', 'Connection', 'Upgrade'])
    Object.defineProperty(request.gantry, 'upgrade', { value: () => client })
    call(caller, request)
    const { stream } = await peer.heard('request')
    assert.equal(stream.asksUpgrade, true)
    // ["101 Switching Protocols"], then body, with END.
    const head = Buffer.concat([Buffer.from([0x91, 0xb7]), text('101 Switching Protocols')])
    const length = Buffer.alloc(4)
    length.writeUInt32BE(head.length)
    peer.stream.write(frame(Frame.RESPONSE, Flag.END, stream.id, Buffer.concat([length, head, text('hello')])))
    let heard = ''
    let ended = false
    far.on('data', (chunk: Buffer) => {
      heard += chunk.toString()
    })
    far.on('end', () => {
      ended = true
    })
    await until(() => heard === 'hello', 'the first bytes')
    await until(() => ended, 'their end')
    far.destroy()
    caller.destroy()
  })
})

describe('an upgrade whose client is reset before the 101 arrives', () => {
  test('is aborted, and the link continues', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const [client] = duplexPair()
    const request = environ('/', 'GET', ['Upgrade', 'x', 'Connection', 'Upgrade'])
    // The 'close' event, which ends the exchange, follows one tick later.
    Object.defineProperty(request.gantry, 'upgrade', { value: () => client.destroy() })
    const made = call(caller, request)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '101 Switching Protocols', [], undefined, false)
    peer.send()
    assert.deepEqual(await made.response, [])
    await peer.heard('abort')
    assert.equal(caller.state, 'ready')
    caller.destroy()
  })
})

describe('a response in parts', () => {
  test('is read as it arrives, and the container gets credit as it is read', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], Buffer.alloc(WINDOW + 10, 97), false)
    peer.send()
    const body = (await made.response) as AsyncIterableIterator<Uint8Array>
    await iterations()
    assert.equal(stream.queued, 10, 'no credit before the reader has read')
    let length = 0
    while (length < WINDOW + 10) {
      const { value } = await body.next()
      length += value.length
    }
    peer.connection.data(stream, new Uint8Array(0), true)
    peer.send()
    assert.deepEqual(await body.next(), { done: true, value: undefined })
    caller.destroy()
  })

  const ends: Record<string, (peer: Peer) => void> = {
    'that the container gives up': (peer: Peer) => {
      const event = peer.events.find(({ type }) => type === 'request')
      if (event?.type === 'request') peer.connection.abort(event.stream, Reset.APPLICATION, 'it failed')
      peer.send()
    },
    'whose link is lost': (peer: Peer) => void peer.stream.destroy(),
    'whose link is closed without a word': (peer: Peer) => void peer.stream.end(),
    'whose container breaks the protocol': (peer: Peer) =>
      void peer.stream.write(Buffer.alloc(9, 0xff).fill(0x13, 0, 1)),
  }
  for (const [name, end] of Object.entries(ends)) {
    test(`${name} throws in the reader, and never ends normally`, async () => {
      const { caller, peer } = await callerAgainstPeer()
      const made = call(caller)
      const { stream } = await peer.heard('request')
      peer.connection.head(stream, '200 OK', [], text('part'), false)
      peer.send()
      const body = (await made.response) as AsyncIterableIterator<Uint8Array>
      assert.equal(Buffer.from((await body.next()).value).toString(), 'part')
      const next = body.next()
      end(peer)
      await assert.rejects(next, (error: CallError) => error.responded && error.ran === 'maybe')
      await assert.rejects(body.next())
      assert.equal(caller.inFlight, 0)
      caller.destroy()
    })
  }

  test('that is closed early is aborted in the same tick', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], text('part'), false)
    peer.send()
    const body = await made.response
    body.close?.()
    assert.equal(caller.inFlight, 0)
    assert.equal((await peer.heard('abort')).code, Reset.CANCELLED)
    caller.destroy()
  })

  test('that is closed at its end is not aborted', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], text('a'), false)
    peer.connection.data(stream, text('b'), true)
    peer.send()
    const body = await made.response
    assert.equal(await bytesOf(body), 'ab')
    body.close?.()
    await iterations()
    assert.equal(peer.events.filter(({ type }) => type === 'abort').length, 0)
    caller.destroy()
  })
})

describe('a client that disconnects', () => {
  function front(caller: Parameters<typeof call>[0], request: Environ): { exchange: Exchange; sink: RecordingSink } {
    const sink = new RecordingSink()
    const exchange = new Exchange(
      (given, startResponse) => caller.call(given, startResponse, new ReplayableBody(given['wsgi.input'])),
      request,
      new RequestInput(null),
      sink,
      new MemoryHost(),
    )
    exchange.run()
    return { exchange, sink }
  }

  test('before the call: nothing is sent', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const slot = Promise.withResolvers<void>()
    const exchange = new Exchange(
      async (given, startResponse) => {
        await slot.promise
        return caller.call(given, startResponse, new ReplayableBody(given['wsgi.input']))
      },
      environ('/', 'POST'),
      new RequestInput(null),
      new RecordingSink(),
      new MemoryHost(),
    )
    exchange.run()
    exchange.abort(new AbortError('CLIENT_GONE', 'the client has gone'))
    slot.resolve()
    await iterations()
    assert.equal(caller.inFlight, 0)
    assert.ok(!peer.events.some(({ type }) => type === 'request'))
    caller.destroy()
  })

  test('before the response: RESET is sent in the same tick', async () => {
    const { caller, peer, stream } = await callerAgainstPeer()
    const { exchange } = front(caller, environ())
    await peer.heard('request')
    const written: Buffer[] = []
    const write = stream.write.bind(stream)
    stream.write = ((chunk: Buffer) => {
      written.push(chunk)
      return write(chunk)
    }) as typeof stream.write
    exchange.abort(new AbortError('CLIENT_GONE', 'the client has gone'))
    assert.equal(Buffer.concat(written)[0], 0x16)
    assert.equal(caller.inFlight, 0)
    assert.equal((await peer.heard('abort')).code, Reset.CANCELLED)
    caller.destroy()
  })

  test('while next() is pending: RESET is sent', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const { exchange, sink } = front(caller, environ())
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], text('part'), false)
    peer.send()
    await until(() => sink.calls.length > 0)
    exchange.abort(new AbortError('DEADLINE', 'too slow'))
    assert.equal(caller.inFlight, 0)
    assert.equal((await peer.heard('abort')).code, Reset.DEADLINE)
    caller.destroy()
  })

  test('after the response: no RESET is sent', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const { exchange } = front(caller, environ())
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], text('all'), true)
    peer.send()
    await until(() => exchange.finished)
    exchange.abort(new AbortError('CLIENT_GONE', 'the client has gone'))
    await iterations()
    assert.equal(peer.events.filter(({ type }) => type === 'abort').length, 0)
    caller.destroy()
  })

  test('aborts through the request body too, before and after the response', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const reason = new AbortError('DEADLINE', 'the response head did not come in time')
    const before = call(caller)
    await peer.heard('request')
    before.body.abort(reason)
    assert.equal(await before.failed, reason)
    assert.equal((await peer.heard('abort')).code, Reset.DEADLINE)
    const after = call(caller)
    const { stream } = await peer.heard('request', 1)
    peer.connection.head(stream, '200 OK', [], text('part'), false)
    peer.send()
    const body = (await after.response) as AsyncIterableIterator<Uint8Array>
    after.body.abort(reason)
    await assert.rejects(body.next(), reason)
    await peer.heard('abort', 1)
    caller.destroy()
  })
})

describe('whether a failed call can have run', () => {
  type Cut = (peer: Peer, event: Awaited<ReturnType<typeof Peer.prototype.heard<'request'>>>) => void
  const refuse: Cut = (peer, { stream }) => peer.connection.abort(stream, Reset.REFUSED, 'no slot is free')
  const table: Record<string, [cut: Cut, expected: unknown[]]> = {
    'refused: no': [refuse, ['REFUSED', 'no', false]],
    'refused after it was said to have started: maybe, whoever lies': [
      (peer, event) => {
        peer.connection.start(event.stream)
        peer.send()
        refuse(peer, event)
      },
      ['RESET', 'maybe', false],
    ],
    'refused after an early hint: maybe': [
      (peer, event) => {
        peer.connection.inform(event.stream, '103 Early Hints', [])
        refuse(peer, event)
      },
      ['RESET', 'maybe', false],
    ],
    'above the last stream of a GOAWAY: no': [
      (peer) => void peer.stream.write(Buffer.from('02000000050000000000000000' + '00', 'hex')),
      ['GOAWAY', 'no', false],
    ],
    'given up by the container: maybe': [
      (peer, { stream }) => peer.connection.abort(stream, Reset.DRAIN_TIMEOUT, 'no time'),
      ['RESET', 'maybe', false],
    ],
    'link lost without STARTED: maybe, since a STARTED can have been lost with it': [
      (peer) => void peer.stream.destroy(),
      ['LOST', 'maybe', false],
    ],
    'link lost after STARTED: maybe': [
      (peer, { stream }) => {
        peer.connection.start(stream)
        peer.send()
        peer.stream.end()
      },
      ['LOST', 'maybe', false],
    ],
    'protocol broken: maybe': [
      (peer) => void peer.stream.write(Buffer.from('1300000001' + '00000001' + '61', 'hex')),
      ['LOST', 'maybe', false],
    ],
  }
  for (const [name, [cut, expected]] of Object.entries(table)) {
    test(name, async () => {
      const { caller, peer } = await callerAgainstPeer()
      const made = call(caller)
      cut(peer, await peer.heard('request'))
      peer.send()
      const error = await made.failed
      assert.deepEqual(facts(error), expected)
      assert.equal(error.final, false)
      assert.equal(made.head, undefined)
      assert.equal(caller.inFlight, 0)
      caller.destroy()
    })
  }

  for (const [name, code, final] of [
    ['its application', Reset.APPLICATION, true],
    ['a deadline of the container', Reset.DEADLINE, true],
    ['an error in the request', Reset.PROTOCOL, true],
    ['a container that had to stop', Reset.DRAIN_TIMEOUT, false],
    ['the loss of what stands behind the container', Reset.UPSTREAM, false],
  ] as const) {
    test(`that ${name} ended is ${final ? '' : 'not '}final`, async () => {
      const { caller, peer } = await callerAgainstPeer()
      const made = call(caller)
      const { stream } = await peer.heard('request')
      peer.connection.abort(stream, code, 'over')
      peer.send()
      const error = await made.failed
      assert.deepEqual([error.code, error.ran, error.final], ['RESET', 'maybe', final])
      caller.destroy()
    })
  }

  test('on a link that is not ready, draining or closed: no, and nothing is sent', async () => {
    const [mine, theirs] = duplexPair()
    const { caller } = callerOn(mine)
    assert.deepEqual(facts(await call(caller).failed), ['NOT_READY', 'no', false])
    const peer = new Peer(theirs, 'server')
    await until(() => caller.state === 'ready')
    call(caller)
    await peer.heard('request')
    caller.close('enough')
    assert.equal(caller.state, 'draining')
    assert.deepEqual(facts(await call(caller).failed), ['NOT_READY', 'no', false])
    caller.destroy()
    assert.deepEqual(facts(await call(caller).failed), ['NOT_READY', 'no', false])
  })
})

describe('a body that is sent again', () => {
  test('is whole until the application has started, and a second container gets the same bytes', async () => {
    const first = await callerAgainstPeer()
    const second = await callerAgainstPeer()
    const input = new TestInput()
    const body = new ReplayableBody(input)
    const one = call(first.caller, environ('/', 'POST'), body)
    const { stream } = await first.peer.heard('request')
    input.push(text('abc'))
    await first.peer.heard('data')
    first.peer.connection.abort(stream, Reset.REFUSED, 'full')
    first.peer.send()
    assert.equal((await one.failed).ran, 'no')
    assert.equal(body.whole, true)
    const two = call(second.caller, environ('/', 'POST'), body)
    const again = await second.peer.heard('request')
    input.push(text('def'))
    input.end()
    await until(() => second.peer.events.some((event) => event.type === 'data' && event.end))
    const parts = [again.body, ...second.peer.events.map((event) => (event.type === 'data' ? event.bytes : undefined))]
    assert.equal(Buffer.concat(parts.filter((part) => part !== undefined)).toString(), 'abcdef')
    second.peer.connection.head(again.stream, '200 OK', [], undefined, true)
    second.peer.send()
    await two.response
    first.caller.destroy()
    second.caller.destroy()
  })

  test('is no longer whole once the application has started', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const input = new TestInput()
    input.push(text('abc'))
    const body = new ReplayableBody(input)
    const made = call(caller, environ('/', 'PUT'), body)
    const { stream } = await peer.heard('request')
    assert.equal(body.whole, true)
    peer.connection.start(stream)
    peer.send()
    await until(() => !body.whole)
    peer.stream.destroy()
    await made.failed
    assert.equal(body.whole, false)
    await assert.rejects(call(caller, environ('/', 'PUT'), body).response)
  })

  test('that is empty stays whole', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.start(stream)
    peer.send()
    await iterations()
    peer.stream.destroy()
    await made.failed
    assert.equal(made.body.whole, true)
  })
})

describe('the end of a link', () => {
  test('by GOAWAY: accepted requests finish, then the link closes without an error', async () => {
    const { caller, peer, closed, changes } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.goaway(Goaway.DRAINING, 'a deploy')
    peer.send()
    await until(() => caller.state === 'draining')
    assert.deepEqual(closed, [])
    peer.connection.head(stream, '200 OK', [], text('done'), true)
    peer.send()
    assert.equal(await bytesOf(made.response), 'done')
    await until(() => closed.length === 1)
    assert.deepEqual(closed, [undefined])
    assert.equal(caller.state, 'closed')
    assert.ok(changes.includes('draining 1/10'))
    await until(() => peer.ended)
    peer.stream.destroy()
  })

  test('by close(): sends GOAWAY, finishes the calls, and closes', async () => {
    const { caller, peer, closed } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    caller.close('the proxy stops')
    assert.equal((await peer.heard('goaway')).text, 'the proxy stops')
    assert.deepEqual(closed, [])
    peer.connection.head(stream, '200 OK', [], undefined, true)
    peer.send()
    await made.response
    await until(() => closed.length === 1)
    assert.deepEqual(closed, [undefined])
    peer.stream.destroy()
  })

  test('within a read: a call whose response follows the GOAWAY in that read fails like the others', async () => {
    const { caller, peer } = await callerAgainstPeer()
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], text('late'), true)
    peer.stream.write(Buffer.concat([frame(Frame.GOAWAY, 0, 0, '0000000101'), drain(peer.connection)]))
    await until(() => caller.state === 'closed')
    assert.deepEqual(await Promise.race([made.failed.then(facts), iterations().then(() => 'nothing')]), [
      'LOST',
      'maybe',
      true,
    ])
    assert.equal(caller.inFlight, 0)
  })

  test('by destroy(): every call fails before onClosed is called', async () => {
    const order: string[] = []
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'server')
    const { caller } = callerOn(mine, { onClosed: () => order.push(`closed ${caller.inFlight}`) })
    await until(() => caller.state === 'ready')
    const made = call(caller)
    await peer.heard('request')
    caller.destroy(new Error('enough'))
    assert.deepEqual(order, ['closed 0'])
    assert.deepEqual(facts(await made.failed), ['LOST', 'maybe', false])
  })

  test('when the peer is silent in the handshake: after five seconds, with GOAWAY', async () => {
    const [mine, theirs] = duplexPair()
    const sent: Buffer[] = []
    theirs.on('data', (chunk: Buffer) => sent.push(chunk))
    const { caller, clock, closed } = callerOn(mine)
    await iterations()
    clock.advance(4_999)
    assert.equal(caller.state, 'connecting')
    clock.advance(1)
    await iterations(1)
    assert.equal(caller.state, 'closed')
    assert.equal((closed[0] as { code?: string }).code, 'TIMEOUT')
    await iterations()
    assert.equal(Buffer.concat(sent).at(-1) !== undefined, true)
    clock.advance(1_000)
    assert.equal(mine.destroyed, true)
  })

  test('when only one side has a token: the error names the side', async () => {
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'server', { token: TOKEN })
    const { closed } = callerOn(mine)
    await until(() => closed.length === 1)
    assert.equal((closed[0] as { code?: string }).code, 'UNAUTHENTICATED')
    assert.match(closed[0]?.message ?? '', /the container requires a token, and the proxy has none/)
    peer.stream.destroy()
  })
})

describe('slots and pings', () => {
  test('a rising demand is sent at once, a falling demand later and as the highest in between', async () => {
    const { caller, peer, clock } = await callerAgainstPeer()
    const told = (): number[] => peer.events.flatMap((event) => (event.type === 'slots' ? [event.count] : []))
    caller.demand(5)
    await iterations()
    assert.deepEqual(told(), [5])
    for (const demand of [4, 3, 4, 0, 2, 3, 1]) caller.demand(demand)
    await iterations()
    assert.deepEqual(told(), [5])
    clock.advance(100)
    await iterations()
    assert.deepEqual(told(), [5])
    clock.advance(100)
    await iterations()
    assert.deepEqual(told(), [5, 1])
    clock.advance(1000)
    await iterations()
    assert.deepEqual(told(), [5, 1])
    caller.destroy()
  })

  test('a demand before the handshake is sent after the handshake', async () => {
    const [mine, theirs] = duplexPair()
    const { caller } = callerOn(mine)
    caller.demand(3)
    const peer = new Peer(theirs, 'server')
    assert.equal((await peer.heard('slots')).count, 3)
    caller.destroy()
  })

  test('a PONG has the event-loop delay of the peer', async () => {
    const { caller, peer, clock } = await callerAgainstPeer()
    const ping = caller.ping()
    const { token } = await peer.heard('ping')
    clock.advance(12)
    peer.connection.pong(token, 0, 7)
    peer.send()
    assert.equal(await ping, 12)
    assert.equal(caller.lag, 7)
    const lost = caller.ping()
    caller.destroy()
    await assert.rejects(lost, { code: 'LOST' })
  })

  test('an error while a response is handled fails only its own call, and is logged', async () => {
    const { caller, peer, log } = await callerAgainstPeer()
    const failing = environ('/')
    failing.gantry.trailers = () => {
      throw new Error('a middleware of the proxy')
    }
    const made = call(caller, failing)
    const other = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], Buffer.from('part'), false)
    peer.connection.end(stream, ['ETag', 'x'])
    peer.send()
    await assert.rejects(bytesOf(made.response), { message: 'a middleware of the proxy' })
    assert.equal(log.lines.at(-1)?.message, 'handling a response failed; its request was aborted')
    peer.connection.head((await peer.heard('request', 1)).stream, '200 OK', [], Buffer.from('well'), true)
    peer.send()
    assert.equal(await bytesOf(other.response), 'well')
    assert.equal(caller.inFlight, 0)
    caller.destroy()
  })

  test('a link whose output queue is too long grants nothing, and reports when it grants again', async () => {
    const { caller, changes, peer } = await callerAgainstPeer()
    peer.stream.pause()
    const made: Called[] = []
    const one = (): Called => call(caller, environ('/', 'GET', ['X', 'y'.repeat(20_000)]))
    while (caller.grant > 0) {
      made.push(one())
      await iterations(2)
      assert.ok(made.length < 40)
    }
    changes.length = 0
    peer.stream.resume()
    await until(() => caller.grant === 10)
    assert.deepEqual(changes, [`ready ${made.length}/10`])
    await until(() => peer.events.filter(({ type }) => type === 'request').length === made.length)
    caller.destroy()
    await Promise.allSettled(made.map(({ response }) => response))
  })

  test('requests that are aborted while the output queue is too long leave nothing in it', async () => {
    const { caller, peer } = await callerAgainstPeer()
    peer.stream.pause()
    const made: Called[] = []
    while (caller.grant > 0) {
      made.push(call(caller, environ('/', 'GET', ['X', 'y'.repeat(20_000)])))
      await iterations(2)
      assert.ok(made.length < 40)
    }
    for (const { body } of made) body.abort(new AbortError('CLIENT_GONE', 'the client has gone'))
    for (const { failed } of made) assert.match((await failed).message, /has gone/)
    assert.equal(caller.grant, 10)
    assert.equal(caller.inFlight, 0)
    peer.stream.resume()
    await iterations()
    const left = peer.events.filter(({ type }) => type === 'request').length
    assert.ok(left < made.length, 'the last requests were never sent')
    assert.equal(peer.events.filter(({ type }) => type === 'abort').length, left)
    caller.destroy()
  })

  test('a PONG answers the earlier PINGs too', async () => {
    const { caller, peer, clock } = await callerAgainstPeer()
    const pings = [caller.ping(), caller.ping(), caller.ping()]
    await peer.heard('ping')
    assert.equal(peer.events.filter(({ type }) => type === 'ping').length, 1, 'only the latest was sent')
    const { token } = await peer.heard('ping')
    clock.advance(3)
    peer.connection.pong(token, 0, 0)
    peer.send()
    assert.deepEqual(await Promise.all(pings), [3, 3, 3])
    caller.destroy()
  })

  test('a PONG without a PING is ignored', async () => {
    const { caller, peer } = await callerAgainstPeer()
    peer.connection.pong(Buffer.alloc(8, 9), 0, 99)
    peer.send()
    await iterations()
    assert.equal(caller.lag, 0)
    assert.equal(caller.state, 'ready')
    caller.destroy()
  })
})
