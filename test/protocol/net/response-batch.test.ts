import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, it } from 'node:test'
import { type Flushable, ResponseBatch } from '../../../protocol/net/response-batch.ts'
import { FakeClock } from '../../support/clock.ts'
import { busyIteration, iterationEnd } from '../../support/event-loop.ts'

interface Scene {
  clock: FakeClock
  batch: ResponseBatch
  /** The names of the connections that were flushed. */
  flushed: string[]
  named(name: string): Flushable
}

function scene(): Scene {
  const clock = new FakeClock()
  const flushed: string[] = []
  return {
    clock,
    batch: ResponseBatch.of(clock),
    flushed,
    named: (name) => ({ flushBatched: () => flushed.push(name) }),
  }
}

/** As `scene`, after an iteration with several connections. */
async function busyScene(): Promise<Scene> {
  const made = scene()
  await busyIteration(made.clock)
  return made
}

describe('a batch of responses', () => {
  it('flushes connections at the end of the event-loop iteration, in the order in which they were added', async () => {
    const { batch, flushed, named } = await busyScene()
    batch.add(named('one'))
    await Promise.resolve()
    batch.add(named('two'))
    assert.deepEqual(flushed, [])
    await iterationEnd()
    assert.deepEqual(flushed, ['one', 'two'])
  })

  it('flushes a connection once, however often it is added', async () => {
    const { batch, flushed, named } = await busyScene()
    const one = named('one')
    for (let times = 0; times < 3; times++) batch.add(one)
    await iterationEnd()
    assert.deepEqual(flushed, ['one'])
    batch.add(one)
    await iterationEnd()
    assert.deepEqual(flushed, ['one', 'one'])
  })

  it('flushes the first connection of an iteration at once if the iteration before had only one', async () => {
    const { batch, flushed, named } = scene()
    batch.add(named('one'))
    assert.deepEqual(flushed, ['one'])
    batch.add(named('two'))
    assert.deepEqual(flushed, ['one'])
    await iterationEnd()
    assert.deepEqual(flushed, ['one', 'two'])
    batch.add(named('waits'))
    assert.deepEqual(flushed, ['one', 'two'])
    await iterationEnd()
    batch.add(named('alone again'))
    assert.deepEqual(flushed, ['one', 'two', 'waits', 'alone again'])
  })

  it('flushes before the end of an iteration that takes longer than a millisecond', async () => {
    const { clock, batch, flushed, named } = await busyScene()
    batch.add(named('quick'))
    clock.advance(2)
    batch.add(named('slow'))
    assert.deepEqual(flushed, ['quick', 'slow'])
    batch.add(named('next'))
    assert.deepEqual(flushed, ['quick', 'slow'])
    clock.advance(2)
    batch.add(named('last'))
    assert.deepEqual(flushed, ['quick', 'slow', 'next', 'last'])
  })

  it('flushes the first connection at once after an iteration that took longer than a millisecond', async () => {
    const { clock, batch, flushed, named } = await busyScene()
    batch.add(named('a'))
    clock.advance(2)
    batch.add(named('b'))
    await iterationEnd()
    flushed.length = 0
    batch.add(named('first'))
    assert.deepEqual(flushed, ['first'])
    batch.add(named('second'))
    await iterationEnd()
    batch.add(named('third'))
    assert.deepEqual(flushed, ['first', 'second'])
  })

  it('counts the time anew in each iteration', async () => {
    const { clock, batch, flushed, named } = await busyScene()
    for (const name of ['a', 'b']) batch.add(named(name))
    await iterationEnd()
    clock.advance(2)
    flushed.length = 0
    batch.add(named('one'))
    assert.deepEqual(flushed, [])
    await iterationEnd()
    assert.deepEqual(flushed, ['one'])
  })

  it('flushes a connection that is added during a flush', async () => {
    const { batch, flushed, named } = await busyScene()
    batch.add({ flushBatched: () => batch.add(named('later')) })
    await iterationEnd()
    await iterationEnd()
    assert.deepEqual(flushed, ['later'])
  })

  it('flushes the others if one connection throws, and raises an uncaught exception', async () => {
    const { batch, flushed, named } = await busyScene()
    const raised: string[] = []
    const uncaught = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => raised.push(error.message))
    try {
      batch.add({
        flushBatched() {
          throw new Error('broken')
        },
      })
      batch.add(named('one'))
      await iterationEnd()
      await iterationEnd()
      assert.deepEqual(flushed, ['one'])
      assert.deepEqual(raised, ['broken'])
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of uncaught) process.on('uncaughtException', listener)
    }
  })

  it('flushes each connection in an async context of its own', async () => {
    const { batch } = await busyScene()
    const store: AsyncLocalStorage<string> = new AsyncLocalStorage()
    const found: unknown[] = []
    // The end of the iteration is scheduled by one of those that are added.
    store.run('the first that was added', () => {
      for (const name of ['one', 'two']) {
        batch.add({
          flushBatched() {
            found.push(store.getStore())
            store.enterWith(name)
          },
        })
      }
    })
    await iterationEnd()
    assert.deepEqual(found, [undefined, undefined])
  })

  it('is shared by all connections with the same clock', () => {
    const clock = new FakeClock()
    assert.equal(ResponseBatch.of(clock), ResponseBatch.of(clock))
    assert.notEqual(ResponseBatch.of(clock), ResponseBatch.of(new FakeClock()))
  })
})
