import assert from 'node:assert/strict'
import { Duplex, duplexPair } from 'node:stream'
import { describe, test } from 'node:test'
import type { FrameConnection, FrameEvent } from '../../../protocol/frames/codec/connection.ts'
import { Frame } from '../../../protocol/frames/codec/constants.ts'
import type { FrameStream } from '../../../protocol/frames/codec/stream.ts'
import { Link, type LinkOwner } from '../../../protocol/frames/link.ts'
import { UpgradedStream } from '../../../protocol/frames/upgraded-stream.ts'
import { FakeClock } from '../../support/clock.ts'
import { bytesOf, call, callerOn, iterations, linked, Peer, until } from './link-support.ts'
import { drain, FIELDS, frame, opened, pair, types } from './support.ts'

/** A stream whose writes complete when the test calls `release`. */
class Slow extends Duplex {
  readonly writes: Buffer[] = []
  readonly #done: (() => void)[] = []
  open = true

  constructor() {
    super({ readableHighWaterMark: 65_536, writableHighWaterMark: 65_536 })
  }

  override _read(): void {}

  override _writev(chunks: { chunk: Buffer }[], callback: () => void): void {
    this.#write(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback)
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.#write(chunk, callback)
  }

  #write(bytes: Buffer, callback: () => void): void {
    this.writes.push(bytes)
    if (this.open) callback()
    else this.#done.push(callback)
  }

  /** The peer reads again. */
  release(): void {
    this.open = true
    for (const done of this.#done.splice(0)) done()
  }
}

class Owner implements LinkOwner {
  readonly events: string[] = []
  readonly resumedStreams: FrameStream[] = []
  readonly ends: (Error | undefined)[] = []
  event(event: FrameEvent): void {
    this.events.push(event.type)
  }
  readonly faults: { stream: FrameStream; error: unknown }[] = []
  resume(stream: FrameStream): void {
    this.resumedStreams.push(stream)
  }
  fault(stream: FrameStream, error: unknown): void {
    this.faults.push({ stream, error })
  }
  flushing(): void {}
  closed(error: Error | undefined): void {
    this.ends.push(error)
  }
}

interface Scene {
  slow: Slow
  owner: Owner
  link: Link
  server: FrameConnection
  caller: FrameConnection
  clock: FakeClock
}

/** A server's link on a slow stream; its peer's connection is driven by hand. */
async function scene(): Promise<Scene> {
  const { caller, server } = pair()
  const slow = new Slow()
  const owner = new Owner()
  const clock = new FakeClock()
  const link = new Link(slow, server, owner, { clock })
  await iterations(2)
  slow.writes.length = 0
  return { slow, owner, link, server, caller, clock }
}

