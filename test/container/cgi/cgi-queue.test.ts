import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CgiQueue } from '../../../container/cgi/cgi-queue.ts'
import { FakeClock } from '../../support/clock.ts'

const patient = new AbortController().signal

function made(): { queue: CgiQueue; clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, queue: new CgiQueue({ concurrency: 1, queue: 2, timeout: 1_000, clock }) }
}

describe('CgiQueue', () => {
  it('lets requests run in the order of their arrival', async () => {
    const { queue } = made()
    await queue.acquire('a', patient)
    const order: string[] = []
    const others = ['second', 'third'].map((name) => queue.acquire('a', patient).then(() => order.push(name)))
    await assert.rejects(queue.acquire('a', patient), { status: 503, code: 'CGI_BUSY' })
    queue.release()
    await others[0]
    assert.deepEqual(order, ['second'])
    queue.release()
    await others[1]
    assert.deepEqual(order, ['second', 'third'])
  })

  it('prefers a client that had fewer requests, even if the queue is full', async () => {
    const { queue } = made()
    await queue.acquire('a', patient)
    const order: string[] = []
    const begun = (client: string, name: string): Promise<unknown> =>
      queue.acquire(client, patient).then(() => order.push(name))
    const first = begun('a', 'a1')
    const dropped = begun('a', 'a2')
    const other = begun('b', 'b1')
    await assert.rejects(dropped, { status: 503, code: 'CGI_BUSY' })
    queue.release()
    await other
    queue.release()
    await first
    assert.deepEqual(order, ['b1', 'a1'])
  })

  it('skips a request that timed out or was aborted in the same moment', async () => {
    const { queue, clock } = made()
    await queue.acquire('a', patient)
    const leaving = new AbortController()
    const late = queue.acquire('a', patient)
    const left = queue.acquire('a', leaving.signal)
    clock.advance(1_000)
    leaving.abort(new Error('left'))
    queue.release()
    await assert.rejects(late, { status: 503 })
    await assert.rejects(left)
    assert.equal(clock.pending, 0)
    // A free place is taken immediately.
    await queue.acquire('a', patient)
  })
})
