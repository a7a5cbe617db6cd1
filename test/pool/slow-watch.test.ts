/** The measurements of slow clients while slots are scarce. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Measurement, SlowWatch, type SlowWatchHost, type WatchedRequest } from '../../pool/slow-watch.ts'
import type { ClientKey } from '../../protocol/client/client-shares.ts'
import type { WaitsFor } from '../../protocol/contract/client-view.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { FakeClock } from '../support/clock.ts'

class Request implements WatchedRequest {
  readonly share: ClientKey
  waitsFor: WaitsFor
  bytes = 0
  measured: Measurement | undefined = undefined
  ended: AbortError | undefined
  readonly #host: Host

  constructor(host: Host, share: ClientKey, waitsFor: WaitsFor) {
    this.#host = host
    this.share = share
    this.waitsFor = waitsFor
    host.running.push(this)
  }

  moved(): number {
    return this.bytes
  }

  abortSlow(reason: AbortError): void {
    this.ended = reason
    this.#host.running.splice(this.#host.running.indexOf(this), 1)
  }
}

class Host implements SlowWatchHost {
  readonly clock: FakeClock = new FakeClock()
  readonly running: Request[] = []
  aborted = 0
  freed = 0
  scarce = true
  waits: [ClientKey, number][] = []
  /** The number of searches for a request to abort. */
  sought = 0
  readonly watch: SlowWatch

  constructor(patience: number = 5_000) {
    this.watch = new SlowWatch(this, { clock: this.clock, rate: 1_000, patience })
  }

  waiting(): Map<ClientKey, number> {
    this.sought++
    return new Map(this.waits)
  }

  aborting(count: number): void {
    this.aborted += count
  }

  request(waitsFor: WaitsFor, share: ClientKey = {}): Request {
    return new Request(this, share, waitsFor)
  }
}