describe('a link', () => {
  test('sends all frames of one tick in one write', async () => {
    const { slow, link, server, caller } = await scene()
    const streams = [1, 2, 3].map(() => opened({ caller, server }, { end: true }).here)
    for (const stream of streams) {
      server.head(stream, '200 OK', [], Buffer.from('hi'), true)
      link.schedule()
    }
    await iterations(2)
    assert.deepEqual(slow.writes.map(types), [[Frame.RESPONSE, Frame.RESPONSE, Frame.RESPONSE]])
  })

  test('flushes ready responses while the events of a read take long', async () => {
    const { slow, owner, link, server, caller, clock } = await scene()
    const written: number[] = []
    owner.event = (event: FrameEvent) => {
      if (event.type !== 'request') return
      written.push(slow.writes.length)
      clock.advance(100)
      server.head(event.stream, '200 OK', [], Buffer.from('hi'), true)
      link.schedule()
    }
    for (let at = 0; at < 3; at++) caller.request(FIELDS, { end: true, hold: false, upgrade: false }, undefined)
    slow.push(drain(caller))
    await iterations(3)
    assert.deepEqual(written, [0, 1, 2])
    assert.equal(slow.writes.length, 3)
  })

  test('continues to read while it cannot write, and takes no body before there is room', async () => {
    const { slow, owner, link, server, caller } = await scene()
    const { here } = opened({ caller, server }, { end: true })
    slow.open = false
    server.head(here, '200 OK', [], Buffer.alloc(120_000), false)
    link.schedule()
    await iterations(3)
    const before = slow.writes.length
    const waiting = here.queued
    // The peer does not read, and sends a PING.
    slow.push(frame(Frame.PING, 0, 0, '0102030405060708'))
    slow.push(frame(Frame.WINDOW, 0, 1, '00010000'))
    server.data(here, Buffer.alloc(50_000), true)
    await until(() => owner.events.includes('ping'))
    server.pong(Buffer.alloc(8), 0, 0)
    link.schedule()
    await iterations(3)
    assert.equal(slow.writes.length, before)
    assert.equal(here.queued, waiting + 50_000)
    slow.release()
    await until(() => here.closed)
    const after = Buffer.concat(slow.writes.slice(before))
    assert.equal(types(after)[0], Frame.PONG, 'control frames overtake queued body')
  })

  test('resumes a stream that has room again', async () => {
    const { owner, link, server, caller } = await scene()
    const { here } = opened({ caller, server }, { end: true })
    assert.equal(server.head(here, '200 OK', [], Buffer.alloc(65_536), false), false)
    link.schedule()
    await until(() => owner.resumedStreams.length === 1)
    assert.equal(owner.resumedStreams[0], here)
  })

  test('answers only the last PING of a peer that did not read, once it reads', async () => {
    const { slow, owner, link, server, caller } = await scene()
    owner.event = (event: FrameEvent) => {
      if (event.type === 'ping') server.pong(event.token, 0, 0)
      link.schedule()
    }
    slow.open = false
    const { here } = opened({ caller, server }, { end: true })
    server.head(here, '200 OK', [], Buffer.alloc(120_000), false)
    link.schedule()
    await iterations(3)
    const before = slow.writes.length
    for (let at = 0; at < 4000; at++) {
      slow.push(frame(Frame.PING, 0, 0, at.toString(16).padStart(16, '0')))
      if (at % 100 === 0) await iterations(1)
    }
    await iterations(2)
    assert.equal(slow.writes.length, before)
    slow.release()
    await until(() => slow.writes.length > before)
    assert.deepEqual(owner.ends, [])
    const answer = slow.writes[before]!.subarray(0, 25)
    assert.deepEqual(types(answer), [Frame.PONG])
    assert.equal(answer.readUInt32BE(13), 3999)
  })

  test('notices that its socket drains when no stream waits for it', async () => {
    const { slow, link, server, caller } = await scene()
    const { here } = opened({ caller, server }, { end: true })
    slow.open = false
    server.head(here, '200 OK', [], Buffer.alloc(70_000), false)
    link.schedule()
    await iterations(3)
    assert.equal(server.pending, false)
    slow.release()
    await iterations(3)
    assert.equal(server.hasRoom(here), true)
    server.abort(here, 3, '')
    link.schedule()
    await iterations(3)
    assert.equal(types(slow.writes.at(-1)!)[0], Frame.RESET)
  })

  test('continues when its owner throws for one stream, and reports the stream to the owner', async () => {
    const { slow, owner, link, server, caller } = await scene()
    const failure = new Error('a listener of an application threw')
    owner.event = (event: FrameEvent) => {
      owner.events.push(event.type)
      if ('stream' in event && event.stream.id === 1) throw failure
    }
    owner.resume = () => {
      throw failure
    }
    for (let at = 0; at < 2; at++) caller.request(FIELDS, { end: true, hold: false, upgrade: false }, undefined)
    slow.push(drain(caller))
    await until(() => owner.events.length === 2)
    assert.deepEqual(
      owner.faults.map(({ stream, error }) => [stream.id, error]),
      [[1, failure]],
    )
    const { stream } = owner.faults[0]!
    server.head(stream, '200 OK', [], Buffer.alloc(65_536), false)
    link.schedule()
    await until(() => owner.faults.length === 2)
    assert.equal(owner.faults[1]!.stream, stream)
    assert.deepEqual(owner.ends, [])
  })

  test('that ends closes only after a slow peer has read the last byte', async () => {
    const { slow, owner, link, server, caller, clock } = await scene()
    const { here } = opened({ caller, server }, { end: true })
    slow.open = false
    server.goaway(0, 'stopping')
    server.head(here, '200 OK', [], Buffer.from('last words'), true)
    link.end()
    await iterations(3)
    clock.advance(60_000)
    await iterations(3)
    assert.deepEqual(owner.ends, [])
    assert.equal(slow.destroyed, false)
    slow.release()
    await until(() => slow.writableFinished)
    for (const part of slow.writes) caller.receive(part)
    assert.equal(caller.size, 0)
    slow.push(null)
    await until(() => owner.ends.length === 1)
    assert.deepEqual(owner.ends, [undefined])
  })

  test('whose peer does not end its side is closed a second later', async () => {
    const { slow, owner, link, clock } = await scene()
    link.end()
    await until(() => slow.writableFinished)
    await iterations(3)
    assert.deepEqual(owner.ends, [])
    clock.advance(1_000)
    await until(() => owner.ends.length === 1)
    assert.deepEqual(owner.ends, [undefined])
    assert.equal(slow.destroyed, true)
  })

  test('whose peer is at fault closes at once after GOAWAY, without waiting for the peer', async () => {
    const { slow, owner, clock } = await scene()
    slow.push(frame(Frame.AUTH, 0, 0, Buffer.alloc(32)))
    await until(() => owner.ends.length === 1)
    assert.equal((owner.ends[0] as { code?: string }).code, 'HANDSHAKE')
    await iterations(2)
    assert.deepEqual(types(slow.writes.at(-1)!), [Frame.GOAWAY])
    clock.advance(1_000)
    assert.equal(slow.destroyed, true)
    assert.equal(owner.ends.length, 1)
  })

  test('reports its close once, whatever happens to the stream', async () => {
    const { slow, owner, link } = await scene()
    link.destroy(new Error('first'))
    link.destroy(new Error('second'))
    slow.destroy()
    link.end()
    await iterations(3)
    assert.deepEqual(
      owner.ends.map((error) => error?.message),
      ['first'],
    )
  })

  test('on a stream that is destroyed already is closed', async () => {
    const [mine] = duplexPair()
    mine.destroy()
    const { closed } = callerOn(mine)
    await until(() => closed.length === 1)
    assert.equal((closed[0] as { code?: string }).code, 'LOST')
  })

  test('that is truncated in the middle of a frame is lost, not ended', async () => {
    const [mine, theirs] = duplexPair()
    const peer = new Peer(theirs, 'server')
    const { caller, closed } = callerOn(mine)
    await until(() => caller.state === 'ready')
    const made = call(caller)
    const { stream } = await peer.heard('request')
    peer.connection.head(stream, '200 OK', [], Buffer.from('the whole body'), true)
    const bytes = drain(peer.connection)
    theirs.end(bytes.subarray(0, bytes.length - 1))
    assert.deepEqual((await made.failed).code, 'LOST')
    assert.equal(made.head, undefined)
    assert.equal(closed.length, 1)
  })

  for (let cut = 1; cut < 60; cut += 7) {
    test(`that is truncated after ${cut} bytes of a response never gives a body that looks complete`, async () => {
      const [mine, theirs] = duplexPair()
      const peer = new Peer(theirs, 'server')
      const { caller } = callerOn(mine)
      await until(() => caller.state === 'ready')
      const made = call(caller)
      const { stream } = await peer.heard('request')
      peer.connection.head(stream, '200 OK', [], Buffer.from('part'), false)
      peer.connection.data(stream, Buffer.from('the rest of it, which is a little longer'), false)
      peer.connection.data(stream, new Uint8Array(0), true)
      const bytes = drain(peer.connection)
      assert.ok(bytes.length > 60)
      theirs.end(bytes.subarray(0, cut))
      await assert.rejects(bytesOf(made.response), { code: 'LOST', ran: 'maybe' })
    })
  }
})

