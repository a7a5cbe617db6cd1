import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type ChildLink, Reloader } from '../../dev/reloader.ts'
import type { StopSignal } from '../../process/signals.ts'
import type { Child, ChildExit } from '../../process/supervise.ts'
import { FakeClock } from '../support/clock.ts'

class FakeChild implements Child<string> {
  readonly name: string
  readonly #ready = Promise.withResolvers<string>()
  readonly #exited = Promise.withResolvers<ChildExit>()
  readonly ready = this.#ready.promise
  readonly exited = this.#exited.promise
  readonly signals: string[] = []
  ended = false
  /** A process that waits for a device: no signal ends it. */
  deaf = false

  constructor(name: string) {
    this.name = name
  }

  kill(signal: StopSignal | 'SIGKILL'): void {
    this.signals.push(signal)
    if (signal === 'SIGKILL' && !this.deaf) this.end(null, signal)
  }

  end(code: number | null, signal: string | null = null): void {
    this.ended = true
    this.#exited.resolve({ code, signal })
  }

  load(): void {
    this.#ready.resolve(this.name)
  }
}

class Fixture {
  readonly clock = new FakeClock()
  readonly events: string[] = []
  readonly children: FakeChild[] = []
  /** If set, connections are ready immediately. */
  linking: PromiseWithResolvers<void> | undefined
  readonly reloader = new Reloader<string>({
    clock: this.clock,
    random: () => 1,
    grace: 5_000,
    start: () => {
      const child = new FakeChild(String(this.children.length + 1))
      this.children.push(child)
      return child
    },
    connect: (name): ChildLink => ({
      ready: this.linking?.promise ?? Promise.resolve(),
      stop: () => this.events.push(`${name} gets nothing new`),
    }),
    onLoading: () => this.events.push('loading'),
    onServing: (child) => this.events.push(`${(child as FakeChild).name} serves`),
    onFailed: (child, { code }) => this.events.push(`${(child as FakeChild).name} failed with ${code}`),
    onCrashed: (child, { code }, wait) =>
      this.events.push(`${(child as FakeChild).name} crashed with ${code}, again in ${wait}`),
  })

  /** The events since the last call. */
  async happened(): Promise<string[]> {
    await turn()
    await turn()
    return this.events.splice(0)
  }

  get last(): FakeChild {
    return this.children.at(-1)!
  }

  get running(): number {
    return this.children.filter(({ ended }) => !ended).length
  }

  /** A change, and the delay after it. */
  change(): void {
    this.reloader.changed()
    this.clock.advance(60)
  }
}

async function serving(): Promise<Fixture> {
  const fixture = new Fixture()
  fixture.reloader.start()
  fixture.last.load()
  assert.deepEqual(await fixture.happened(), ['loading', '1 serves'])
  return fixture
}

describe('a change', () => {
  it('starts another process, which takes over before the previous one is asked to end', async () => {
    const fixture = await serving()
    fixture.change()
    assert.deepEqual(await fixture.happened(), ['loading'])
    assert.deepEqual(fixture.children[0]!.signals, [])
    fixture.last.load()
    assert.deepEqual(await fixture.happened(), ['1 gets nothing new', '2 serves'])
    assert.deepEqual(fixture.children[0]!.signals, ['SIGTERM'])
  })

  it('waits for others, but not for ever', async () => {
    const fixture = await serving()
    for (let saved = 0; saved < 30; saved++) {
      fixture.reloader.changed()
      fixture.clock.advance(50)
    }
    assert.equal(fixture.children.length, 2)
    fixture.clock.advance(1_000)
    await turn()
    // The process that was loading was ended because of the last change.
    assert.equal(fixture.children.length, 3)
  })

  it('ends a process that still loads, and begins only once that has ended', async () => {
    const fixture = await serving()
    fixture.change()
    await fixture.happened()
    const hanging = fixture.last
    hanging.kill = (signal) => hanging.signals.push(signal)
    fixture.change()
    await fixture.happened()
    assert.deepEqual(hanging.signals, ['SIGKILL'])
    assert.equal(fixture.children.length, 2)
    hanging.end(null, 'SIGKILL')
    assert.deepEqual(await fixture.happened(), ['loading'])
    fixture.last.load()
    assert.deepEqual(await fixture.happened(), ['1 gets nothing new', '3 serves'])
  })

  it('while a process that is ready is being linked turns that one back', async () => {
    const fixture = await serving()
    fixture.linking = Promise.withResolvers()
    fixture.change()
    fixture.last.load()
    await fixture.happened()
    fixture.change()
    assert.deepEqual(await fixture.happened(), ['2 gets nothing new', 'loading'])
    assert.equal(fixture.running, 2)
  })

  it('during the end of a process that was turned back is one start, not two', async () => {
    const fixture = await serving()
    fixture.change()
    const hanging = fixture.last
    hanging.kill = () => 0
    for (const _ of [1, 2, 3]) fixture.change()
    await turn()
    hanging.end(null, 'SIGKILL')
    await fixture.happened()
    assert.equal(fixture.children.length, 3)
  })
})

describe('a process that does not come up', () => {
  it('does not affect the previous process', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.last.end(1)
    assert.deepEqual(await fixture.happened(), ['loading', '2 failed with 1'])
    fixture.clock.advance(60_000)
    assert.deepEqual(await fixture.happened(), [])
    assert.deepEqual(fixture.children[0]!.signals, [])
  })

  it('also when it ends after it was ready and before it is linked', async () => {
    const fixture = await serving()
    fixture.linking = Promise.withResolvers()
    fixture.change()
    fixture.last.load()
    await turn()
    fixture.last.end(1)
    assert.deepEqual(await fixture.happened(), ['loading', '2 gets nothing new', '2 failed with 1'])
  })

  it('is not tried again before a change', async () => {
    const fixture = new Fixture()
    fixture.reloader.start()
    fixture.last.end(1)
    assert.deepEqual(await fixture.happened(), ['loading', '1 failed with 1'])
    fixture.clock.advance(60_000)
    assert.equal(fixture.children.length, 1)
    fixture.change()
    fixture.last.load()
    assert.deepEqual(await fixture.happened(), ['loading', '2 serves'])
  })
})