suite('while slots are scarce', () => {
  test('a request whose client moves nothing is aborted after the patience, if another one waits', () => {
    const host = new Host()
    const slow = host.request('download')
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    host.clock.advance(4_900)
    assert.equal(slow.ended, undefined)
    host.clock.advance(200)
    const ended = slow.ended as AbortError | undefined
    assert.equal(ended?.code, 'SLOW_CLIENT')
    assert.match(ended.message, /accepted 0 bytes of its response in 5\.0 s .*--slow-client-rate/)
    assert.equal(host.aborted, 1)
  })

  test('no request is aborted while none waits, and one that was behind for long is aborted when another waits', () => {
    const host = new Host()
    const slow = host.request('upload')
    host.watch.startMeasuring()
    host.clock.advance(60_000)
    assert.equal(slow.ended, undefined)
    host.waits = [['other', 1]]
    host.clock.advance(100)
    assert.match(slow.ended!.message, /delivered 0 bytes of its request/)
  })

  test('an application that works, and a client that keeps the rate, are left alone', () => {
    const host = new Host()
    const works = host.request('nothing')
    const keeps = host.request('download')
    host.waits = [['other', 2]]
    host.watch.startMeasuring()
    for (let at = 0; at < 1_000; at++) {
      keeps.bytes += 100
      host.clock.advance(100)
    }
    assert.deepEqual([works.ended, keeps.ended], [undefined, undefined])
  })

  test('a client below the rate is aborted, however often it moves', () => {
    const host = new Host()
    const slow = host.request('upload')
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    for (let at = 0; at < 99; at++) {
      slow.bytes += 50
      host.clock.advance(100)
    }
    assert.equal(slow.ended, undefined)
    host.clock.advance(200)
    assert.ok(slow.ended)
  })

  test('a client that catches up for a moment has no debt afterwards', () => {
    const host = new Host()
    const slow = host.request('upload')
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    for (const waitsFor of ['upload', 'nothing', 'upload'] as const) {
      slow.waitsFor = waitsFor
      host.clock.advance(4_000)
    }
    assert.equal(slow.ended, undefined)
    host.clock.advance(1_200)
    assert.ok(slow.ended)
  })

  test('bytes in the other direction do not count', () => {
    const host = new Host()
    const slow = host.request('download')
    const moved: WaitsFor[] = []
    slow.moved = (direction: WaitsFor = 'nothing') => {
      moved.push(direction)
      return 0
    }
    host.watch.startMeasuring()
    host.clock.advance(500)
    assert.deepEqual(new Set(moved), new Set(['download']))
  })

  test('time in which this process did not run counts as at most two measurements', () => {
    const host = new Host()
    const slow = host.request('upload')
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    host.clock.pause(60_000)
    assert.equal(slow.ended, undefined)
    host.clock.advance(4_700)
    assert.equal(slow.ended, undefined)
    host.clock.advance(200)
    assert.ok(slow.ended)
  })

  test('a request that began after the last measurement is not aborted', () => {
    const host = new Host()
    host.request('upload')
    host.watch.startMeasuring()
    host.clock.advance(10_000)
    const fresh = host.request('upload')
    host.waits = [['other', 2]]
    host.watch.abortFor('other')
    assert.equal(host.running.length, 1)
    assert.equal(fresh.ended, undefined)
  })

  test('a request whose client has caught up since the last look is not aborted for a new one', () => {
    const host = new Host()
    const slow = host.request('upload')
    const quick = host.request('upload')
    host.watch.startMeasuring()
    host.clock.advance(10_000)
    quick.waitsFor = 'nothing'
    assert.equal(host.watch.abortFor('other'), 1)
    assert.equal(host.watch.abortFor('another'), 0)
    assert.ok(slow.ended)
    assert.equal(quick.ended, undefined)
  })

  test('a flood of new requests looks for slow clients a few times between two looks', () => {
    const host = new Host()
    const busy = host.request('nothing')
    host.watch.startMeasuring()
    for (let count = 0; count < 1_000; count++) assert.equal(host.watch.abortFor(`client ${count}`), 0)
    assert.equal(host.sought, 8)
    busy.waitsFor = 'download'
    host.clock.advance(6_000)
    assert.equal(host.watch.abortFor('other'), 1)
  })
})

suite('the watch', () => {
  test('ends once slots are free, and judges anew when they are scarce again', () => {
    const host = new Host()
    const slow = host.request('upload')
    host.watch.startMeasuring()
    host.clock.advance(4_000)
    host.scarce = false
    host.clock.advance(100)
    assert.equal(host.clock.pending, 0)
    host.scarce = true
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    host.clock.advance(4_900)
    assert.equal(slow.ended, undefined)
    host.clock.advance(100)
    assert.ok(slow.ended)
  })

  test('knows slow clients while it measures, and keeps no request when it ends', () => {
    const host = new Host()
    const slow = host.request('download', 'a')
    host.request('nothing', 'b')
    host.watch.startMeasuring()
    host.clock.advance(100)
    assert.deepEqual([host.watch.isSlow('a'), host.watch.isSlow('b')], [true, false])
    slow.waitsFor = 'nothing'
    host.clock.advance(100)
    assert.equal(host.watch.isSlow('a'), false)
    slow.waitsFor = 'download'
    host.clock.advance(200)
    assert.equal(host.watch.isSlow('a'), true)
    host.scarce = false
    host.clock.advance(100)
    assert.equal(host.watch.isSlow('a'), false)
  })

  test('ends when nothing runs', () => {
    const host = new Host()
    host.waits = [['other', 1]]
    host.watch.startMeasuring()
    host.clock.advance(100)
    assert.equal(host.clock.pending, 0)
  })

  test('never begins if the patience has no limit', () => {
    const host = new Host(Number.POSITIVE_INFINITY)
    host.request('upload')
    host.watch.startMeasuring()
    assert.equal(host.clock.pending, 0)
  })
})
