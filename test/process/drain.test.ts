/** The states of a stopping server, and their times. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  DRAIN_STATES,
  Drain,
  type DrainEvent,
  type DrainState,
  type DrainTimes,
  nextState,
} from '../../process/drain.ts'
import { FakeClock } from '../support/clock.ts'

const STATES = Object.keys(DRAIN_STATES) as DrainState[]
const EVENTS: DrainEvent[] = ['stop', 'skipNotice', 'elapsed', 'empty']
const usual: DrainTimes = { delay: 5_000, grace: 2_000, timeout: 30_000, settle: 3_000 }

function setUp(times: Partial<DrainTimes> = {}) {
  const clock = new FakeClock()
  return { clock, drain: new Drain(clock, { ...usual, ...times }) }
}

/** Whether `promise` has resolved by now. */
async function isDone(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol()
  return (await Promise.race([promise, new Promise((resolve) => setImmediate(resolve, pending))])) !== pending
}

test('each event leads to the same or to a later state, and every state but serving leads to closed by time alone', () => {
  for (const [at, state] of STATES.entries()) {
    for (const event of EVENTS) assert.ok(STATES.indexOf(nextState(state, event)) >= at, `${state} ${event}`)
    if (state === 'serving') continue
    let last: DrainState = state
    for (let steps = 0; steps < STATES.length; steps++) last = nextState(last, 'elapsed')
    assert.equal(last, 'closed')
  }
  assert.equal(nextState('serving', 'elapsed'), 'serving')
})

test('requests are accepted until applications receive the signal', () => {
  for (const state of STATES) {
    const { listens, draining, ready, lastResponses } = DRAIN_STATES[state]
    assert.equal(listens, !draining, state)
    assert.equal(ready, !lastResponses, state)
  }
})

test('a server passes through the delay, the drain timeout and the time for aborted requests', async () => {
  const { clock, drain } = setUp()
  const notice = drain.stop('nothing')
  assert.equal(drain.state, 'leaving')
  // No connection is open now, but a load balancer may still open one.
  drain.on('empty')
  clock.advance(4_999)
  assert.equal(drain.state, 'leaving')
  assert.equal(await isDone(notice), false)
  clock.advance(1)
  assert.equal(drain.state, 'draining')
  assert.equal(await isDone(notice), true)
  clock.advance(29_999)
  assert.equal(drain.state, 'draining')
  clock.advance(1)
  assert.equal(drain.state, 'aborting')
  clock.advance(3_000)
  assert.equal(drain.state, 'closed')
  assert.equal(clock.pending, 0)
})

test('a drain is over as soon as nothing is left, and leaves no timer', async () => {
  const { clock, drain } = setUp()
  void drain.stop('delay')
  assert.equal(drain.state, 'draining')
  const closed = drain.reached('aborting')
  assert.equal(await isDone(closed), false)
  drain.on('empty')
  assert.equal(drain.state, 'closed')
  assert.equal(await isDone(closed), true)
  assert.equal(clock.pending, 0)
})

test('a drain timeout of none waits for requests without a limit', () => {
  const { clock, drain } = setUp({ timeout: Number.POSITIVE_INFINITY })
  void drain.stop('delay')
  assert.equal(clock.pending, 0)
  assert.equal(drain.grace, 2_000)
})

test('a skipNotice before or during the delay skips the delay and the grace of idle connections', () => {
  const before = setUp()
  void before.drain.stop('nothing', AbortSignal.abort())
  assert.deepEqual([before.drain.state, before.drain.grace], ['draining', 0])

  const during = setUp()
  const skipNotice = new AbortController()
  void during.drain.stop('nothing', skipNotice.signal)
  assert.deepEqual([during.drain.state, during.drain.grace], ['leaving', 2_000])
  skipNotice.abort()
  assert.deepEqual([during.drain.state, during.drain.grace], ['draining', 0])
})

test('without a delay the listeners close at once, and idle connections still have their grace', () => {
  for (const { drain, skipped } of [
    { ...setUp(), skipped: 'delay' as const },
    { ...setUp({ delay: 0 }), skipped: 'nothing' as const },
  ]) {
    void drain.stop(skipped)
    assert.deepEqual([drain.state, drain.grace], ['draining', 2_000])
  }
})

test('the grace takes at most half of the drain timeout: a late request needs time as well', () => {
  assert.equal(setUp({ timeout: 1_000 }).drain.grace, 500)
  assert.equal(setUp({ timeout: 0 }).drain.grace, 0)
})
