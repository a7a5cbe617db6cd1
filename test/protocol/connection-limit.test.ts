import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConnectionLimit, type LimitedConnection } from '../../protocol/connection-limit.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

class Client implements LimitedConnection {
  waitingSince: number
  dismissed = false
  /** A request has come that nobody has looked at yet. */
  asks = false

  constructor(waitingSince: number) {
    this.waitingSince = waitingSince
  }

  dismiss(): boolean {
    if (this.asks) return false
    this.dismissed = true
    return true
  }
}

const BUSY = Number.POSITIVE_INFINITY

function setUp(most: number, waiting: readonly number[]) {
  const clock = new FakeClock()
  clock.advance(100_000)
  const log = new RecordingLog()
  const limit = new ConnectionLimit(most, { clock, log, what: 'test' })
  const clients = waiting.map((ago) => new Client(clock.now() - ago))
  const set = new Set(clients)
  return { clock, log, limit, clients, set }
}

test('below the limit there is room, and nobody is ended', () => {
  const { limit, clients, set, log } = setUp(3, [60_000, 60_000])
  assert.equal(limit.admit(0, set), true)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
  assert.deepEqual(log.lines, [])
})

test('who has been idle for a second makes room', () => {
  const { limit, clients, set } = setUp(3, [-BUSY, 100, 1_000])
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [false, false, true],
  )
  assert.equal(set.size, 2)
})

test('of those that are idle for less, the one that is for longest makes room', () => {
  const { limit, clients, set } = setUp(4, [-BUSY, 110, 130, 120])
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [false, false, true, false],
  )
})

test('where all are busy there is no room', () => {
  const { limit, clients, set } = setUp(2, [-BUSY, -BUSY])
  assert.equal(limit.admit(0, set), false)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
})

test('who came just now is not ended, since its request may be on its way', () => {
  const { limit, clients, set, clock } = setUp(2, [99, 0])
  assert.equal(limit.admit(0, set), false)
  clock.advance(1)
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [true, false],
  )
})

test('who has sent a request that was not looked at yet is not ended', () => {
  const { limit, clients, set } = setUp(2, [5_000, 5_000])
  clients[0]!.asks = true
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [false, true],
  )
  clients[0]!.waitingSince -= 1
  set.add(new Client(BUSY))
  assert.equal(limit.admit(0, set), false)
})

test('of many that are idle several are ended at a time, but not more than one in 32', () => {
  const { limit, clients, set } = setUp(
    320,
    Array.from({ length: 320 }, () => 5_000),
  )
  assert.equal(limit.admit(0, set), true)
  assert.equal(clients.filter(({ dismissed }) => dismissed).length, 10)
  assert.equal(set.size, 310)
})

test('the limit may be passed by those whose protocol is not known yet, which are counted too', () => {
  const { limit, clients, set } = setUp(2, [-BUSY, -BUSY])
  const visitors = new Set([new Client(0)])
  assert.equal(limit.admit(2, visitors, set), true)
  assert.equal(visitors.size, 1)
  visitors.add(new Client(1))
  assert.equal(limit.admit(2, visitors, set), true)
  assert.equal(visitors.size, 1)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
})

test('it is said once that the limit is reached, and once that it no longer is, with what that has cost', () => {
  const { limit, set, log } = setUp(10, [...Array.from({ length: 9 }, () => -BUSY), 5_000])
  for (let client = 0; client < 5; client++) {
    if (limit.admit(0, set)) set.add(new Client(BUSY))
    const [last] = set
    if (client === 3) set.delete(last!)
  }
  assert.deepEqual(
    log.lines.map(({ level }) => level),
    ['warn'],
  )
  assert.match(log.lines[0]!.message, /^connection limit \(test\) reached/)
  const [first, second] = set
  set.delete(first!)
  limit.left(set)
  assert.equal(log.lines.length, 1)
  set.delete(second!)
  limit.left(set)
  limit.left(set)
  assert.equal(log.lines.length, 2)
  assert.deepEqual(log.lines[1], {
    level: 'info',
    message: 'connection limit (test) is no longer reached',
    fields: { closed: 1, refused: 3 },
  })
})
