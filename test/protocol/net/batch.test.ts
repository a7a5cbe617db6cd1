import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, it } from 'node:test'
import { type Arriving, type Leaving, Turn } from '../../../protocol/net/batch.ts'
import { FakeClock } from '../../support/clock.ts'
import { busyTurn, turnEnd as next } from '../../support/turns.ts'

function scene(): { clock: FakeClock; turn: Turn; left: string[]; named(name: string): Leaving } {
  const clock = new FakeClock()
  const left: string[] = []
  return { clock, turn: Turn.of(clock), left, named: (name) => ({ leave: () => left.push(name) }) }
}

/** A turn after one in which several had something to send. */
async function busyScene(): Promise<ReturnType<typeof scene>> {
  const made = scene()
  await busyTurn(made.clock)
  return made
}

describe('a turn', () => {
  it('lets all that wait leave at its end, in the order in which they came', async () => {
    const { turn, left, named } = await busyScene()
    turn.leave(named('one'))
    await Promise.resolve()
    turn.leave(named('two'))
    assert.deepEqual(left, [])
    await next()
    assert.deepEqual(left, ['one', 'two'])
  })

  it('lets who is alone leave at once, as far as the turn before tells', async () => {
    const { turn, left, named } = scene()
    turn.leave(named('one'))
    assert.deepEqual(left, ['one'])
    turn.leave(named('two'))
    assert.deepEqual(left, ['one'])
    await next()
    assert.deepEqual(left, ['one', 'two'])
    turn.leave(named('waits'))
    assert.deepEqual(left, ['one', 'two'])
    await next()
    turn.leave(named('alone again'))
    assert.deepEqual(left, ['one', 'two', 'waits', 'alone again'])
  })

  it('that takes long lets them leave before, and gathers anew', async () => {
    const { clock, turn, left, named } = await busyScene()
    turn.begin()
    turn.leave(named('quick'))
    clock.advance(2)
    turn.leave(named('slow'))
    assert.deepEqual(left, ['quick', 'slow'])
    turn.leave(named('next'))
    assert.equal(turn.hurry(), false)
    assert.deepEqual(left, ['quick', 'slow'])
    clock.advance(2)
    assert.equal(turn.hurry(), true)
    assert.deepEqual(left, ['quick', 'slow', 'next'])
  })

  it('is over after a turn of the loop, however long it was', async () => {
    const { clock, turn, left, named } = await busyScene()
    turn.begin()
    clock.advance(2)
    for (const name of ['a', 'b']) turn.leave(named(name))
    await next()
    assert.equal(turn.hurry(), false)
    left.length = 0
    turn.leave(named('one'))
    assert.deepEqual(left, [])
    await next()
    assert.deepEqual(left, ['one'])
  })

  it('takes what comes while it lets others leave', async () => {
    const { turn, left, named } = await busyScene()
    turn.leave({ leave: () => turn.leave(named('later')) })
    await next()
    await next()
    assert.deepEqual(left, ['later'])
  })

  it('looks together at what comes, after those who waited for an answer have it', async () => {
    const { turn, left, named } = await busyScene()
    const arriving = (name: string): Arriving => ({ arrive: () => left.push(`${name} came`) })
    assert.equal(turn.arrives(arriving('first')), true)
    turn.leave(named('an answer'))
    assert.equal(turn.arrives(arriving('second')), true)
    await Promise.resolve()
    assert.deepEqual(left, [])
    await next()
    assert.deepEqual(left, ['an answer', 'first came', 'second came'])
  })

  it('lets what was answered, and what was sent on, leave after all has been looked at', async () => {
    const { turn, left, named } = await busyScene()
    for (const name of ['one', 'two']) {
      turn.arrives({
        arrive: () => {
          left.push(`${name} came`)
          turn.leave(named(`${name} answered`))
          if (name === 'one') assert.equal(turn.leaveAfter(named('sent on')), true)
          // Not to be told of in the turn that is ending.
          assert.equal(turn.arrives({ arrive: () => assert.fail() }), false)
        },
      })
    }
    assert.equal(turn.leaveAfter({ leave: () => assert.fail() }), false)
    await next()
    assert.deepEqual(left, ['one came', 'two came', 'sent on', 'one answered', 'two answered'])
    await next()
    assert.equal(left.length, 5)
  })

  it('lets all that came be looked at before the first begins, and those that begin be alone', async () => {
    const { turn, left, named } = await busyScene()
    for (const name of ['one', 'two']) {
      const beginning = {
        begin: () => {
          left.push(`${name} begins`)
          assert.equal(turn.begins({ begin: () => assert.fail() }), false)
          assert.equal(turn.leaveAfter(named(`${name} sent on`)), true)
        },
      }
      turn.arrives({
        arrive: () => {
          left.push(`${name} came`)
          assert.equal(turn.begins(beginning), true)
        },
      })
    }
    assert.equal(turn.begins({ begin: () => assert.fail() }), false)
    await next()
    const expected = ['one came', 'two came', 'one begins', 'two begins', 'one sent on', 'two sent on']
    assert.deepEqual(left, expected)
  })

  it('goes on with the others when one fails, which is told as an error that nobody caught', async () => {
    const { turn, left, named } = await busyScene()
    const told: unknown[] = []
    const uncaught = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => told.push(error.message))
    try {
      const fails = (name: string) => () => {
        throw new Error(name)
      }
      turn.leave({ leave: fails('leaves') })
      turn.leave(named('one'))
      turn.arrives({ arrive: fails('arrives') })
      turn.arrives({ arrive: () => void turn.begins({ begin: fails('begins') }) })
      turn.arrives({ arrive: () => void turn.begins({ begin: () => left.push('another begins') }) })
      await next()
      await next()
      assert.deepEqual(left, ['one', 'another begins'])
      assert.deepEqual(told, ['leaves', 'arrives', 'begins'])
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of uncaught) process.on('uncaughtException', listener)
    }
  })

  it('keeps nobody waiting for applications that compute: for a while requests are begun as they come', async () => {
    const { clock, turn, left, named } = await busyScene()
    /** A turn in which several come, and each takes so long to begin, ms. @returns how many waited for its end */
    const pass = async (milliseconds: number): Promise<number> => {
      let waited = 0
      for (const name of ['one', 'two']) {
        const begin = (): void => {
          clock.advance(milliseconds)
          turn.leave(named(name))
        }
        if (turn.arrives({ arrive: () => void turn.begins({ begin }) })) waited++
        else begin()
      }
      await next()
      return waited
    }
    for (let turns = 0; turns < 3; turns++) assert.equal(await pass(0.4), 2)
    assert.equal(await pass(0.6), 2)
    for (let turns = 0; turns < 64; turns++) assert.equal(await pass(0.6), 0)
    assert.equal(await pass(0.4), 2)
    assert.equal(await pass(0.4), 2)
    assert.equal(left.length, 2 * 70)
  })

  it('begins each apart from the others', async () => {
    const { turn } = await busyScene()
    const store: AsyncLocalStorage<string> = new AsyncLocalStorage()
    const found: unknown[] = []
    for (const name of ['one', 'two']) {
      const begin = (): void => {
        found.push(store.getStore())
        store.enterWith(name)
      }
      turn.arrives({ arrive: () => void turn.begins({ begin }) })
    }
    // It is begun by one of those that come.
    store.run('whoever came first', () => turn.begin())
    await next()
    assert.deepEqual(found, [undefined, undefined])
  })

  it('does not delay who comes alone, as far as the turn before tells', async () => {
    const { turn, named } = scene()
    const alone = { arrive: () => assert.fail() }
    assert.equal(turn.arrives(alone), false)
    turn.leave(named('one'))
    await next()
    assert.equal(turn.arrives(alone), false)
    await next()
  })

  it('is one for all that keep time by one clock', () => {
    const clock = new FakeClock()
    assert.equal(Turn.of(clock), Turn.of(clock))
    assert.notEqual(Turn.of(clock), Turn.of(new FakeClock()))
  })
})
