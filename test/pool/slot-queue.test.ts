/** The order in which waiting requests of several clients get slots. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Waiting } from '../../pool/queue.ts'
import { type FairlyWaiting, type Order, SlotQueue } from '../../pool/slot-queue.ts'
import type { ClientKey } from '../../protocol/client/client-shares.ts'

class Item implements FairlyWaiting {
  readonly share: ClientKey
  readonly arrival: number
  next: Waiting | undefined = undefined
  previous: Waiting | undefined = undefined
  queued = false
  returned = false

  constructor(share: ClientKey, arrival: number) {
    this.share = share
    this.arrival = arrival
  }

  get name(): string {
    return `${this.share}${this.arrival}`
  }
}

function filled(text: string): SlotQueue<Item> {
  const queue = new SlotQueue<Item>()
  for (const [at, share] of text.split(' ').entries()) queue.add(new Item(share, at + 1))
  return queue
}

/** The order in which slots are granted. Each slot is returned immediately, or kept (`held`). */
function served(
  queue: SlotQueue<Item>,
  { order = 'oldest', keep = false }: { order?: Order; keep?: boolean } = {},
): string {
  const held = new Map<ClientKey, number>()
  const names: string[] = []
  for (;;) {
    const item = queue.next((share) => held.get(share) ?? 0, order)
    if (!item) return names.join(' ')
    queue.delete(item)
    if (keep) held.set(item.share, (held.get(item.share) ?? 0) + 1)
    names.push(item.name)
  }
}

test('one client’s requests are served in the order of their arrival', () => {
  assert.equal(served(filled('a a a')), 'a1 a2 a3')
})

test('the client that holds the fewest slots is next', () => {
  const queue = filled('a a b')
  const held = (share: ClientKey): number => (share === 'a' ? 2 : 1)
  assert.equal(queue.next(held)?.name, 'b3')
})

test('clients that hold equally many slots are served alternately', () => {
  assert.equal(served(filled('a a a a b b c')), 'a1 b5 c7 a2 b6 a3 a4')
  assert.equal(served(filled('a a a a b b c'), { keep: true }), 'a1 b5 c7 a2 b6 a3 a4')
})

test('a new client does not overtake one that has waited longer', () => {
  const queue = filled('a a b')
  const take = (): string => {
    const item = queue.next(() => 0)!
    queue.delete(item)
    return item.name
  }
  assert.equal(take(), 'a1')
  queue.add(new Item('c', 4))
  assert.deepEqual([take(), take(), take()], ['b3', 'a2', 'c4'])
})

test('the newest request of a client can go first', () => {
  assert.equal(served(filled('a a a'), { order: 'newest' }), 'a3 a2 a1')
})

test('a request that is skipped stays, and another one is next', () => {
  const queue = filled('a a b')
  const first = queue.next(() => 0)!
  const second = queue.next(() => 0, 'oldest', new Set([first]))!
  assert.deepEqual([first.name, second.name, queue.size], ['a1', 'a2', 3])
})

test('a cancelled request is removed at once, and its client with its last request', () => {
  const queue = filled('a b')
  queue.delete(queue.next((share) => (share === 'a' ? 0 : 1))!)
  assert.deepEqual([...queue.counts()], [['b', 1]])
  assert.equal(queue.size, 1)
})

test('the client with most requests is found, if it has more than the given count', () => {
  const queue = filled('a a a b')
  assert.equal(queue.most(1), 'a')
  assert.equal(queue.most(2), 'a')
  assert.equal(queue.most(3), undefined)
})

test('the newest or the oldest request of a client is refused, but none that returned to the queue', () => {
  const queue = filled('a a a b b')
  assert.equal(queue.refusable('a', 'oldest')?.name, 'a1')
  for (const name of ['a3', 'a2']) {
    assert.equal(queue.refusable('a', 'newest')?.name, name)
    queue.refusable('a', 'newest')!.returned = true
  }
  assert.equal(queue.most(1), 'a')
  queue.refusable('a', 'oldest')!.returned = true
  assert.equal(queue.refusable('a', 'newest'), undefined)
  assert.equal(queue.most(1), 'b')
  assert.equal(queue.refusable('c', 'oldest'), undefined)
})
