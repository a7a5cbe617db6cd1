/** A bounded queue that clients share, with examples and random runs. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { FairQueue } from '../../../protocol/client/fair-queue.ts'

/** Takes all waiting items in order. */
function drained(queue: FairQueue<string>): string[] {
  const items: string[] = []
  for (let item = queue.take(); item !== undefined; item = queue.take()) items.push(item)
  return items
}

function filled(most: number, items: readonly string[]): FairQueue<string> {
  const queue = new FairQueue<string>(most)
  for (const item of items) assert.equal(queue.add(item[0]!, item), undefined)
  return queue
}

describe('a fair queue', () => {
  it('serves clients alternately, and the items of each client in order', () => {
    assert.deepEqual(drained(filled(9, ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'])), ['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  })

  it('serves a client that was served less before clients that have waited longer', () => {
    const queue = filled(9, ['a1', 'b1'])
    drained(queue)
    queue.add('a', 'a2')
    queue.add('b', 'b2')
    queue.add('c', 'c1')
    assert.deepEqual(drained(queue), ['c1', 'a2', 'b2'])
  })

  it('counts items that were served without waiting', () => {
    const queue = new FairQueue<string>(9)
    queue.count('a')
    queue.add('a', 'a1')
    queue.add('b', 'b1')
    assert.deepEqual(drained(queue), ['b1', 'a1'])
  })

  it('drops the newest item of the client with the most items if it is full', () => {
    const queue = filled(3, ['a1', 'b1', 'a2'])
    assert.equal(queue.add('b', 'b2'), 'b2', 'which is the new one among equals')
    assert.equal(queue.add('a', 'a3'), 'a3')
    assert.equal(queue.add('c', 'c1'), 'a2')
    assert.equal(queue.size, 3)
    assert.deepEqual(drained(queue), ['a1', 'b1', 'c1'])
  })

  it('drops an item of a client that was served more to accept an item of a client that was served less', () => {
    const queue = new FairQueue<string>(2)
    for (const client of ['a', 'b', 'b']) queue.count(client)
    queue.add('a', 'a1')
    queue.add('b', 'b1')
    assert.equal(queue.add('c', 'c1'), 'b1')
    assert.deepEqual(drained(queue), ['c1', 'a1'])
  })

  it('removes a waiting item once', () => {
    const queue = filled(3, ['a1', 'a2', 'b1'])
    assert.deepEqual([queue.delete('a', 'a1'), queue.delete('a', 'a1'), queue.delete('c', 'c1')], [true, false, false])
    assert.equal(queue.size, 2)
    assert.deepEqual(drained(queue), ['a2', 'b1'])
    assert.equal(queue.take(), undefined)
  })

  it('forgets over time how often a client was served', () => {
    const queue = new FairQueue<string>(2)
    for (let count = 0; count < 4_095; count++) queue.count(count < 3 ? 'a' : `other ${count}`)
    queue.count('a')
    assert.equal(queue.remembered, 1, 'of 4 items 2 are remembered, of 1 none')
    queue.add('a', 'a1')
    queue.add('b', 'b1')
    assert.deepEqual(drained(queue), ['b1', 'a1'])
  })

  it('remembers a bounded number of clients', () => {
    const queue = new FairQueue<string>(2)
    let most = 0
    for (let count = 0; count < 40_000; count++) {
      queue.count(`client ${count % 30_000}`)
      most = Math.max(most, queue.remembered)
    }
    assert.ok(most <= 8_192, String(most))
  })

  it('never delays a client by more than one item of each other client that was served at least as often', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 60 }), (arrivals) => {
        const queue = new FairQueue<string>(1_000)
        for (const [at, client] of arrivals.entries()) {
          queue.add(client, `${client}${at}`)
          if (at % 3 === 0) queue.take()
        }
        const waiting = new Set(arrivals).size
        queue.add('new', 'new')
        const order = drained(queue)
        assert.ok(order.indexOf('new') <= waiting, `${order}`)
      }),
    )
  })

  it('keeps every item until it is taken, removed or dropped, and drops items only if it is full', () => {
    const step = fc.record({ act: fc.constantFrom('add', 'add', 'take', 'delete'), client: fc.constantFrom(...'abcd') })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new FairQueue<string>(5)
        const present = new Map<string, string>()
        for (const [at, { act, client }] of steps.entries()) {
          if (act === 'add') {
            const dropped = queue.add(client, `${at}`)
            present.set(`${at}`, client)
            assert.equal(dropped === undefined, present.size <= 5)
            if (dropped !== undefined) assert.ok(present.delete(dropped))
          } else if (act === 'take') {
            const item = queue.take()
            assert.equal(item === undefined, present.size === 0)
            if (item !== undefined) assert.ok(present.delete(item))
          } else {
            const own = [...present].find(([, name]) => name === client)?.[0]
            if (own !== undefined) assert.equal(queue.delete(client, own), present.delete(own))
          }
          assert.equal(queue.size, present.size)
        }
        assert.deepEqual(drained(queue).sort(), [...present.keys()].sort())
      }),
    )
  })
})
