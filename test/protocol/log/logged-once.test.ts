import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LoggedOnce } from '../../../protocol/log/logged-once.ts'

describe('a message that is logged once', () => {
  it('is logged again only after its key was forgotten', () => {
    const logged = new LoggedOnce()
    assert.deepEqual([logged.isFirst('a'), logged.isFirst('a'), logged.isFirst('b')], [true, false, true])
    logged.forget('a')
    assert.deepEqual([logged.isFirst('a'), logged.isFirst('b')], [true, false])
  })

  it('is logged once for each text, and for a few texts only', () => {
    const logged = new LoggedOnce()
    assert.deepEqual(
      [logged.isFirst('a', 'x'), logged.isFirst('a', 'x'), logged.isFirst('a', 'y'), logged.isFirst('b', 'x')],
      [true, false, true, true],
    )
    const more = Array.from({ length: 20 }, (_, at) => logged.isFirst('a', `more ${'x'.repeat(at)}`))
    assert.equal(more.filter(Boolean).length, 6)
    logged.forget('a')
    assert.deepEqual(
      [logged.isFirst('a', 'x'), logged.isFirst('a', 'y'), logged.isFirst('b', 'x')],
      [true, true, false],
    )
  })

  it('is logged once for texts that differ only in their numbers', () => {
    const logged = new LoggedOnce()
    assert.deepEqual(
      [
        logged.isFirst('a', 'not done after 5250 ms'),
        logged.isFirst('a', 'not done after 12 ms'),
        logged.isFirst('a', 'not done'),
      ],
      [true, false, true],
    )
  })

  it('is forgotten, oldest key first, if there are too many keys', () => {
    const logged = new LoggedOnce()
    for (let at = 0; at < 1_001; at++) logged.isFirst(String(at))
    assert.equal(logged.isFirst('1000'), false)
    assert.equal(logged.isFirst('1'), false)
    assert.equal(logged.isFirst('0'), true)
  })
})
