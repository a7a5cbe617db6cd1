import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConnectionLimit, type LimitedConnection } from '../../protocol/connection-limit.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

class Client implements LimitedConnection {
  waitingSince: number
  dismissed = false
  /** A request has arrived and was not read yet. */
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

test('below the limit there is room, and no connection is closed', () => {
  const { limit, clients, set, log } = setUp(3, [60_000, 60_000])
  assert.equal(limit.admit(0, set), true)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
  assert.deepEqual(log.lines, [])
})

test('a connection that was idle for a second makes room', () => {
  const { limit, clients, set } = setUp(3, [-BUSY, 100, 1_000])
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [false, false, true],
  )
  assert.equal(set.size, 2)
})

test('of connections idle for less than a second, the one idle for longest makes room', () => {
  const { limit, clients, set } = setUp(4, [-BUSY, 110, 130, 120])
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [false, false, true, false],
  )
})

test('when all connections are busy there is no room', () => {
  const { limit, clients, set } = setUp(2, [-BUSY, -BUSY])
  assert.equal(limit.admit(0, set), false)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
})

test('a new connection is not closed, since its request may be on its way', () => {
  const { limit, clients, set, clock } = setUp(2, [99, 0])
  assert.equal(limit.admit(0, set), false)
  clock.advance(1)
  assert.equal(limit.admit(0, set), true)
  assert.deepEqual(
    clients.map(({ dismissed }) => dismissed),
    [true, false],
  )
})

test('a connection with an unread request is not closed', () => {
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

test('of many idle connections several are closed at a time, but at most one in 32', () => {
  const { limit, clients, set } = setUp(
    320,
    Array.from({ length: 320 }, () => 5_000),
  )
  assert.equal(limit.admit(0, set), true)
  assert.equal(clients.filter(({ dismissed }) => dismissed).length, 10)
  assert.equal(set.size, 310)
})

test('connections whose protocol is not known yet may exceed the limit, and are counted too', () => {
  const { limit, clients, set } = setUp(2, [-BUSY, -BUSY])
  const visitors = new Set([new Client(0)])
  assert.equal(limit.admit(2, visitors, set), true)
  assert.equal(visitors.size, 1)
  visitors.add(new Client(1))
  assert.equal(limit.admit(2, visitors, set), true)
  assert.equal(visitors.size, 1)
  assert.ok(clients.every(({ dismissed }) => !dismissed))
})

test('reaching the limit is logged once, and its end once, with the connections closed and refused', () => {
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
