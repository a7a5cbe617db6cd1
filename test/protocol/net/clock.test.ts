import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Deadlines, type Expirable, systemClock } from '../../../protocol/net/clock.ts'
import { FakeClock } from '../../support/clock.ts'

class Item implements Expirable {
  deadline: number
  place = -1
  expired = 0
  onExpire: () => void = () => {}
  constructor(deadline: number) {
    this.deadline = deadline
  }
  expire(): void {
    this.expired++
    this.onExpire()
  }
}

describe('deadlines', () => {
  it('expire once each, never early and at most a tick late', () => {
    const clock = new FakeClock()
    const deadlines = new Deadlines(clock, 100)
    const item = new Item(clock.now() + 150)
    deadlines.add(item)
    clock.advance(149)
    assert.equal(item.expired, 0)
    clock.advance(100)
    assert.equal(item.expired, 1)
    clock.advance(1_000)
    assert.equal(item.expired, 1)
    assert.equal(item.deadline, Number.POSITIVE_INFINITY)
  })

  it('may be moved by an assignment', () => {
    const clock = new FakeClock()
    const deadlines = new Deadlines(clock, 100)
    const item = new Item(clock.now() + 100)
    deadlines.add(item)
    item.deadline += 500
    clock.advance(599)
    assert.equal(item.expired, 0)
    clock.advance(101)
    assert.equal(item.expired, 1)
  })

  it('that passed while this process was stopped expire after its sockets were read', async () => {
    const clock = new FakeClock()
    const deadlines = new Deadlines(clock, 100)
    const [answered, late] = [new Item(clock.now() + 1_000), new Item(clock.now() + 1_000)]
    for (const item of [answered, late]) deadlines.add(item)
    clock.pause(60_000)
    assert.deepEqual([answered.expired, late.expired], [0, 0])
    answered.deadline = Number.POSITIVE_INFINITY
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual([answered.expired, late.expired, clock.pending], [0, 1, 1])
  })

  it('keep no timer when nothing is watched', () => {
    const clock = new FakeClock()
    const deadlines = new Deadlines(clock, 100)
    const item = new Item(Number.POSITIVE_INFINITY)
    deadlines.add(item)
    assert.equal(clock.pending, 1)
    deadlines.delete(item)
    clock.advance(100)
    assert.equal(clock.pending, 0)
    deadlines.add(item)
    assert.equal(clock.pending, 1)
  })

  it('expire all that have passed, even if others are added and deleted meanwhile', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ due: fc.boolean(), removes: fc.nat(9), adds: fc.boolean() }), { maxLength: 10 }),
        (plan) => {
          const clock = new FakeClock()
          const deadlines = new Deadlines(clock, 10)
          const removed = new Set<Item>()
          const items = plan.map(({ due }) => new Item(clock.now() + (due ? 5 : 1_000)))
          items.forEach((item, at) => {
            deadlines.add(item)
            item.onExpire = () => {
              deadlines.delete(item)
              const victim = items[plan[at]!.removes]
              if (victim && victim.expired === 0) {
                deadlines.delete(victim)
                removed.add(victim)
              }
              if (plan[at]!.adds) deadlines.add(new Item(clock.now() + 1_000))
            }
          })
          clock.advance(10)
          items.forEach((item, at) => {
            if (removed.has(item)) assert.equal(item.expired, 0)
            else assert.equal(item.expired, plan[at]!.due ? 1 : 0)
          })
        },
      ),
    )
  })
})

describe('the system clock', () => {
  it('does not call back at once for Infinity or a month, unlike a timer of Node', async () => {
    let called = false
    systemClock.after(Number.POSITIVE_INFINITY, () => (called = true))
    const month = systemClock.after(31 * 24 * 3600 * 1000, () => (called = true))
    // Timers fire in the order of their times: one of 1 ms, which Node makes of Infinity, comes before this.
    await new Promise<void>((resolve) => setTimeout(resolve, 5))
    assert.equal(called, false)
    month.cancel()
  })
})
