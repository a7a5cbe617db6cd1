import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { allocate, Slots } from '../../container/slots.ts'
import type { SlotHolder } from '../../protocol/frames/server.ts'

type Row = [what: string, slots: number, holders: [inUse: number, wanted: number, order?: number][], grants: number[]]

const table: Row[] = [
  ['nobody', 10, [], []],
  ['one idle link gets all', 1000, [[0, 0]], [1000]],
  [
    'idle links share the slots that no link wants',
    1000,
    [
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    [334, 333, 333],
  ],
  [
    'a want within the equal share changes no grant',
    1000,
    [
      [20, 300],
      [0, 0],
    ],
    [500, 500],
  ],
  [
    'a want above the equal share is met from spare slots',
    1000,
    [
      [20, 900],
      [0, 0],
    ],
    [900, 100],
  ],
  [
    'wants that exceed the slots are met up to one level',
    100,
    [
      [0, 90],
      [0, 90],
      [0, 10],
    ],
    [45, 45, 10],
  ],
  [
    'odd slots go to the first',
    100,
    [
      [0, 99],
      [0, 99],
      [0, 99],
    ],
    [34, 33, 33],
  ],
  [
    'running requests keep others waiting',
    100,
    [
      [100, 100],
      [0, 90],
    ],
    [50, 0],
  ],
  [
    'slots of ended requests are granted to others',
    100,
    [
      [80, 100],
      [0, 90],
    ],
    [50, 20],
  ],
  [
    'a claim beyond all slots counts as all',
    10,
    [
      [0, 2 ** 32 - 1],
      [0, 5],
    ],
    [5, 5],
  ],
  [
    'one slot goes to the first in order',
    1,
    [
      [0, 3, 3],
      [0, 3, 1],
      [0, 3, 2],
    ],
    [0, 1, 0],
  ],
  [
    'a slot in use is not granted to another holder',
    1,
    [
      [1, 3, 3],
      [0, 3, 1],
      [0, 3, 2],
    ],
    [0, 0, 0],
  ],
  [
    'one slot goes to the holder that wants it, whatever the order',
    1,
    [
      [0, 0, 1],
      [0, 1, 2],
    ],
    [0, 1],
  ],
  [
    'two slots go to the next two in order',
    2,
    [
      [0, 9, 3],
      [0, 9, 1],
      [0, 9, 2],
    ],
    [0, 1, 1],
  ],
  [
    'running more than is wanted counts as wanted',
    10,
    [
      [6, 0],
      [0, 0],
    ],
    [6, 4],
  ],
]

const share = fc.record({
  inUse: fc.integer({ min: 0, max: 30 }),
  wanted: fc.oneof(fc.integer({ min: 0, max: 60 }), fc.constant(2 ** 32 - 1)),
  order: fc.integer({ min: 0, max: 5 }),
})
const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0)

describe('allocate', () => {
  for (const [what, slots, holders, grants] of table) {
    it(`${what}`, () => {
      const shares = holders.map(([inUse, wanted, order = 0]) => ({ inUse, wanted, order }))
      assert.deepEqual(allocate(slots, shares), grants)
    })
  }

  it('never lets grants, and requests that run above them, exceed the slots', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.array(share, { maxLength: 6 }), (slots, holders) => {
        const running = sum(holders.map(({ inUse }) => inUse))
        const grants = allocate(slots, holders)
        assert.ok(grants.every((grant) => Number.isInteger(grant) && grant >= 0))
        assert.ok(sum(grants.map((grant, index) => Math.max(grant, holders[index]!.inUse))) <= Math.max(slots, running))
      }),
      { numRuns: 2000 },
    )
  })

  it('grants every idle slot, unless a holder waits for it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.array(share, { minLength: 1, maxLength: 6 }),
        (slots, holders) => {
          const running = sum(holders.map(({ inUse }) => inUse))
          fc.pre(running <= slots)
          const taken = allocate(slots, holders).map((grant, index) => Math.max(grant, holders[index]!.inUse))
          assert.equal(sum(taken), slots)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('is fair: a holder that gets less than it wants has as many as any other, within one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.array(share, { maxLength: 6 }), (slots, shares) => {
        const holders = shares.map((one) => ({ ...one, inUse: 0 }))
        const grants = allocate(slots, holders)
        holders.forEach(({ wanted }, index) => {
          if (grants[index]! >= wanted) return
          for (const [other, grant] of grants.entries()) {
            if (other !== index) assert.ok(grant <= grants[index]! + 1, `${grants} of ${JSON.stringify(holders)}`)
          }
        })
      }),
      { numRuns: 2000 },
    )
  })
})

