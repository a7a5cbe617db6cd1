import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Candidate, choose } from '../../pool/choose.ts'

interface Named extends Candidate {
  name: string
}

function member(name: string, inFlight: number, grant: number, state: string = 'ready'): Named {
  return { name, inFlight, grant, state }
}

/** Returns these numbers one after the other. */
function numbers(...list: number[]): () => number {
  let index = 0
  return () => list[index++ % list.length]!
}

const room = { queued: 0, queueSize: 10 }
const nameOf = (choice: Named | string): string => (typeof choice === 'string' ? choice : choice.name)

const table: { title: string; members: Named[]; avoid?: string[]; random?: number[]; takes: string }[] = [
  { title: 'waits when there is nobody', members: [], takes: 'wait' },
  { title: 'takes the only member', members: [member('a', 3, 10)], takes: 'a' },
  { title: 'takes the first drawn of two equals', members: [member('a', 0, 10), member('b', 0, 10)], takes: 'a' },
  { title: 'takes the one with fewer in flight', members: [member('a', 3, 10), member('b', 2, 10)], takes: 'b' },
  {
    title: 'weighs what is in flight against free slots, not alone',
    members: [member('a', 3, 4), member('b', 10, 1000)],
    takes: 'b',
  },
  {
    title: 'prefers the larger of two idle members',
    members: [member('a', 0, 4), member('b', 0, 1000)],
    takes: 'b',
  },
  { title: 'takes the other when one is full', members: [member('a', 4, 4), member('b', 9, 10)], takes: 'b' },
  { title: 'takes none that is full', members: [member('a', 4, 4), member('b', 10, 10)], takes: 'wait' },
  { title: 'takes none above its grant', members: [member('a', 5, 4)], takes: 'wait' },
  { title: 'takes none that was granted nothing', members: [member('a', 0, 0)], takes: 'wait' },
  { title: 'takes none that drains', members: [member('a', 0, 4, 'draining')], takes: 'wait' },
  { title: 'takes none that is closed', members: [member('a', 0, 4, 'closed')], takes: 'wait' },
  { title: 'takes none that connects', members: [member('a', 0, 4, 'connecting')], takes: 'wait' },
  {
    title: 'takes none that is to be avoided',
    members: [member('a', 0, 4), member('b', 3, 4)],
    avoid: ['a'],
    takes: 'b',
  },
  { title: 'waits when all are to be avoided', members: [member('a', 0, 4)], avoid: ['a'], takes: 'wait' },
  {
    title: 'finds the only open one when both that were drawn are not',
    members: [member('a', 4, 4), member('b', 4, 4), member('c', 1, 4), member('d', 4, 4)],
    random: [0, 0],
    takes: 'c',
  },
  {
    title: 'looks at no more than the two that were drawn when they are open',
    members: [member('a', 3, 10), member('b', 2, 10), member('c', 0, 10)],
    random: [0, 0],
    takes: 'b',
  },
  {
    title: 'draws the last when the random number is nearly one',
    members: [member('a', 0, 10), member('b', 5, 10), member('c', 4, 10)],
    random: [0.999, 0.999],
    takes: 'c',
  },
]

for (const { title, members, avoid, random = [0], takes } of table) {
  test(title, () => {
    const avoided = avoid && new Set(members.filter(({ name }) => avoid.includes(name)))
    assert.equal(nameOf(choose({ members, avoid: avoided, ...room }, numbers(...random))), takes)
  })
}

test('refuses when nobody is free and the queue is full', () => {
  assert.equal(choose({ members: [], queued: 10, queueSize: 10 }, Math.random), 'refuse')
})

test('takes a free member whatever the queue', () => {
  const members = [member('a', 0, 1)]
  assert.equal(choose({ members, queued: 10, queueSize: 10 }, Math.random), members[0])
})

test('refuses at once when no queue is wanted', () => {
  assert.equal(choose({ members: [], queued: 0, queueSize: 0 }, Math.random), 'refuse')
})

test('draws two different members', () => {
  const members = [member('a', 9, 10), member('b', 0, 10)]
  for (const draw of [0, 0.3, 0.5, 0.7, 0.99]) {
    for (const second of [0, 0.5, 0.99]) {
      assert.equal(nameOf(choose({ members, ...room }, numbers(draw, second))), 'b', `${draw} ${second}`)
    }
  }
})

test('takes an open member whenever there is one, and never another', () => {
  const anyMember = fc.record({
    name: fc.string(),
    inFlight: fc.nat(5),
    grant: fc.nat(5),
    state: fc.constantFrom('connecting', 'ready', 'full', 'draining', 'closed'),
    avoided: fc.boolean(),
  })
  fc.assert(
    fc.property(
      fc.array(anyMember),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999999, noNaN: true })),
      (all, dice) => {
        const avoid = new Set(all.filter(({ avoided }) => avoided))
        const open = all.filter((one) => one.state === 'ready' && one.inFlight < one.grant && !one.avoided)
        const choice = choose({ members: all, avoid, queued: 0, queueSize: 1 }, () => dice.next().value as number)
        if (open.length === 0) assert.equal(choice, 'wait')
        else assert.ok(open.includes(choice as (typeof open)[number]))
      },
    ),
  )
})

test('spreads requests evenly over equal members', () => {
  const members = Array.from({ length: 10 }, (_, index) => member(`m${index}`, 0, 1000))
  let seed = 1
  // mulberry32: the same numbers in each run.
  const random = (): number => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  for (let count = 0; count < 1000; count++) {
    const taken = choose({ members, ...room }, random) as { inFlight: number }
    taken.inFlight++
  }
  const loads = members.map(({ inFlight }) => inFlight)
  assert.ok(Math.max(...loads) - Math.min(...loads) <= 6, String(loads))
})