describe('a crash', () => {
  it('is followed by another start, later each time', async () => {
    const fixture = await serving()
    for (const wait of [100, 200]) {
      const { name } = fixture.last
      fixture.last.end(1)
      assert.deepEqual(await fixture.happened(), [
        `${name} gets nothing new`,
        `${name} crashed with 1, again in ${wait}`,
      ])
      fixture.clock.advance(wait)
      fixture.last.load()
      await fixture.happened()
    }
    fixture.clock.advance(10_000)
    fixture.last.end(1)
    assert.deepEqual((await fixture.happened()).at(-1), '3 crashed with 1, again in 100')
  })

  it('does not put off a reload that is due', async () => {
    const fixture = await serving()
    fixture.reloader.changed()
    fixture.last.end(1)
    await fixture.happened()
    fixture.clock.advance(60)
    assert.equal(fixture.children.length, 2)
    fixture.clock.advance(60_000)
    assert.equal(fixture.children.length, 2)
  })

  it('while another loads starts no third', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.children[0]!.end(1)
    await fixture.happened()
    fixture.clock.advance(60_000)
    assert.equal(fixture.children.length, 2)
    fixture.last.load()
    assert.deepEqual(await fixture.happened(), ['2 serves'])
  })
})

describe('processes that were replaced', () => {
  it('are ended when their grace is over', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.last.load()
    await fixture.happened()
    fixture.clock.advance(5_000)
    assert.deepEqual(fixture.children[0]!.signals, ['SIGTERM', 'SIGKILL'])
  })

  it('are few: the eldest goes first', async () => {
    const fixture = await serving()
    for (let edit = 0; edit < 20; edit++) {
      fixture.change()
      fixture.last.load()
      await fixture.happened()
    }
    assert.equal(fixture.running, 4)
    assert.deepEqual(fixture.children[0]!.signals, ['SIGTERM', 'SIGKILL'])
    assert.deepEqual(fixture.children[19]!.signals, ['SIGTERM'])
  })
})

describe('stopping', () => {
  it('waits for every process', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.last.load()
    await fixture.happened()
    let stopped = false
    void fixture.reloader.stop(1_000).then(() => {
      stopped = true
    })
    fixture.children[1]!.end(0)
    await fixture.happened()
    assert.equal(stopped, false)
    fixture.children[0]!.end(0)
    await fixture.happened()
    assert.equal(stopped, true)
  })

  for (const moment of ['it loads', 'it is linked'] as const) {
    it(`while ${moment} leaves no process`, async () => {
      const fixture = await serving()
      fixture.linking = Promise.withResolvers()
      fixture.change()
      if (moment === 'it is linked') fixture.last.load()
      await turn()
      const stopped = fixture.reloader.stop(1_000)
      fixture.linking.resolve()
      for (const child of fixture.children) child.end(0)
      await stopped
      fixture.clock.advance(60_000)
      assert.equal(fixture.running, 0)
      assert.equal(fixture.children.length, 2)
    })
  }

  it('in the very moment in which a process comes to serve ends that one', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.last.load()
    const stopped = fixture.reloader.stop(1_000)
    fixture.children[0]!.end(0)
    await fixture.happened()
    assert.notDeepEqual(fixture.last.signals, [])
    fixture.last.end(0)
    await stopped
  })

  it('ends those that take too long', async () => {
    const fixture = await serving()
    const stopped = fixture.reloader.stop(1_000)
    assert.deepEqual(fixture.last.signals, ['SIGTERM'])
    fixture.clock.advance(1_000)
    await stopped
    assert.deepEqual(fixture.last.signals, ['SIGTERM', 'SIGKILL'])
  })

  it('at the moment when a process is linked passes its signal on to that process', async () => {
    const fixture = await serving()
    fixture.linking = Promise.withResolvers()
    fixture.change()
    fixture.last.load()
    await turn()
    fixture.linking.resolve()
    await Promise.resolve()
    const stopped = fixture.reloader.stop(1_000, 'SIGHUP')
    await fixture.happened()
    assert.deepEqual(
      fixture.children.map(({ signals }) => signals),
      [['SIGHUP'], ['SIGHUP']],
    )
    for (const child of fixture.children) child.end(0)
    await stopped
  })

  it('passes its signal on to the process that serves', async () => {
    const fixture = await serving()
    fixture.change()
    fixture.last.load()
    await fixture.happened()
    const stopped = fixture.reloader.stop(1_000, 'SIGINT')
    assert.deepEqual(
      fixture.children.map(({ signals }) => signals),
      [['SIGTERM'], ['SIGINT']],
    )
    fixture.children[0]!.end(0)
    fixture.children[1]!.end(7)
    assert.deepEqual(await stopped, { code: 7, signal: null })
  })

  it('abandons a child that even SIGKILL does not end', async () => {
    const fixture = await serving()
    fixture.last.deaf = true
    const stopped = fixture.reloader.stop(1_000)
    fixture.clock.advance(1_000)
    fixture.clock.advance(2_000)
    await stopped
  })

  it('is not disturbed by changes', async () => {
    const fixture = await serving()
    void fixture.reloader.stop(1_000)
    fixture.change()
    fixture.children[0]!.end(0)
    await fixture.happened()
    fixture.clock.advance(60_000)
    assert.equal(fixture.children.length, 1)
  })
})
