import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import type { StopSignal } from '../../process/signals.ts'
import { type Child, type ChildExit, Supervised } from '../../process/supervise.ts'
import { FakeClock } from '../support/clock.ts'

class FakeChild implements Child<string> {
  readonly #ready = Promise.withResolvers<string>()
  readonly #exited = Promise.withResolvers<ChildExit>()
  readonly ready = this.#ready.promise
  readonly exited = this.#exited.promise
  readonly signals: string[] = []

  kill(signal: StopSignal | 'SIGKILL'): void {
    this.signals.push(signal)
  }

  async serve(): Promise<void> {
    this.#ready.resolve('here')
    await iterationEnd()
  }

  async end(exit: ChildExit = { code: 1, signal: null }): Promise<void> {
    this.#exited.resolve(exit)
    await iterationEnd()
  }
}

function setUp() {
  const clock = new FakeClock()
  const children: FakeChild[] = []
  const events: string[] = []
  const supervised = new Supervised<string>({
    clock,
    random: () => 1,
    start: () => {
      const child = new FakeChild()
      children.push(child)
      return child
    },
    onReady: (ready) => events.push(`ready ${ready}`),
    onCrash: (exit, wait) => events.push(`crash ${exit.signal ?? exit.code} ${wait}`),
    onOverdue: (grace) => events.push(`overdue ${grace}`),
  })
  return { clock, children, events, supervised }
}

async function started() {
  const all = setUp()
  const first = all.supervised.start()
  await all.children[0]!.serve()
  assert.deepEqual(await first, { ready: 'here' })
  return all
}

test('a child that ends before it served is not restarted', async () => {
  const { supervised, children, clock, events } = setUp()
  const first = supervised.start()
  await children[0]!.end({ code: 1, signal: null })
  assert.deepEqual(await first, { exit: { code: 1, signal: null } })
  clock.advance(60_000)
  assert.equal(children.length, 1)
  assert.deepEqual(events, [])
})

test('a first child whose restart is requested during its start is stopped when it serves', async () => {
  const { supervised, children, clock } = setUp()
  const first = supervised.start()
  supervised.restart()
  assert.deepEqual(children[0]!.signals, [])
  await children[0]!.serve()
  assert.deepEqual(await first, { ready: 'here' })
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  await children[0]!.end({ code: 0, signal: null })
  clock.advance(100)
  assert.equal(children.length, 2)
})

test('a crashed child is restarted after a wait', async () => {
  const { children, clock, events } = await started()
  await children[0]!.end({ code: null, signal: 'SIGKILL' })
  assert.equal(children.length, 1)
  clock.advance(100)
  assert.equal(children.length, 2)
  await children[1]!.serve()
  assert.deepEqual(events, ['ready here', 'crash SIGKILL 100', 'ready here'])
})

test('a child that exits by itself with 0 is restarted too', async () => {
  const { children, clock } = await started()
  await children[0]!.end({ code: 0, signal: null })
  clock.advance(100)
  assert.equal(children.length, 2)
})

test('waits double up to five seconds while children do not last', async () => {
  const { children, clock, events } = await started()
  for (let index = 0; index < 9; index++) {
    await children[index]!.end()
    clock.advance(5_000)
  }
  const waits = events.filter((event) => event.startsWith('crash')).map((event) => Number(event.split(' ')[2]))
  assert.deepEqual(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
})

test('after a child that served for long, the next wait is the shortest again', async () => {
  const { children, clock, events } = await started()
  await children[0]!.end()
  clock.advance(100)
  await children[1]!.serve()
  clock.advance(10_000)
  await children[1]!.end()
  assert.deepEqual(events.slice(-1), ['crash 1 100'])
})

test('one that took long to start and then crashed had not served for long', async () => {
  const { children, clock, events } = await started()
  await children[0]!.end()
  clock.advance(100)
  clock.advance(20_000)
  await children[1]!.serve()
  await children[1]!.end()
  assert.deepEqual(events.slice(-1), ['crash 1 200'])
})

test('stopping drains the child and waits for its end', async () => {
  const { supervised, children, clock } = await started()
  let stopped = false
  const stop = supervised.stop(8_000).then(() => (stopped = true))
  await iterationEnd()
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  assert.equal(stopped, false)
  await children[0]!.end({ code: 0, signal: null })
  await stop
  clock.advance(60_000)
  assert.equal(children.length, 1)
})

test('a child that is asked to stop is not restarted: a second signal would end it at once', async () => {
  const { supervised, children } = await started()
  const stop = supervised.stop(8_000)
  supervised.restart()
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  await children[0]!.end({ code: 0, signal: null })
  await stop
})

test('a child that does not exit within its grace period is killed, and its end awaited', async () => {
  const { supervised, children, clock, events } = await started()
  let stopped = false
  const stop = supervised.stop(8_000).then(() => (stopped = true))
  clock.advance(7_999)
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  clock.advance(1)
  assert.deepEqual(children[0]!.signals, ['SIGTERM', 'SIGKILL'])
  await iterationEnd()
  assert.equal(stopped, false)
  await children[0]!.end({ code: null, signal: 'SIGKILL' })
  await stop
  assert.deepEqual(events, ['ready here', 'overdue 8000'])
})

test('a child that even SIGKILL does not end is abandoned', async () => {
  const { supervised, children, clock } = await started()
  const stop = supervised.stop(8_000)
  clock.advance(8_000)
  clock.advance(2_000)
  await stop
  assert.deepEqual(children[0]!.signals, ['SIGTERM', 'SIGKILL'])
})

test('a child without a grace period is never killed', async () => {
  const { supervised, children, clock } = await started()
  const stop = supervised.stop(Number.POSITIVE_INFINITY)
  clock.advance(1e12)
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  await children[0]!.end({ code: 0, signal: null })
  await stop
})

test('stopping while a restart is due starts nothing', async () => {
  const { supervised, children, clock } = await started()
  await children[0]!.end()
  await supervised.stop(8_000)
  clock.advance(60_000)
  assert.equal(children.length, 1)
})

test('a stop during a restart stops the new child, and its readiness is not reported', async () => {
  const { supervised, children, clock, events } = await started()
  await children[0]!.end()
  clock.advance(100)
  const stop = supervised.stop(8_000)
  await children[1]!.serve()
  assert.deepEqual(children[1]!.signals, ['SIGTERM'])
  await children[1]!.end({ code: 0, signal: null })
  await stop
  assert.deepEqual(events, ['ready here', 'crash 1 100'])
})

test('stopping during the first start stops it', async () => {
  const { supervised, children } = setUp()
  const first = supervised.start()
  const stop = supervised.stop(8_000)
  assert.deepEqual(children[0]!.signals, ['SIGTERM'])
  await children[0]!.end({ code: 0, signal: null })
  await stop
  assert.deepEqual(await first, { exit: { code: 0, signal: null } })
})

test('kill() ends the child immediately, and starts no other', async () => {
  const { supervised, children, clock } = await started()
  supervised.kill()
  assert.deepEqual(children[0]!.signals, ['SIGKILL'])
  await children[0]!.end({ code: null, signal: 'SIGKILL' })
  clock.advance(60_000)
  assert.equal(children.length, 1)
})

test('a child gets the given signal once', async () => {
  const { supervised, children } = await started()
  const stopped = supervised.stop(1_000, 'SIGINT')
  await children[0]!.end({ code: 0, signal: null })
  assert.deepEqual(await stopped, { code: 0, signal: null })
  assert.deepEqual(children[0]!.signals, ['SIGINT'])
})
