import assert from 'node:assert/strict'
import { createServer, connect as dial } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, test } from 'node:test'
import type { Application, Environ, Outcome } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { ReplayableBody } from '../../../protocol/frames/caller.ts'
import { Goaway, Reset, WINDOW } from '../../../protocol/frames/codec/constants.ts'
import { fixedSlots, type SlotHolder, type SlotSource, serveFrames } from '../../../protocol/frames/server.ts'
import { GOING_AWAY } from '../../../protocol/websocket/codec/websocket-frames.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'
import { listeningOnPath } from '../../support/sockets.ts'
import {
  bytesOf,
  call,
  environ,
  iterations,
  linked,
  Peer,
  serverAgainstPeer,
  serverOn,
  TestInput,
  until,
} from './link-support.ts'
import { FIELDS, identity, TOKEN } from './support.ts'

const REQUEST = {
  requestId: 'r1',
  variables: [
    ...['REQUEST_METHOD', 'GET', 'SCRIPT_NAME', '', 'PATH_INFO', '/', 'QUERY_STRING', '', 'SERVER_NAME', 'a'],
    ...['SERVER_PORT', '80', 'SERVER_PROTOCOL', 'HTTP/1.1', 'REQUEST_URI', '/', 'REQUEST_SCHEME', 'http'],
  ],
  headers: ['Host', 'a'],
}
const WHOLE = { end: true, hold: false, upgrade: false }
const OPEN = { end: false, hold: false, upgrade: false }

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hi')]
}

/** An application whose responses the test provides. */
class Held {
  readonly environs: Environ[] = []
  readonly #answers: ((body: string) => void)[] = []

