import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SaidOnce } from '../../../protocol/log/once-per-key.ts'

describe('what is said once', () => {
  it('is said again only when it was forgotten', () => {
    const said = new SaidOnce()
    assert.deepEqual([said.say('a'), said.say('a'), said.say('b')], [true, false, true])
    said.forget('a')
    assert.deepEqual([said.say('a'), said.say('b')], [true, false])
  })

  it('is said once for each detail, and for a few of them only', () => {
    const said = new SaidOnce()
    assert.deepEqual(
      [said.say('a', 'x'), said.say('a', 'x'), said.say('a', 'y'), said.say('b', 'x')],
      [true, false, true, true],
    )
    const more = Array.from({ length: 20 }, (_, at) => said.say('a', `more ${'x'.repeat(at)}`))
    assert.equal(more.filter(Boolean).length, 6)
    said.forget('a')
    assert.deepEqual([said.say('a', 'x'), said.say('a', 'y'), said.say('b', 'x')], [true, true, false])
  })

  it('is said once for details that differ in their numbers alone', () => {
    const said = new SaidOnce()
    assert.deepEqual(
      [said.say('a', 'not done after 5250 ms'), said.say('a', 'not done after 12 ms'), said.say('a', 'not done')],
      [true, false, true],
    )
  })

  it('is forgotten, oldest first, when there is too much of it', () => {
    const said = new SaidOnce()
    for (let at = 0; at < 1_001; at++) said.say(String(at))
    assert.equal(said.say('1000'), false)
    assert.equal(said.say('1'), false)
    assert.equal(said.say('0'), true)
  })
})
