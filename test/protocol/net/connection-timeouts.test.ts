import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { defaultTimeouts } from '../../../protocol/http1/options.ts'
import { Deadlines } from '../../../protocol/net/clock.ts'
import { type AwaitedRead, ConnectionTimeouts, type TimeoutOwner } from '../../../protocol/net/connection-timeouts.ts'
import { FakeClock } from '../../support/clock.ts'

class Owner implements TimeoutOwner {
  readonly calls: string[] = []
  bytesAccepted = 0
  backlog = 0
  bytesReceived = 0
  timedOut(awaited: AwaitedRead): void {
    this.calls.push(awaited)
  }
  stalled(): void {
    this.calls.push('stalled')
  }
}

const timeouts = {
  ...defaultTimeouts,
  head: 10_000,
  body: 20_000,
  keepAlive: 5_000,
  write: 8_000,
  linger: 2_000,
  upgradeIdle: 40_000,
}
/** Progress is checked four times per timeout, and deadlines every 100 ms: a stall may be noticed this much later. */
const LATE = 2_000 + 4 * 100

function waiting(): { clock: FakeClock; owner: Owner; connection: ConnectionTimeouts } {
  const clock = new FakeClock()
  const owner = new Owner()
  return { clock, owner, connection: new ConnectionTimeouts(owner, timeouts, clock, new Deadlines(clock, 100)) }
}

describe('the timeouts of a connection', () => {
  it('report a timeout once', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('head')
    clock.advance(9_900)
    assert.deepEqual(owner.calls, [])
    clock.advance(300)
    assert.deepEqual(owner.calls, ['head'])
    clock.advance(100_000)
    assert.deepEqual(owner.calls, ['head'])
  })

  it('keep the deadline if the connection already waits for the same', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('head')
    clock.advance(9_000)
    connection.waitFor('head')
    clock.advance(1_200)
    assert.deepEqual(owner.calls, ['head'])
  })

  it('restart after progress', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('body')
    for (let at = 0; at < 5; at++) {
      clock.advance(19_000)
      connection.restart('body')
    }
    assert.deepEqual(owner.calls, [])
  })

  it('end when the connection waits for nothing', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('next-request')
    connection.waitFor('nothing')
    clock.advance(1_000_000)
    assert.deepEqual(owner.calls, [])
    assert.equal(connection.deadline, Number.POSITIVE_INFINITY)
  })

  it('report output of which no byte is accepted', () => {
    const { clock, owner, connection } = waiting()
    owner.backlog = 100
    connection.written(100)
    clock.advance(8_200)
    assert.deepEqual(owner.calls, ['stalled'])
  })

  it('do not report output that is accepted slowly', () => {
    const { clock, owner, connection } = waiting()
    owner.backlog = 100
    connection.written(100)
    for (let at = 0; at < 5; at++) {
      clock.advance(7_000)
      owner.bytesAccepted++
      owner.backlog--
    }
    assert.deepEqual(owner.calls, [])
    clock.advance(17_000)
    assert.deepEqual(owner.calls, ['stalled'])
  })

  it('end when all output is written', () => {
    const { clock, owner, connection } = waiting()
    owner.backlog = 100
    connection.written(100)
    owner.backlog = 0
    connection.written(0)
    clock.advance(100_000)
    assert.deepEqual(owner.calls, [])
  })

  it('report a stall no later than a quarter of the timeout after the last progress', () => {
    const { clock, owner, connection } = waiting()
    owner.backlog = 1_000
    connection.written(1_000)
    for (let at = 0; at < 30; at++) {
      clock.advance(1_100)
      owner.bytesAccepted++
    }
    assert.deepEqual(owner.calls, [])
    clock.advance(7_900)
    assert.deepEqual(owner.calls, [])
    clock.advance(LATE + 100)
    assert.deepEqual(owner.calls, ['stalled'])
  })

  it('do not count the time before a write', () => {
    const { clock, owner, connection } = waiting()
    owner.backlog = 1
    connection.written(1)
    // The client accepted everything; no callback said so.
    clock.advance(1_000)
    owner.bytesAccepted = 1
    owner.backlog = 0
    clock.advance(6_900)
    owner.backlog = 1
    connection.written(1)
    clock.advance(7_900)
    assert.deepEqual(owner.calls, [])
    clock.advance(LATE)
    assert.deepEqual(owner.calls, ['stalled'])
  })

  it('are independent for reading and writing', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('head')
    owner.backlog = 1
    connection.written(1)
    clock.advance(3_000)
    owner.backlog = 0
    connection.written(0)
    clock.advance(7_300)
    assert.deepEqual(owner.calls, ['head'])
  })

  it('watch an upgraded connection for a stall without being called for writes', () => {
    const { clock, owner, connection } = waiting()
    connection.upgraded()
    clock.advance(30_900)
    owner.backlog = 50
    clock.advance(7_900)
    assert.deepEqual(owner.calls, [])
    owner.bytesAccepted += 10
    clock.advance(7_900)
    assert.deepEqual(owner.calls, [])
    clock.advance(LATE)
    assert.deepEqual(owner.calls, ['stalled'])
  })

  it('end only an upgraded connection that is silent in both directions', () => {
    for (const direction of ['bytesAccepted', 'bytesReceived'] as const) {
      const { clock, owner, connection } = waiting()
      connection.upgraded()
      for (let at = 0; at < 6; at++) {
        clock.advance(39_000)
        owner[direction]++
      }
      assert.deepEqual(owner.calls, [])
      clock.advance(39_900)
      assert.deepEqual(owner.calls, [])
      clock.advance(10_500)
      assert.deepEqual(owner.calls, ['upgraded'])
    }
  })

  it('let an upgraded connection be silent without a limit if no timeout is set', () => {
    const clock = new FakeClock()
    const owner = new Owner()
    const connection = new ConnectionTimeouts(owner, defaultTimeouts, clock, new Deadlines(clock, 100))
    connection.upgraded()
    clock.advance(1_000_000_000)
    assert.deepEqual(owner.calls, [])
  })

  it('leave no timer when they stop', () => {
    const { clock, owner, connection } = waiting()
    connection.waitFor('head')
    connection.stop()
    clock.advance(100_000)
    assert.deepEqual(owner.calls, [])
    assert.equal(clock.pending, 0)
  })
})