  readonly application: Application = (given, startResponse) => {
    this.environs.push(given)
    return new Promise((resolve, reject) => {
      this.#answers.push((body) => {
        try {
          startResponse('200 OK', [])
          resolve([Buffer.from(body)])
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  answer(body: string = 'done'): void {
    this.#answers.shift()?.(body)
  }
}

describe('a request that is served', () => {
  test('has the environ that was sent, and gets its response in one frame', async () => {
    const held = new Held()
    const { peer, server } = await serverAgainstPeer(held.application)
    const stream = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    const [given] = held.environs
    assert.equal(given?.['HTTP_HOST'], 'a')
    assert.equal(given?.gantry.requestId, 'r1')
    assert.equal((await peer.heard('started')).stream, stream)
    held.answer('hi')
    const response = await peer.heard('head')
    assert.deepEqual([response.status, response.end, Buffer.from(response.body!).toString()], ['200 OK', true, 'hi'])
    assert.equal(server.active, 0)
    server.destroy()
  })

  test('that responds at once needs no STARTED', async () => {
    const { peer, server } = await serverAgainstPeer(hello)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await peer.heard('head')
    await iterations()
    assert.equal(peer.events.filter(({ type }) => type === 'started').length, 0)
    server.destroy()
  })

  test('gets its body, credit as it reads, and its trailers', async () => {
    const seen: unknown[] = []
    const { peer, server } = await serverAgainstPeer(async (given, startResponse) => {
      const input = given['wsgi.input']
      seen.push((await input.read()).length, await input.trailers)
      startResponse('200 OK', [])
      return []
    })
    const stream = peer.connection.request(REQUEST, OPEN, Buffer.alloc(10))
    peer.connection.data(stream, Buffer.alloc(2 * WINDOW), false)
    peer.connection.end(stream, ['X-Sum', '1'])
    peer.send()
    await peer.heard('head')
    assert.deepEqual(seen, [2 * WINDOW + 10, [['X-Sum', '1']]])
    server.destroy()
  })

  test('returns all credit when its application waits for more, and none while the application does not read', async () => {
    const gate = Promise.withResolvers<void>()
    const { peer, server } = await serverAgainstPeer(async (given, startResponse) => {
      await gate.promise
      await given['wsgi.input'].read()
      startResponse('200 OK', [])
      return []
    })
    const stream = peer.connection.request(REQUEST, OPEN, Buffer.alloc(10))
    peer.send()
    await peer.heard('started')
    await iterations()
    assert.deepEqual([stream.sendCredit, peer.connection.isAllRead(stream)], [WINDOW - 10, false])
    gate.resolve()
    await until(() => stream.sendCredit === WINDOW)
    assert.equal(peer.connection.isAllRead(stream), true)
    server.destroy()
  })

  for (const [what, pieces] of [
    ['no byte', []],
    ['fewer bytes', ['abc']],
    ['fewer bytes, in two frames', ['ab', 'c']],
    ['more bytes', ['abcde']],
    ['more bytes, in two frames', ['abcd', 'e']],
  ] as const) {
    test(`with ${what} than its CONTENT_LENGTH does not look complete to its application`, async () => {
      const { peer, server } = await serverAgainstPeer(async (given, startResponse) => {
        const body = await given['wsgi.input'].read()
        startResponse('200 OK', [])
        return [body]
      })
      const request = { ...REQUEST, headers: ['Host', 'a', 'Content-Length', '4'] }
      const [first, second] = pieces.map((piece) => Buffer.from(piece))
      const stream = peer.connection.request(request, second ? OPEN : WHOLE, first)
      if (second) peer.connection.data(stream, second, true)
      peer.send()
      assert.equal((await peer.heard('head')).status, '400 Bad Request')
      server.destroy()
    })
  }

  test('whose body is not read buffers at most one window, however much is sent', async () => {
    const held = new Held()
    const { peer, server } = await serverAgainstPeer(held.application)
    const stream = peer.connection.request(REQUEST, OPEN, undefined)
    peer.connection.data(stream, Buffer.alloc(4 * WINDOW), true)
    peer.send()
    await iterations()
    assert.equal(stream.queued, 3 * WINDOW)
    assert.equal(stream.sendCredit, 0)
    held.answer()
    await peer.heard('head')
    server.destroy()
  })

  test('byte by byte, ahead of its reader, does not cost one object per byte', async () => {
    const chunks: number[] = []
    const gate = Promise.withResolvers<void>()
    const { peer, server } = await serverAgainstPeer(async (given, startResponse) => {
      await gate.promise
      for await (const chunk of given['wsgi.input']) chunks.push(chunk.length)
      startResponse('200 OK', [])
      return []
    })
    const stream = peer.connection.request(REQUEST, OPEN, undefined)
    for (let at = 0; at < 10_000; at++) peer.connection.data(stream, Buffer.alloc(1, at), at === 9_999)
    peer.send()
    await iterations()
    gate.resolve()
    await peer.heard('head')
    assert.equal(
      chunks.reduce((sum, length) => sum + length, 0),
      10_000,
    )
    assert.ok(chunks.length < 10, `${chunks.length} chunks`)
    server.destroy()
  })

  test('is aborted at once when its caller aborts it, with the reason', async () => {
    const held = new Held()
    const { peer, server, host } = await serverAgainstPeer(held.application)
    const stream = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    const { signal } = held.environs[0]!.gantry
    peer.connection.abort(stream, Reset.DEADLINE, 'too slow')
    peer.send()
    await until(() => signal.aborted)
    assert.equal(signal.reason.code, 'DEADLINE')
    assert.equal(server.active, 1, 'the slot stays taken until the application has settled')
    held.answer()
    await until(() => host.done.length === 1)
    assert.equal(server.active, 0)
    server.destroy()
  })

  test('is aborted when the link is lost, in each state', async () => {
    const held = new Held()
    const { peer, closed, host } = await serverAgainstPeer(held.application)
    for (let at = 0; at < 3; at++) peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 3)
    const signals = held.environs.map(({ gantry }) => gantry.signal)
    peer.stream.destroy()
    await until(() => closed.length === 1)
    assert.deepEqual(
      signals.map(({ reason }) => reason?.code),
      ['CLIENT_GONE', 'CLIENT_GONE', 'CLIENT_GONE'],
    )
    assert.equal((closed[0] as { code?: string }).code, 'LOST')
    for (let at = 0; at < 3; at++) held.answer()
    await until(() => host.done.length === 3)
  })

  test('whose response head is longer than the peer accepts fails once, with 500, and the link continues', async () => {
    let runs = 0
    const { peer, server, host, log } = await serverAgainstPeer((_environ, startResponse) => {
      runs++
      startResponse('200 OK', [['X-Big', 'y'.repeat(300_000)]])
      return [Buffer.from('hi')]
    })
    const methods = ['GET', 'HEAD']
    for (const method of methods) {
      peer.connection.request({ ...REQUEST, variables: REQUEST.variables.with(1, method) }, WHOLE, undefined)
    }
    peer.send()
    for (const [at, method] of methods.entries()) {
      const { status, headers, body, end } = await peer.heard('head', at)
      assert.equal(status, '500 Internal Server Error')
      const length = Number(headers.find(([name]) => name === 'Content-Length')?.[1])
      assert.equal(body?.length, method === 'HEAD' ? undefined : length)
      assert.equal(end, true)
    }
    await until(() => host.done.length === 2)
    assert.equal(runs, 2)
    assert.match(log.lines[0]?.message ?? '', /a head of 3\d+ bytes; the peer accepts 262144/)
    assert.equal(server.inspect(), '<ServerLink ready p 0 of 10>')
    server.destroy()
  })

  test('is aborted with thousands of others in one tick, and the link continues', async () => {
    const failing: ((error: Error) => void)[] = []
    const application: Application = async (_environ, startResponse) => {
      await startResponse('200 OK', [])(new Uint8Array(0))
      return new Promise((_resolve, reject) => failing.push(reject))
    }
    const count = 3_000
    const { peer, server, host } = await serverAgainstPeer(application, { slots: fixedSlots(count) })
    for (let at = 0; at < count; at++) peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => failing.length === count)
    // The RESETs of these requests are more than 64 KiB.
    for (const fail of failing) fail(new Error('after its head'))
    await until(() => host.done.length === count)
    await until(() => peer.events.filter(({ type }) => type === 'abort').length === count)
    assert.equal(server.state, 'ready')
    server.destroy()
  })

  test('that fails after its head ends with RESET, not with END', async () => {
    const { peer, server } = await serverAgainstPeer((_environ, startResponse) => {
      startResponse('200 OK', [])
      return (function* () {
        yield Buffer.from('part')
        throw new Error('broken')
      })()
    })
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    const reset = await peer.heard('abort')
    assert.equal(reset.code, Reset.APPLICATION)
    assert.ok(!peer.events.some((event) => 'end' in event && event.end))
    await until(() => server.active === 0)
    server.destroy()
  })

  test('without a required variable is reset, and the link continues', async () => {
    const { peer, server, log } = await serverAgainstPeer(hello)
    peer.connection.request(FIELDS, WHOLE, undefined)
    peer.connection.request({ ...REQUEST, variables: [...REQUEST.variables, 'wsgi.errors', 'x'] }, WHOLE, undefined)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    assert.equal((await peer.heard('abort')).code, Reset.PROTOCOL)
    await peer.heard('abort', 1)
    await peer.heard('head')
    assert.equal(log.messages('warn').length, 2)
    server.destroy()
  })

  test('that is aborted in the same read does not run', async () => {
    const held = new Held()
    const { peer, server } = await serverAgainstPeer(held.application)
    const stream = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.connection.abort(stream, Reset.CANCELLED, '')
    peer.send()
    await iterations()
    assert.equal(held.environs.length, 0)
    assert.equal(server.active, 0)
    server.destroy()
  })

  test('whose response waits for its reader holds its slot until the response is sent', async () => {
    const { peer, server, host } = await serverAgainstPeer((_environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.alloc(2 * WINDOW)]
    })
    const stream = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => host.done.length === 1)
    assert.equal(server.active, 1)
    await iterations()
    peer.connection.consumed(stream, WINDOW)
    peer.send()
    await until(() => server.active === 0)
    server.destroy()
  })

  test('that responds before it has read its body ends there: a late read fails instead of waiting', async () => {
    const late = Promise.withResolvers<unknown>()
    const { peer, server } = await serverAgainstPeer((given, startResponse) => {
      startResponse('200 OK', [])
      const body = [Buffer.from('early')]
      return Object.assign(body, {
        close: () =>
          given['wsgi.input'].read().then(
            () => late.resolve(undefined),
            (error: unknown) => late.resolve(error),
          ),
      })
    })
    peer.connection.request(REQUEST, OPEN, Buffer.from('some'))
    peer.send()
    await peer.heard('head')
    assert.equal(((await late.promise) as { code?: string }).code, 'CLIENT_GONE')
    await until(() => server.active === 0)
    server.destroy()
  })

  test('has early hints within a budget, and hints above the budget are dropped', async () => {
    const { peer, server } = await serverAgainstPeer((given, startResponse) => {
      for (let at = 0; at < 100; at++) given.gantry.earlyHints([['Link', `</${at}>`]])
      startResponse('200 OK', [])
      return []
    })
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await peer.heard('head')
    assert.equal(peer.connection.failure, undefined)
    assert.equal(peer.events.filter(({ type }) => type === 'inform').length, 16)
    server.destroy()
  })
})

