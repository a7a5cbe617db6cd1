import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientKey } from '../../../protocol/client/client-shares.ts'
import type { AbortError } from '../../../protocol/contract/errors.ts'
import { ConnectionLimit, type LimitedConnection } from '../../../protocol/net/connection-limit.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'

class Client implements LimitedConnection {
  waitingSince: number
  dismissed = false
  /** A request has arrived and was not read yet. */
  asks = false
  share: ClientKey | undefined = undefined
  stalledSince: number = Number.POSITIVE_INFINITY
  ended: AbortError | undefined

  constructor(waitingSince: number) {
    this.waitingSince = waitingSince
  }

  reset(reason: AbortError): void {
    this.ended = reason
  }

  evict(): boolean {
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

test('of connections that are idle for less than a second, the one idle for longest makes room', () => {
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

/** Connections of clients by name: `a` has been idle for five seconds, `A` is busy. */
function shared(most: number, names: string) {
  const made = setUp(
    most,
    [...names].map((name) => (name === name.toUpperCase() ? -BUSY : 5_000)),
  )
  for (const [at, client] of made.clients.entries()) {
    client.share = names[at]!.toLowerCase()
    made.limit.entered(client)
  }
  const ended = (): string =>
    made.clients.flatMap(({ dismissed, ended }, at) => (dismissed || ended ? names[at]! : [])).join('')
  return { ...made, ended }
}

test('of idle connections those of the client that has most are closed first', () => {
  const { limit, set, ended } = shared(6, 'baaAcc')
  assert.equal(limit.admitFrom('d', 0, set), true)
  assert.equal(ended(), 'a')
})

test('no idle connection is closed for a client that has more connections', () => {
  const { limit, set, ended } = shared(5, 'bAAAA')
  assert.equal(limit.admitFrom('a', 0, set), false)
  assert.equal(ended(), '')
  assert.equal(limit.admitFrom('c', 0, set), true)
  assert.equal(ended(), 'b')
})

test('one client has nine tenths of the connections at most, and replaces its own idle ones from there', () => {
  const { limit, set, ended } = shared(20, 'AAAAAAAAAAAAAAAAAa')
  assert.equal(limit.admitFrom('a', 0, set), true)
  assert.equal(ended(), 'a')
  const busy = shared(20, 'AAAAAAAAAAAAAAAAAA')
  assert.equal(busy.limit.admitFrom('a', 0, busy.set), false)
  assert.equal(busy.limit.admitFrom('b', 0, busy.set), true)
  assert.equal(busy.ended(), '')
})

test('unknown clients do not count as one client', () => {
  const { limit, set } = shared(20, 'AAAAAAAAAAAAAAAAAAA')
  for (const client of set) {
    limit.exited(client)
    client.share = undefined
  }
  assert.equal(limit.admitFrom(undefined, 0, set), true)
})

test('if all connections are busy, one that has been stalled for half a second is reset for a client with fewer', () => {
  const { limit, set, clients, clock, ended, log } = shared(4, 'AAAB')
  clients[1]!.stalledSince = clock.now() - 499
  assert.equal(limit.admitFrom('c', 0, set), false)
  clients[2]!.stalledSince = clock.now() - 900
  clients[3]!.stalledSince = clock.now() - 9_000
  // One walk through all connections each tenth of a second.
  assert.equal(limit.admitFrom('c', 0, set), false)
  clock.advance(100)
  assert.equal(limit.admitFrom('c', 0, set), true)
  assert.equal(ended(), 'A')
  assert.equal(clients[2]!.ended?.code, 'SLOW_CLIENT')
  assert.match(
    clients[2]!.ended!.message,
    /^slow client: moved no byte of its request or response for 1\.0 s, .*\(test\)/,
  )
  assert.equal(set.size, 3)
  assert.ok(log.lines.length > 0)
})

test('a connection that has ended is not counted for its client', () => {
  const { limit, set, clients } = shared(20, 'AAAAAAAAAAAAAAAAAA')
  set.delete(clients[0]!)
  limit.exited(clients[0]!)
  assert.equal(limit.admitFrom('a', 0, set), true)
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
