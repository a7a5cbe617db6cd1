import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { defaultTimeouts } from '../../../protocol/http1/options.ts'
import { Deadlines } from '../../../protocol/net/clock.ts'
import { type Wait, type Waiter, Waits } from '../../../protocol/net/waits.ts'
import { FakeClock } from '../../support/clock.ts'

class Told implements Waiter {
  readonly said: string[] = []
  taken = 0
  backlog = 0
  received = 0
  waitedTooLong(wait: Wait): void {
    this.said.push(wait)
  }
  stalled(): void {
    this.said.push('stalled')
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

function waiting(): { clock: FakeClock; told: Told; waits: Waits } {
  const clock = new FakeClock()
  const told = new Told()
  return { clock, told, waits: new Waits(told, timeouts, clock, new Deadlines(clock, 100)) }
}

describe('waits', () => {
  it('tell once when one was too long', () => {
    const { clock, told, waits } = waiting()
    waits.for('head')
    clock.advance(9_900)
    assert.deepEqual(told.said, [])
    clock.advance(300)
    assert.deepEqual(told.said, ['head'])
    clock.advance(100_000)
    assert.deepEqual(told.said, ['head'])
  })

  it('keep the deadline of what is waited for already', () => {
    const { clock, told, waits } = waiting()
    waits.for('head')
    clock.advance(9_000)
    waits.for('head')
    clock.advance(1_200)
    assert.deepEqual(told.said, ['head'])
  })

  it('begin anew after progress', () => {
    const { clock, told, waits } = waiting()
    waits.for('body')
    for (let at = 0; at < 5; at++) {
      clock.advance(19_000)
      waits.anew('body')
    }
    assert.deepEqual(told.said, [])
  })

  it('stop when there is nothing to wait for', () => {
    const { clock, told, waits } = waiting()
    waits.for('next-request')
    waits.for('nothing')
    clock.advance(1_000_000)
    assert.deepEqual(told.said, [])
    assert.equal(waits.deadline, Number.POSITIVE_INFINITY)
  })

  it('tell of writing that makes no progress', () => {
    const { clock, told, waits } = waiting()
    told.backlog = 100
    waits.written(100)
    clock.advance(8_200)
    assert.deepEqual(told.said, ['stalled'])
  })

  it('forgive slow writing that makes some', () => {
    const { clock, told, waits } = waiting()
    told.backlog = 100
    waits.written(100)
    for (let at = 0; at < 5; at++) {
      clock.advance(7_000)
      told.taken++
      told.backlog--
    }
    assert.deepEqual(told.said, [])
    clock.advance(17_000)
    assert.deepEqual(told.said, ['stalled'])
  })

  it('know when all is written', () => {
    const { clock, told, waits } = waiting()
    told.backlog = 100
    waits.written(100)
    told.backlog = 0
    waits.written(0)
    clock.advance(100_000)
    assert.deepEqual(told.said, [])
  })

  it('find a stall no later than a quarter of the timeout after the last progress', () => {
    const { clock, told, waits } = waiting()
    told.backlog = 1_000
    waits.written(1_000)
    for (let at = 0; at < 30; at++) {
      clock.advance(1_100)
      told.taken++
    }
    assert.deepEqual(told.said, [])
    clock.advance(7_900)
    assert.deepEqual(told.said, [])
    clock.advance(LATE + 100)
    assert.deepEqual(told.said, ['stalled'])
  })

  it('do not count the time before a write against it', () => {
    const { clock, told, waits } = waiting()
    told.backlog = 1
    waits.written(1)
    // The client accepted everything; no callback said so.
    clock.advance(1_000)
    told.taken = 1
    told.backlog = 0
    clock.advance(6_900)
    told.backlog = 1
    waits.written(1)
    clock.advance(7_900)
    assert.deepEqual(told.said, [])
    clock.advance(LATE)
    assert.deepEqual(told.said, ['stalled'])
  })

  it('keep reading and writing apart', () => {
    const { clock, told, waits } = waiting()
    waits.for('head')
    told.backlog = 1
    waits.written(1)
    clock.advance(3_000)
    told.backlog = 0
    waits.written(0)
    clock.advance(7_300)
    assert.deepEqual(told.said, ['head'])
  })

  it('watch an upgraded connection for a stall without being called for writes', () => {
    const { clock, told, waits } = waiting()
    waits.upgraded()
    clock.advance(30_900)
    told.backlog = 50
    clock.advance(7_900)
    assert.deepEqual(told.said, [])
    told.taken += 10
    clock.advance(7_900)
    assert.deepEqual(told.said, [])
    clock.advance(LATE)
    assert.deepEqual(told.said, ['stalled'])
  })

  it('end only an upgraded connection that is silent in both directions', () => {
    for (const direction of ['taken', 'received'] as const) {
      const { clock, told, waits } = waiting()
      waits.upgraded()
      for (let at = 0; at < 6; at++) {
        clock.advance(39_000)
        told[direction]++
      }
      assert.deepEqual(told.said, [])
      clock.advance(39_900)
      assert.deepEqual(told.said, [])
      clock.advance(10_500)
      assert.deepEqual(told.said, ['upgraded'])
    }
  })

  it('let an upgraded connection be silent without a limit if no timeout is set', () => {
    const clock = new FakeClock()
    const told = new Told()
    const waits = new Waits(told, defaultTimeouts, clock, new Deadlines(clock, 100))
    waits.upgraded()
    clock.advance(1_000_000_000)
    assert.deepEqual(told.said, [])
  })

  it('leave no timer when they stop', () => {
    const { clock, told, waits } = waiting()
    waits.for('head')
    waits.stop()
    clock.advance(100_000)
    assert.deepEqual(told.said, [])
    assert.equal(clock.pending, 0)
  })
})