describe('slots', () => {
  test('above the grant are refused, and their requests never run', async () => {
    const held = new Held()
    const { peer, server } = await serverAgainstPeer(held.application, { slots: fixedSlots(2) })
    const streams = [1, 2, 3].map(() => peer.connection.request(REQUEST, WHOLE, undefined))
    peer.send()
    const reset = await peer.heard('abort')
    assert.equal(reset.stream, streams[2])
    assert.equal(reset.code, Reset.REFUSED)
    assert.equal(held.environs.length, 2)
    assert.equal(server.inspect(), '<ServerLink ready p 2 of 2>')
    held.answer()
    await peer.heard('head')
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 3)
    server.destroy()
  })

  test('are granted by a source, which is notified of demand, of free slots, and of the close', async () => {
    const heard: string[] = []
    let holder: SlotHolder | undefined
    const slots: SlotSource = {
      join: (joined) => {
        holder = joined
        joined.grant(1)
        heard.push('join')
      },
      leave: (left) => heard.push(`leave ${left.running}`),
      changed: (changed) => heard.push(`demand ${changed.demand} running ${changed.running}`),
    }
    const held = new Held()
    const { peer, closed } = await serverAgainstPeer(held.application, { slots })
    peer.connection.slots(7)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    holder?.grant(0)
    await peer.heard('slots', 1)
    held.answer()
    await peer.heard('head')
    await until(() => heard.length === 3)
    assert.deepEqual(heard, ['join', 'demand 7 running 0', 'demand 7 running 0'])
    holder?.grant(1)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 2)
    peer.stream.destroy()
    await until(() => closed.length === 1)
    assert.ok(!heard.some((line) => line.startsWith('leave')), 'an application still runs')
    held.answer()
    await until(() => heard.includes('leave 0'))
  })

  test('that an aborted application still holds are not offered', async () => {
    const held = new Held()
    const { peer, server } = await serverAgainstPeer(held.application, { slots: fixedSlots(1) })
    const stream = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    peer.connection.abort(stream, Reset.CANCELLED, '')
    peer.send()
    assert.equal((await peer.heard('slots', 1)).count, 0)
    held.answer()
    assert.equal((await peer.heard('slots', 2)).count, 1)
    server.destroy()
  })

  test('are not sent again for a request that ends normally', async () => {
    const { peer, server } = await serverAgainstPeer(hello)
    for (let at = 0; at < 5; at++) {
      peer.connection.request(REQUEST, WHOLE, undefined)
      peer.send()
      await peer.heard('head', at)
    }
    await iterations()
    assert.equal(peer.events.filter(({ type }) => type === 'slots').length, 1)
    server.destroy()
  })
})

