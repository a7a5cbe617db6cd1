import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Queue, type Waiting } from '../../pool/queue.ts'

class Item implements Waiting {
  readonly arrival: number
  next: Waiting | undefined = undefined
  previous: Waiting | undefined = undefined
  queued = false

  constructor(arrival: number) {
    this.arrival = arrival
  }
}

function order(queue: Queue<Item>): number[] {
  const list: number[] = []
  for (let item = queue.first; item; item = queue.after(item)) list.push(item.arrival)
  return list
}

test('gives back the oldest first', () => {
  const queue = new Queue<Item>()
  for (const arrival of [1, 2, 3]) queue.add(new Item(arrival))
  assert.deepEqual(order(queue), [1, 2, 3])
})

test('gives one that returns its old place', () => {
  const queue = new Queue<Item>()
  for (const arrival of [2, 5, 9]) queue.add(new Item(arrival))
  queue.add(new Item(4))
  queue.add(new Item(1))
  assert.deepEqual(order(queue), [1, 2, 4, 5, 9])
})

test('removes one from the middle', () => {
  const queue = new Queue<Item>()
  const items = [1, 2, 3].map((arrival) => new Item(arrival))
  for (const item of items) queue.add(item)
  queue.delete(items[1]!)
  assert.deepEqual(order(queue), [1, 3])
})

test('keeps no reference to a removed request', () => {
  const queue = new Queue<Item>()
  const items = [1, 2, 3].map((arrival) => new Item(arrival))
  for (const item of items) queue.add(item)
  queue.delete(items[1]!)
  assert.deepEqual([items[1]!.next, items[1]!.previous, items[1]!.queued], [undefined, undefined, false])
})

test('rejects a request that waits already', () => {
  const queue = new Queue<Item>()
  const item = new Item(1)
  queue.add(item)
  assert.throws(() => queue.add(item), TypeError)
})

test('keeps the order of arrival and its size through any adds and deletes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(20), fc.boolean())), (steps) => {
      const queue = new Queue<Item>()
      const items = Array.from({ length: 21 }, (_, arrival) => new Item(arrival))
      const model = new Set<number>()
      for (const [arrival, add] of steps) {
        const item = items[arrival]!
        if (add && !item.queued) queue.add(item)
        if (!add) queue.delete(item)
        if (add) model.add(arrival)
        else model.delete(arrival)
        assert.deepEqual(
          order(queue),
          [...model].sort((a, b) => a - b),
        )
        assert.equal(queue.size, model.size)
      }
    }),
  )
})
