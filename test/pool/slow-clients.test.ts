/** Decides which requests of slow clients are aborted. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { debtOf, type Holder, victims } from '../../pool/slow-clients.ts'
import type { ClientKey } from '../../protocol/client/client-shares.ts'

const PATIENCE = 5_000

interface Named extends Holder {
  readonly name: string
}

/**
 * `a:6000` is a client and its debt; `a:0/8000/500` adds the time that it has waited and the bytes that it has moved.
 */
function holders(text: string): Named[] {
  return text.split(' ').map((one, at) => {
    const [share = '', figures = ''] = one.split(':')
    const [debt = 0, waited = debt, moved = 0] = figures.split('/').map(Number)
    return { name: `${share}${at}`, share, debt, waited, moved }
  })
}

function chosen(text: string, waiting: Record<string, number>): string {
  return victims(holders(text), new Map(Object.entries(waiting)), { patience: PATIENCE })
    .map(({ name }) => name)
    .join(' ')
}

/** `count` copies. */
function times(count: number, one: string): string {
  return Array(count).fill(one).join(' ')
}

suite('how far behind a client is', () => {
  test('grows with the time in which it moves nothing', () => assert.equal(debtOf(300, 200, 0, 1_000), 500))
  test('stays at the minimum rate', () => assert.equal(debtOf(300, 200, 200, 1_000), 300))
  test('falls above it, and no credit is saved up', () => assert.equal(debtOf(300, 200, 1_000_000, 1_000), 0))
})

suite('which requests are aborted in favour of waiting ones', () => {
  test('none while no request waits', () => assert.equal(chosen('a:60000 b:60000', {}), ''))
  test('none while all clients keep up', () => assert.equal(chosen('a:0 b:0', { c: 1 }), ''))
  test('the request that is furthest behind', () => assert.equal(chosen('a:6000 b:9000 c:7000', { d: 1 }), 'b1'))
  test('no more than requests wait', () => assert.equal(chosen(times(100, 'a:9000'), { b: 3 }).split(' ').length, 3))

  test('no more than waiting requests need beside the slots that are about to be free', () => {
    const found = victims(holders(times(100, 'a:9000')), new Map([['b', 3]]), { patience: PATIENCE, freed: 2 })
    assert.equal(found.length, 1)
  })

  test('not a request that is behind for less than the patience, if its client has no more than an equal share', () => {
    assert.equal(chosen('a:4999 b:4999', { c: 1 }), '')
    assert.equal(chosen('a:5000 b:4999', { c: 1 }), 'a0')
  })

  test('a client with more than an equal share has a tenth of the patience', () => {
    assert.equal(chosen('a:499 a:499 b:4000', { c: 1 }), '')
    assert.equal(chosen('a:499 a:500 b:4000', { c: 1 }), 'a1')
  })

  test('a client that wants more than all slots has a tenth of it too', () => {
    assert.equal(chosen('a:500 a:500', { a: 1 }), 'a1')
    assert.equal(chosen('a:500 b:4000', { a: 1 }), 'a0')
  })

  test('of several clients the one that holds most loses first', () => {
    assert.equal(chosen('a:9999 b:600 b:700 b:500', { c: 1 }), 'b2')
  })

  test('no client loses a slot to one that holds more', () => {
    assert.equal(chosen('a:60000 b:0 b:0', { b: 1 }), '')
    assert.equal(chosen('a:60000 b:0', { b: 1 }), 'a0')
  })

  test('at most one in four of the slots at a time, for the same client and for others', () => {
    assert.equal(chosen(times(64, 'a:9000'), { a: 50 }).split(' ').length, 16)
    assert.equal(chosen(times(64, 'a:9000'), { b: 30 }).split(' ').length, 16)
    assert.equal(chosen('a:9000 a:9000', { a: 2 }), 'a1')
  })

  test('a client that keeps up with more than its share loses the slowest that waits for it to one below its share', () => {
    assert.equal(chosen('a:0/5000/900000 a:0/5000/100000 a:0/9000/50000 a:0/4999/1', { b: 1 }), 'a2')
    assert.equal(chosen('a:0/5000/900000 a:0/5000/100000', { b: 1 }), 'a1')
  })

  test('a client that keeps up loses none to its own requests, or to a client with its share', () => {
    assert.equal(chosen('a:0/9000/1 a:0/9000/1', { a: 1 }), '')
    assert.equal(chosen('a:0/9000/1 b:0/9000/1', { b: 1 }), '')
  })

  test('never a request whose application works', () => {
    const share = fc.constantFrom<ClientKey>('a', 'b', 'c', 'd')
    const holder = fc.record({ share, debt: fc.nat(9_000), waited: fc.nat(9_000), moved: fc.nat(9_000) })
    const working = fc.record({ share, debt: fc.constant(0), waited: fc.constant(0), moved: fc.constant(0) })
    const waiting = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.integer({ min: 1, max: 9 }))
    fc.assert(
      fc.property(fc.array(holder), fc.array(working), waiting, (slow, busy, counts) => {
        const wait = new Map(Object.entries(counts))
        const found = victims([...slow, ...busy], wait, { patience: PATIENCE })
        assert.equal(new Set(found).size, found.length)
        for (const one of found) assert.ok(one.waited >= PATIENCE * 0.1 || one.debt > 0)
        assert.ok(found.every((one) => slow.includes(one)))
        assert.ok(found.length <= [...wait.values()].reduce((sum, count) => sum + count, 0))
      }),
    )
  })
})