describe('the end of a link', () => {
  test('by drain(): GOAWAY names the last accepted request, accepted requests finish, and the link closes', async () => {
    const held = new Held()
    const { peer, server, closed } = await serverAgainstPeer(held.application)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    server.drain('a deploy')
    const late = peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    const goaway = await peer.heard('goaway')
    assert.deepEqual([goaway.code, goaway.text, goaway.untaken], [Goaway.DRAINING, 'a deploy', [late]])
    assert.equal(server.state, 'draining')
    held.answer()
    await peer.heard('head')
    await until(() => closed.length === 1)
    assert.deepEqual(closed, [undefined])
    assert.equal(held.environs.length, 1)
    peer.stream.destroy()
  })

  test('by a peer that violates the protocol: it gets GOAWAY, and running requests are aborted', async () => {
    const held = new Held()
    const { peer, closed } = await serverAgainstPeer(held.application)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => held.environs.length === 1)
    const { signal } = held.environs[0]!.gantry
    peer.stream.write(Buffer.from('15000000040000000100000000', 'hex'))
    assert.match((await peer.heard('goaway')).text, /a WINDOW of 0 bytes/)
    assert.equal((closed[0] as { code?: string }).code, 'FLOW_CONTROL')
    assert.equal(signal.aborted, true)
    held.answer()
    peer.stream.destroy()
  })

  test('by a peer without a token: both sides get the reason, and nothing is served', async () => {
    const held = new Held()
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'caller')
    const { closed, server } = serverOn(mine, held.application, { token: TOKEN })
    // The peer knows the reason from our HELLO already, and ends the link itself.
    await until(() => closed.length === 1 && peer.connection.failure !== undefined)
    assert.equal(peer.connection.failure?.code, 'UNAUTHENTICATED')
    assert.equal((closed[0] as { code?: string }).code, 'UNAUTHENTICATED')
    assert.equal(server.state, 'closed')
    peer.stream.destroy()
  })

  test('by a peer with another token: it gets GOAWAY, and no request of it is served', async () => {
    const held = new Held()
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'caller', { token: 'another', secret: true })
    const { closed } = serverOn(mine, held.application, { token: TOKEN })
    assert.equal((await peer.heard('goaway')).code, Goaway.UNAUTHENTICATED)
    assert.equal((closed[0] as { code?: string }).code, 'UNAUTHENTICATED')
    await until(() => peer.ended)
    peer.stream.destroy()
  })

  test('parses bytes that were read before the link was made', async () => {
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'caller')
    const first = await new Promise<Buffer>((resolve) => mine.once('data', resolve))
    mine.removeAllListeners('data')
    mine.pause()
    const clock = new FakeClock()
    const log = new RecordingLog()
    const server = serveFrames(
      mine,
      hello,
      {
        clock,
        log,
        host: new MemoryHost(),
        process: facts,
        identity: identity('c1'),
        slots: fixedSlots(1),
      },
      first,
    )
    await peer.heard('slots')
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await peer.heard('head')
    server.destroy()
  })
})

