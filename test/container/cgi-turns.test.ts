import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Turns } from '../../container/cgi-turns.ts'
import { FakeClock } from '../support/clock.ts'

const patient = new AbortController().signal

function made(): { turns: Turns; clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, turns: new Turns({ concurrency: 1, queue: 2, timeout: 1_000, clock }) }
}

describe('turns', () => {
  it('go to who came first', async () => {
    const { turns } = made()
    await turns.begin(patient)
    const order: string[] = []
    const others = ['second', 'third'].map((name) => turns.begin(patient).then(() => order.push(name)))
    await assert.rejects(turns.begin(patient), { status: 503, code: 'CGI_BUSY' })
    turns.end()
    await others[0]
    assert.deepEqual(order, ['second'])
    turns.end()
    await others[1]
    assert.deepEqual(order, ['second', 'third'])
  })

  it('are given to nobody whose time was over, or who left, in the same moment', async () => {
    const { turns, clock } = made()
    await turns.begin(patient)
    const leaving = new AbortController()
    const late = turns.begin(patient)
    const left = turns.begin(leaving.signal)
    clock.advance(1_000)
    leaving.abort(new Error('left'))
    turns.end()
    await assert.rejects(late, { status: 503 })
    await assert.rejects(left)
    assert.equal(clock.pending, 0)
    // Free: taken at once.
    await turns.begin(patient)
  })
})