suite('among any clients', () => {
  /** The same result as with the heap, by a search through all requests for each abort. */
  function sought(all: readonly Named[], waiting: ReadonlyMap<ClientKey, number>): string[] {
    const held = new Map<ClientKey, number>()
    const of = (share: ClientKey): number => held.get(share) ?? 0
    for (const { share } of all) held.set(share, of(share) + 1)
    const shares = new Set([...held.keys(), ...waiting.keys()])
    const fair = Math.ceil(all.length / shares.size)
    const isGreedy = new Map([...shares].map((share) => [share, of(share) + (waiting.get(share) ?? 0) > fair]))
    const slow = all.filter(({ share, debt }) => debt >= (isGreedy.get(share) ? PATIENCE / 10 : PATIENCE))
    const spare = all.filter((one) => !slow.includes(one) && isGreedy.get(one.share) && one.waited >= PATIENCE)
    const names: string[] = []
    const take = (from: Named[], mayLose: (one: Named) => boolean, rank: (one: Named) => number): Named | undefined => {
      const [first] = from.filter(mayLose).sort((a, b) => of(b.share) - of(a.share) || rank(b) - rank(a))
      if (first) from.splice(from.indexOf(first), 1)
      return first
    }
    for (const [to, count] of [...waiting].sort(([a], [b]) => of(a) - of(b))) {
      for (let left = count; left > 0 && names.length < Math.ceil(all.length / 4); left--) {
        const one =
          take(
            slow,
            ({ share }) => of(share) >= of(to),
            ({ debt }) => debt,
          ) ??
          take(
            spare,
            ({ share }) => of(to) < fair && of(share) > fair,
            ({ moved, waited }) => -moved / waited,
          )
        if (!one) break
        names.push(one.name)
        held.set(one.share, of(one.share) - 1)
        held.set(to, of(to) + 1)
      }
    }
    return names
  }

  test('the same are aborted as if all were compared each time', () => {
    const share = fc.constantFrom('a', 'b', 'c', 'd', 'e')
    const few = fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.constant(true)), { minLength: 17, maxLength: 40 })
    const running = fc.oneof(few, fc.array(fc.tuple(share, fc.boolean()), { minLength: 1, maxLength: 120 }))
    const waiting = fc.dictionary(share, fc.integer({ min: 1, max: 20 }), { minKeys: 1 })
    fc.assert(
      fc.property(running, waiting, (clients, wanted) => {
        // No two requests are equally slow, because the order of equal ones is not defined.
        const all = clients.map(([share, isSlow], at): Named => {
          const name = `${share}${at}`
          return { name, share, debt: isSlow ? 400 + 97 * ((at * 31) % 120) : 0, waited: 6_000, moved: (at * 37) % 121 }
        })
        const counts = new Map<ClientKey, number>(Object.entries(wanted))
        const names = victims(all, counts, { patience: PATIENCE }).map(({ name }) => name)
        assert.deepEqual(names, sought(all, counts))
      }),
      { numRuns: 1_000 },
    )
  })

  test('the cost of a decision hardly grows faster than the number of clients', () => {
    let reads = 0
    class Counted implements Holder {
      readonly share: ClientKey = {}
      readonly waited = 60_000
      readonly moved = 0
      get debt(): number {
        reads++
        return 60_000
      }
    }
    const all = Array.from({ length: 4_096 }, () => new Counted())
    const waiting = new Map<ClientKey, number>(all.map(() => [{}, 1]))
    assert.equal(victims(all, waiting, { patience: PATIENCE }).length, 1024)
    // Each request is read once, and compared about 12 times for each abort.
    assert.ok(reads < 20 * all.length, `${reads} reads`)
  })
})
