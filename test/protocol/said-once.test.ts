import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SaidOnce } from '../../protocol/said-once.ts'

describe('what is said once', () => {
  it('is said again only when it was forgotten', () => {
    const said = new SaidOnce()
    assert.deepEqual([said.say('a'), said.say('a'), said.say('b')], [true, false, true])
    said.forget('a')
    assert.deepEqual([said.say('a'), said.say('b')], [true, false])
  })

  it('is forgotten, oldest first, when there is too much of it', () => {
    const said = new SaidOnce()
    for (let at = 0; at < 1_001; at++) said.say(String(at))
    assert.equal(said.say('1000'), false)
    assert.equal(said.say('1'), false)
    assert.equal(said.say('0'), true)
  })
})