describe('a caller and a server', () => {
  const echo: Application = async (given, startResponse) => {
    startResponse('200 OK', [])
    return given['wsgi.input']
  }

  test('carry a body both ways at once', async () => {
    const { here, there } = await linked(echo)
    const input = new TestInput()
    const made = call(here.caller, environ('/', 'POST'), new ReplayableBody(input))
    const body = (async () => bytesOf(await made.response))()
    let sent = ''
    for (let at = 0; at < 50; at++) {
      const chunk = String(at % 10).repeat(20_000)
      sent += chunk
      input.push(Buffer.from(chunk))
      await iterations(1)
    }
    input.end()
    assert.equal(await body, sent)
    assert.equal(there.server.active, 0)
    here.caller.destroy()
  })

  for (const over of ['memory', 'a Unix socket'] as const) {
    test(`carry many requests at once over ${over}, each with its own bytes`, async () => {
      let stop = async (): Promise<void> => {}
      let streams: [Duplex, Duplex] | undefined
      if (over === 'a Unix socket') {
        const accepted = Promise.withResolvers<Duplex>()
        const listening = await listeningOnPath(createServer((socket) => accepted.resolve(socket)))
        stop = listening.stop
        streams = [dial(listening.address), await accepted.promise]
      }
      const { here, there } = await linked(echo, {
        server: { slots: fixedSlots(100), token: TOKEN },
        caller: { token: TOKEN },
        ...(streams && { streams }),
      })
      const calls = Array.from({ length: 100 }, async (_, at) => {
        const input = new TestInput()
        const made = call(here.caller, environ(`/${at}`, 'POST'), new ReplayableBody(input))
        const text = `${at},`.repeat(1 + ((at * 997) % 30_000))
        for (let from = 0; from < text.length; from += 7_777) {
          input.push(Buffer.from(text.slice(from, from + 7_777)))
          await iterations(1)
        }
        input.end()
        assert.equal(await bytesOf(made.response), text)
      })
      await Promise.all(calls)
      assert.equal(here.caller.inFlight, 0)
      await until(() => there.server.active === 0)
      here.caller.close('done')
      await until(() => here.closed.length === 1)
      assert.deepEqual(here.closed, [undefined])
      await until(() => there.closed.length === 1)
      assert.deepEqual(there.closed, [undefined])
      await stop()
    })
  }

  test('with the roles of dialler and server reversed do the same (a container that joins)', async () => {
    const { here } = await linked(hello, {
      caller: { token: TOKEN, dialled: false },
      server: { token: TOKEN, dialled: true },
    })
    assert.equal(await bytesOf(call(here.caller).response), 'hi')
    here.caller.destroy()
  })
})

