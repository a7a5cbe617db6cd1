import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Turns } from '../../../container/cgi/cgi-queue.ts'
import { FakeClock } from '../../support/clock.ts'

const patient = new AbortController().signal

function made(): { turns: Turns; clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, turns: new Turns({ concurrency: 1, queue: 2, timeout: 1_000, clock }) }
}

describe('turns', () => {
  it('go to who came first', async () => {
    const { turns } = made()
    await turns.begin('a', patient)
    const order: string[] = []
    const others = ['second', 'third'].map((name) => turns.begin('a', patient).then(() => order.push(name)))
    await assert.rejects(turns.begin('a', patient), { status: 503, code: 'CGI_BUSY' })
    turns.end()
    await others[0]
    assert.deepEqual(order, ['second'])
    turns.end()
    await others[1]
    assert.deepEqual(order, ['second', 'third'])
  })

  it('go first to a client that had fewer, even if the queue is full', async () => {
    const { turns } = made()
    await turns.begin('a', patient)
    const order: string[] = []
    const begun = (client: string, name: string): Promise<unknown> =>
      turns.begin(client, patient).then(() => order.push(name))
    const first = begun('a', 'a1')
    const dropped = begun('a', 'a2')
    const other = begun('b', 'b1')
    await assert.rejects(dropped, { status: 503, code: 'CGI_BUSY' })
    turns.end()
    await other
    turns.end()
    await first
    assert.deepEqual(order, ['b1', 'a1'])
  })

  it('are given to nobody whose time was over, or who left, in the same moment', async () => {
    const { turns, clock } = made()
    await turns.begin('a', patient)
    const leaving = new AbortController()
    const late = turns.begin('a', patient)
    const left = turns.begin('a', leaving.signal)
    clock.advance(1_000)
    leaving.abort(new Error('left'))
    turns.end()
    await assert.rejects(late, { status: 503 })
    await assert.rejects(left)
    assert.equal(clock.pending, 0)
    // Free: taken at once.
    await turns.begin('a', patient)
  })
})
