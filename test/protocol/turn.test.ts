import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Leaving, Turn } from '../../protocol/turn.ts'
import { FakeClock } from '../support/clock.ts'

const next = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function scene(): { clock: FakeClock; turn: Turn; left: string[]; named(name: string): Leaving } {
  const clock = new FakeClock()
  const left: string[] = []
  return { clock, turn: Turn.of(clock), left, named: (name) => ({ leave: () => left.push(name) }) }
}

/** A turn after one in which several had something to send. */
async function busyScene(): Promise<ReturnType<typeof scene>> {
  const made = scene()
  for (const name of ['a', 'b']) made.turn.leave(made.named(name))
  await next()
  made.left.length = 0
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

  it('is one for all that keep time by one clock', () => {
    const clock = new FakeClock()
    assert.equal(Turn.of(clock), Turn.of(clock))
    assert.notEqual(Turn.of(clock), Turn.of(new FakeClock()))
  })
})
