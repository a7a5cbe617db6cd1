import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CgiQueue } from '../../../container/cgi/cgi-queue.ts'
import { FakeClock } from '../../support/clock.ts'

const patient = new AbortController().signal

function made(): { turns: CgiQueue; clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, turns: new CgiQueue({ concurrency: 1, queue: 2, timeout: 1_000, clock }) }
}

describe('CgiQueue', () => {
  it('lets requests run in the order of their arrival', async () => {
    const { turns } = made()
    await turns.acquire('a', patient)
    const order: string[] = []
    const others = ['second', 'third'].map((name) => turns.acquire('a', patient).then(() => order.push(name)))
    await assert.rejects(turns.acquire('a', patient), { status: 503, code: 'CGI_BUSY' })
    turns.release()
    await others[0]
    assert.deepEqual(order, ['second'])
    turns.release()
    await others[1]
    assert.deepEqual(order, ['second', 'third'])
  })

  it('prefers a client that had fewer requests, even if the queue is full', async () => {
    const { turns } = made()
    await turns.acquire('a', patient)
    const order: string[] = []
    const begun = (client: string, name: string): Promise<unknown> =>
      turns.acquire(client, patient).then(() => order.push(name))
    const first = begun('a', 'a1')
    const dropped = begun('a', 'a2')
    const other = begun('b', 'b1')
    await assert.rejects(dropped, { status: 503, code: 'CGI_BUSY' })
    turns.release()
    await other
    turns.release()
    await first
    assert.deepEqual(order, ['b1', 'a1'])
  })

  it('skips a request that timed out or was aborted in the same moment', async () => {
    const { turns, clock } = made()
    await turns.acquire('a', patient)
    const leaving = new AbortController()
    const late = turns.acquire('a', patient)
    const left = turns.acquire('a', leaving.signal)
    clock.advance(1_000)
    leaving.abort(new Error('left'))
    turns.release()
    await assert.rejects(late, { status: 503 })
    await assert.rejects(left)
    assert.equal(clock.pending, 0)
    // A free place is taken immediately.
    await turns.acquire('a', patient)
  })
})
