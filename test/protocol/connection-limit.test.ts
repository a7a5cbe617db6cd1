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

/** A limit of 20 that is reached: a client was refused. */
function reached() {
  const made = setUp(
    20,
    Array.from({ length: 20 }, () => -BUSY),
  )
  assert.equal(made.limit.admit(0, made.set), false)
  const messages = () => made.log.lines.map(({ level, message, fields }) => ({ level, message, fields }))
  const leave = (count: number) => {
    for (const client of [...made.set].slice(0, count)) {
      made.set.delete(client)
      made.limit.left(made.set)
    }
  }
  const fill = () => {
    while (made.set.size < 20) {
      assert.equal(made.limit.admit(0, made.set), true)
      made.set.add(new Client(BUSY))
    }
  }
  return { ...made, messages, leave, fill }
}
const OVER = { level: 'info', message: 'connection limit (test) is no longer reached' }

test('reaching the limit is logged at once, and its end after 10 s below 90 % of it, with the totals', () => {
  const { clock, limit, set, log, messages, leave } = reached()
  assert.deepEqual(
    log.lines.map(({ level }) => level),
    ['warn'],
  )
  assert.match(log.lines[0]!.message, /^connection limit \(test\) reached/)
  set.add(new Client(clock.now() - 5_000))
  assert.equal(limit.admit(0, set), true)
  leave(2)
  clock.advance(30_000)
  leave(1)
  clock.advance(9_999)
  assert.equal(log.lines.length, 1)
  clock.advance(1)
  assert.deepEqual(messages()[1], { ...OVER, fields: { closed: 1, refused: 1 } })
  leave(5)
  clock.advance(600_000)
  assert.equal(log.lines.length, 2)
  assert.equal(clock.pending, 0)
})

test('a limit that is reached again within 10 s counts as reached all the time', () => {
  const { clock, limit, set, log, messages, leave, fill } = reached()
  for (let time = 0; time < 5; time++) {
    leave(15)
    clock.advance(9_000)
    fill()
    assert.equal(limit.admit(0, set), false)
  }
  assert.equal(log.lines.length, 1)
  // All connections are in use again, though no further client came.
  leave(15)
  fill()
  clock.advance(14_999)
  assert.equal(log.lines.length, 1)
  leave(3)
  clock.advance(10_000)
  assert.deepEqual(messages().at(-1), { ...OVER, fields: { closed: 0, refused: 6 } })
})

test('while the limit is reached one line a minute counts the clients refused and connections closed since', () => {
  const { clock, limit, set, messages, leave } = reached()
  const counted = () =>
    messages()
      .slice(1)
      .map(({ level, message, fields }) => [level, /still reached/.test(message), fields])
  clock.advance(59_999)
  for (let client = 0; client < 1_000; client++) limit.admit(0, set)
  assert.deepEqual(counted(), [])
  clock.advance(1)
  const first = ['warn', true, { limit: 20, closed: 0, refused: 1_001 }]
  assert.deepEqual(counted(), [first])
  // A minute in which nothing happens is no line.
  clock.advance(60_000)
  assert.deepEqual(counted(), [first])
  set.add(new Client(clock.now() - 5_000))
  limit.admit(0, set)
  limit.admit(0, set)
  clock.advance(60_000)
  const third = ['warn', true, { limit: 20, closed: 1, refused: 1 }]
  assert.deepEqual(counted(), [first, third])
  leave(20)
  clock.advance(10_000)
  assert.deepEqual(messages().at(-1), { ...OVER, fields: { closed: 1, refused: 1_002 } })
})
