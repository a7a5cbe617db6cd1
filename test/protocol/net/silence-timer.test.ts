import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { afterSilence } from '../../../protocol/net/silence-timer.ts'
import { FakeClock } from '../../support/clock.ts'

const iterationEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

suite('a timeout that judges a peer', () => {
  test('passes after its time, and after the sockets were read', async () => {
    const clock = new FakeClock()
    const order: string[] = []
    afterSilence(clock, 1_000, () => order.push('judged'))
    clock.advance(999)
    await iterationEnd()
    assert.equal(order.length, 0)
    clock.advance(1)
    order.push('timer')
    await iterationEnd()
    assert.deepEqual(order, ['timer', 'judged'])
  })

  test('counts a pause of this process, however long, as at most half of its time', async () => {
    const clock = new FakeClock()
    let judged = false
    afterSilence(clock, 1_000, () => (judged = true))
    clock.pause(3_600_000)
    await iterationEnd()
    clock.advance(499)
    await iterationEnd()
    assert.equal(judged, false)
    clock.advance(1)
    await iterationEnd()
    assert.equal(judged, true)
  })

  test('passes although every check is late', async () => {
    const clock = new FakeClock()
    let judged = false
    afterSilence(clock, 1_000, () => (judged = true))
    for (let pause = 0; pause < 2; pause++) clock.pause(10_000)
    await iterationEnd()
    assert.equal(judged, true)
  })

  test('does not pass after it is cancelled, not even between its timer and the poll of the sockets', async () => {
    const clock = new FakeClock()
    let judged = 0
    afterSilence(clock, 1_000, () => judged++).cancel()
    const second = afterSilence(clock, 1_000, () => judged++)
    clock.advance(1_000)
    second.cancel()
    await iterationEnd()
    assert.deepEqual([judged, clock.pending], [0, 0])
  })

  test('never passes when it is infinite', () => {
    const clock = new FakeClock()
    afterSilence(clock, Number.POSITIVE_INFINITY, () => assert.fail('it passed')).cancel()
    assert.equal(clock.pending, 0)
  })
})