/** A proxy's link: it uses its granted slots as far as it has requests. */
class Link implements SlotHolder {
  readonly slots: Slots
  running = 0
  waiting = 0
  granted = 0
  served = 0
  grants: number[] = []

  constructor(slots: Slots) {
    this.slots = slots
    slots.join(this)
  }

  get demand(): number {
    return this.running + this.waiting
  }

  grant(slots: number): void {
    this.granted = slots
    this.grants.push(slots)
    this.begin()
  }

  want(requests: number): void {
    this.waiting += requests
    this.slots.changed(this)
    this.begin()
  }

  begin(): void {
    while (this.waiting > 0 && this.running < this.granted) {
      this.waiting--
      this.running++
      this.served++
    }
  }

  finish(): void {
    if (this.running === 0) return
    const told = this.running >= this.granted
    this.running--
    this.slots.settled(this)
    if (told) this.slots.changed(this)
    this.begin()
  }
}

describe('Slots', () => {
  it('grants all of them to the only link, and notifies it once', () => {
    const link = new Link(new Slots(1000))
    link.want(10)
    for (let i = 0; i < 10; i++) link.finish()
    assert.deepEqual(link.grants, [1000])
  })

  it('takes back a share from a link when another joins', () => {
    const slots = new Slots(10)
    const first = new Link(slots)
    const second = new Link(slots)
    assert.deepEqual([first.granted, second.granted], [5, 5])
    slots.leave(first)
    assert.equal(second.granted, 10)
  })

  it('grants one slot to three busy links one after the other', () => {
    const slots = new Slots(1)
    const links = [new Link(slots), new Link(slots), new Link(slots)]
    for (const link of links) link.want(100)
    for (let i = 0; i < 30; i++) {
      assert.equal(slots.running, 1)
      links.find(({ running }) => running > 0)!.finish()
    }
    for (const { served } of links) assert.ok(served >= 10 && served <= 11, `${links.map((link) => link.served)}`)
  })

  it('grants requests of the port slots that links do not use', () => {
    const slots = new Slots(4)
    const link = new Link(slots)
    link.want(2)
    assert.ok(slots.take())
    assert.ok(slots.take())
    assert.equal(slots.take(), false)
    assert.equal(link.granted, 2)
    slots.release()
    assert.ok(slots.take())
  })

  it('grants a waiting link the slots that requests of the port have released', () => {
    const slots = new Slots(2)
    assert.ok(slots.take() && slots.take())
    const link = new Link(slots)
    link.want(5)
    assert.equal(link.running, 0)
    slots.release()
    assert.equal(link.running, 1)
    slots.release()
    assert.equal(link.running, 2)
  })

  it('serves the port alone without a link', () => {
    const slots = new Slots(1)
    assert.ok(slots.take())
    assert.equal(slots.take(), false)
    slots.release()
    assert.ok(slots.take())
  })

  it('never exceeds its size, and lets no request wait while a slot is free, whatever happens', () => {
    const event = fc.record({
      kind: fc.constantFrom('want', 'finish', 'take', 'release', 'join', 'leave'),
      which: fc.nat(3),
      count: fc.integer({ min: 1, max: 5 }),
    })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), fc.array(event, { maxLength: 60 }), (size, events) => {
        const slots = new Slots(size)
        const links: Link[] = []
        let direct = 0
        for (const { kind, which, count } of events) {
          const link = links[which]
          if (kind === 'want') link?.want(count)
          if (kind === 'finish') link?.finish()
          if (kind === 'take' && slots.take()) direct++
          if (kind === 'release' && direct > 0) {
            direct--
            slots.release()
          }
          if (kind === 'join' && links.length < 4) links.push(new Link(slots))
          // A link leaves when its running requests have settled.
          if (kind === 'leave' && link?.running === 0) slots.leave(links.splice(which, 1)[0]!)

          const taken = sum(links.map(({ granted, running }) => Math.max(granted, running))) + direct
          assert.ok(taken <= size, `${taken} of ${size}`)
          assert.equal(slots.running, sum(links.map(({ running }) => running)) + direct)
          if (links.some(({ waiting }) => waiting > 0)) {
            // A request waits: every slot is in use, or granted to a link that has not used it yet.
            const usable = links.some(({ granted, running, waiting }) => waiting > 0 && running < granted)
            assert.ok(slots.running === size || usable, `${slots.inspect()} with somebody waiting`)
          }
        }
      }),
      { numRuns: 1000 },
    )
  })
})