describe('a link whose drain has timed out', () => {
  const error = new AbortError('DRAIN_TIMEOUT', 'the test had to stop')
  const upgrading = (protocol: string) => {
    return { ...REQUEST, headers: ['Host', 'a', 'Connection', 'Upgrade', 'Upgrade', protocol] }
  }
  const application: Application = (given, startResponse) => {
    const protocol = given['HTTP_UPGRADE']
    if (typeof protocol !== 'string') {
      return new Promise((_, reject) => given.gantry.signal.addEventListener('abort', () => reject(error)))
    }
    startResponse('101 Switching Protocols', [['Upgrade', protocol]])
    const stream = given.gantry.upgrade()
    stream.on('data', () => {}).on('end', () => stream.end())
    return []
  }

  test('tells the application how many bytes it has sent on an upgraded stream', async () => {
    const outcomes = Promise.withResolvers<Outcome>()
    const { peer, server } = await serverAgainstPeer((given, startResponse) => {
      given.gantry.onFinished(outcomes.resolve)
      startResponse('101 Switching Protocols', [['Upgrade', 'raw']])
      const stream = given.gantry.upgrade()
      stream.write('hello')
      stream.end(Buffer.alloc(10))
      stream.resume()
      return []
    })
    const raw = peer.connection.request(upgrading('raw'), { ...OPEN, upgrade: true }, undefined)
    peer.send()
    await peer.heard('head')
    peer.connection.data(raw, new Uint8Array(0), true)
    peer.send()
    const { status, bytes, aborted } = await outcomes.promise
    assert.deepEqual([status, bytes, aborted], [101, 15, undefined])
    server.destroy()
  })

  test('closes WebSockets with code 1001, aborts other requests at once, and closes when the WebSockets have ended', async () => {
    const { peer, server } = await serverAgainstPeer(application)
    const plain = peer.connection.request(REQUEST, WHOLE, undefined)
    const raw = peer.connection.request(upgrading('raw'), { ...OPEN, upgrade: true }, undefined)
    const chat = peer.connection.request(upgrading('websocket'), { ...OPEN, upgrade: true }, undefined)
    peer.send()
    await peer.heard('head', 1)
    server.drain()
    assert.equal(server.goAway(error), true)
    const resets = [await peer.heard('abort'), await peer.heard('abort', 1)]
    assert.deepEqual(
      resets.map(({ stream, code }) => [stream, code]),
      [
        [plain, Reset.DRAIN_TIMEOUT],
        [raw, Reset.DRAIN_TIMEOUT],
      ],
    )
    const close = await peer.heard('data')
    assert.deepEqual([close.stream, [...close.bytes], close.end], [chat, [...GOING_AWAY], false])
    assert.equal(server.state, 'draining')
    peer.connection.data(chat, new Uint8Array(0), true)
    peer.send()
    await until(() => server.state === 'closed')
    assert.equal(server.active, 0)
  })

  test('has no effect without WebSockets, or after they have ended', async () => {
    const { peer, server } = await serverAgainstPeer(application)
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    await until(() => server.active === 1)
    assert.equal(server.goAway(error), false)
    peer.connection.request(upgrading('websocket'), { ...OPEN, upgrade: true }, undefined)
    peer.send()
    await peer.heard('head')
    assert.deepEqual([server.goAway(error), server.goAway(error)], [true, false])
    server.destroy(error)
    await until(() => server.active === 0)
  })
})