describe('an upgraded stream', () => {
  test('that ends while the socket is full is not reset before its END is written', async () => {
    const { slow, owner, link, server, caller } = await scene()
    const { here } = opened({ caller, server }, { upgrade: true })
    server.head(here, '101 Switching Protocols', [], undefined, false)
    let closed = false
    const duplex = new UpgradedStream(link, here, () => {
      closed = true
    })
    owner.resume = () => duplex.resumeWriting()
    duplex.resume()
    slow.open = false
    duplex.write(Buffer.alloc(70_000))
    await iterations(3)
    duplex.end()
    // The other direction has ended: only our own END is missing.
    server.receive(frame(Frame.DATA, 1, 1))
    duplex.data(new Uint8Array(0), true)
    await iterations(5)
    assert.equal(closed, false)
    slow.release()
    await until(() => closed)
    assert.deepEqual(types(slow.writes.at(-1)!), [Frame.DATA])
    assert.ok(!slow.writes.some((bytes) => types(bytes).includes(Frame.RESET)))
  })
})

describe('one direction of an upgraded stream', () => {
  test('finishes when its END is written after the body of another stream, while the peer continues to send', async () => {
    const { owner, link, server, caller } = await scene()
    const { here } = opened({ caller, server }, { upgrade: true })
    const other = opened({ caller, server }, { end: true }).here
    server.head(here, '101 Switching Protocols', [], undefined, false)
    let finished = false
    const duplex = new UpgradedStream(link, here, () => {})
    duplex.on('finish', () => {
      finished = true
    })
    owner.resume = (stream) => stream === here && duplex.resumeWriting()
    server.head(other, '200 OK', [], undefined, false)
    server.data(other, Buffer.alloc(120_000), false)
    duplex.end()
    link.schedule()
    await until(() => finished)
    assert.equal(here.closed, false)
    duplex.destroy()
  })
})

describe('a container that drains', () => {
  test('waits until a busy proxy has read its last response', async () => {
    const { here, there, streams } = await linked((_environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.alloc(100_000, 97)]
    })
    const made = call(here.caller)
    streams[0].pause()
    await until(() => there.server.active === 1 || there.host.done.length === 1)
    there.server.drain()
    await iterations(5)
    there.clock.advance(30_000)
    streams[0].resume()
    assert.equal((await bytesOf(made.response)).length, 100_000)
    await until(() => there.closed.length === 1)
    assert.deepEqual([here.closed, there.closed], [[undefined], [undefined]])
  })
})