describe('an upgraded connection', () => {
  /** Echoes the bytes, and sends a last message when the other side has ended. */
  const parrot: Application = (given, startResponse) => {
    startResponse('101 Switching Protocols', [
      ['Upgrade', 'parrot'],
      ['Connection', 'Upgrade'],
    ])
    const stream = given.gantry.upgrade()
    stream.on('data', (chunk: Buffer) => stream.write(chunk))
    stream.on('end', () => stream.end('bye'))
    stream.on('error', () => {})
    return []
  }

  async function upgraded(): Promise<
    Awaited<ReturnType<typeof linked>> & { client: Duplex; made: ReturnType<typeof call> }
  > {
    const both = await linked(parrot, { server: { slots: fixedSlots(1) } })
    const [client, inner] = duplexPair()
    const request = environ('/', 'GET', ['Upgrade', 'parrot', 'Connection', 'Upgrade'])
    request.gantry.upgrade = () => inner
    const made = call(both.here.caller, request)
    await made.response
    return { ...both, client, made }
  }

  test('carries bytes in both directions, returns its slot, and each direction ends by itself', async () => {
    const { here, there, client, made } = await upgraded()
    assert.match(made.head?.status ?? '', /^101/)
    assert.equal(here.caller.inFlight, 0)
    assert.equal(here.caller.upgraded, 1)
    assert.equal(there.server.active, 1)
    assert.equal(there.server.inspect(), '<ServerLink ready p 0 of 1, 1 upgraded>')
    let heard = ''
    client.on('data', (chunk: Buffer) => {
      heard += chunk
    })
    client.write('hello')
    await until(() => heard === 'hello')
    const big = 'x'.repeat(600_000)
    client.write(big)
    await until(() => heard.length === 5 + big.length)
    client.end()
    await until(() => heard.endsWith('bye'))
    await until(() => there.server.active === 0)
    assert.equal(here.caller.upgraded, 0)
    assert.equal(here.caller.state, 'ready')
    here.caller.destroy()
  })

  test('whose client disconnects is closed at the application', async () => {
    const { here, there, client } = await upgraded()
    client.destroy()
    await until(() => there.server.active === 0)
    assert.equal(here.caller.state, 'ready')
    here.caller.destroy()
  })

  test('whose link is lost is closed at the client', async () => {
    const { there, client } = await upgraded()
    const closed = new Promise((resolve) => client.once('close', resolve))
    client.resume()
    client.on('error', () => {})
    there.server.destroy()
    await closed
    await until(() => there.server.active === 0)
  })

  test('is not offered to an application if the REQUEST has no UPGRADE flag', async () => {
    const seen: unknown[] = []
    const { peer, server } = await serverAgainstPeer((given, startResponse) => {
      seen.push(given['HTTP_UPGRADE'], given['HTTP_CONNECTION'], given['HTTP_HOST'])
      startResponse('200 OK', [])
      return []
    })
    const headers = ['Host', 'a', 'Upgrade', 'parrot', 'Connection', 'Upgrade']
    peer.connection.request({ ...REQUEST, headers }, OPEN, Buffer.from('body'))
    peer.send()
    assert.equal((await peer.heard('head')).status, '200 OK')
    assert.deepEqual(seen, [undefined, undefined, 'a'])
    server.destroy()
  })

  test('with a body is an ordinary request', async () => {
    const { here } = await linked(async (given, startResponse) => {
      const body = await given['wsgi.input'].read()
      startResponse('200 OK', [])
      return [body]
    })
    const input = new TestInput()
    input.push(Buffer.from('body'))
    input.end()
    const request = environ('/', 'POST', ['Upgrade', 'parrot', 'Connection', 'Upgrade', 'Content-Length', '4'])
    assert.equal(request['HTTP_UPGRADE'], 'parrot')
    assert.equal(await bytesOf(call(here.caller, request, new ReplayableBody(input)).response), 'body')
    here.caller.destroy()
  })

  test('of an application without an upgrade request fails only that request', async () => {
    const held = new Held()
    let connection: Duplex | undefined
    const { peer, server, log } = await serverAgainstPeer((given, startResponse) => {
      if (given.PATH_INFO !== '/') return held.application(given, startResponse)
      given['HTTP_UPGRADE'] = 'anything'
      startResponse('101 Switching Protocols', [['Upgrade', 'anything']])
      connection = given.gantry.upgrade()
      return []
    })
    const other = peer.connection.request(
      { ...REQUEST, variables: REQUEST.variables.with(5, '/other') },
      WHOLE,
      undefined,
    )
    peer.connection.request(REQUEST, WHOLE, undefined)
    peer.send()
    const failed = await peer.heard('head')
    assert.deepEqual([failed.stream.id, failed.status, failed.end], [2, '500 Internal Server Error', true])
    await until(() => connection?.destroyed === true)
    await until(() => server.active === 1)
    assert.equal(server.inspect(), '<ServerLink ready p 1 of 10>')
    assert.equal(
      log.lines.at(-1)?.message,
      'stream 2: the server must not send UPGRADE in state request ENDED: a 101 was given, and the request asks for no upgrade',
    )
    held.answer()
    assert.equal((await peer.heard('head', 1)).stream, other)
    server.destroy()
  })

  test('whose application throws in a listener fails only that request, and is logged with its stack', async () => {
    const held = new Held()
    const { here, there } = await linked((given, startResponse) => {
      if (given.PATH_INFO === '/other') return held.application(given, startResponse)
      startResponse('101 Switching Protocols', [['Upgrade', 'parrot']])
      const connection = given.gantry.upgrade()
      connection.on('error', () => {})
      connection.on('data', () => {
        throw new Error('a listener of the application')
      })
      return []
    })
    const other = call(here.caller, environ('/other'))
    const [client, inner] = duplexPair()
    const request = environ('/', 'GET', ['Upgrade', 'parrot', 'Connection', 'Upgrade'])
    request.gantry.upgrade = () => inner
    await call(here.caller, request).response
    client.on('error', () => {})
    client.resume()
    client.write('hello')
    await until(() => client.destroyed)
    await until(() => there.server.active === 1)
    const line = there.log.lines.find(({ level }) => level === 'error')
    assert.equal(line?.message, 'handling a request failed; the request was aborted')
    assert.equal((line.fields['err'] as Error).message, 'a listener of the application')
    held.answer('well')
    assert.equal(await bytesOf(other.response), 'well')
    assert.deepEqual([here.closed, there.closed], [[], []])
    here.caller.destroy()
  })

  test('keeps a draining link open', async () => {
    const { here, there, client } = await upgraded()
    there.server.drain()
    await until(() => here.caller.state === 'draining')
    let heard = ''
    client.on('data', (chunk: Buffer) => {
      heard += chunk
    })
    client.write('still here')
    await until(() => heard === 'still here')
    client.end()
    await until(() => here.closed.length === 1)
    assert.deepEqual(here.closed, [undefined])
  })
})
