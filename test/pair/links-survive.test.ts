/**
 * Random clients, applications and containers at the same time. Whatever they do, no link is lost, and every innocent
 * client gets the right response, from an application that ran once.
 */

import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Plan } from './pair-plans.ts'
import { World } from './pair-world.ts'

const SHORT_HEAD = 64 * 1024

const often = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, { weight: 2, arbitrary: fc.constantFrom(...others) })

/** Header lengths: usual ones, and some close to the smaller of the two limits. */
const value = fc.oneof(
  { weight: 4, arbitrary: often(10, 0, 2_000) },
  { weight: 1, arbitrary: fc.integer({ min: SHORT_HEAD / 2 - 300, max: SHORT_HEAD / 2 + 50 }) },
  { weight: 1, arbitrary: fc.constant(60_000) },
)

const anything: fc.Arbitrary<Plan> = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE'),
  upgrade: often<Plan['upgrade']>('no', 'accept', 'decline', 'unasked'),
  expect: fc.boolean(),
  upload: fc.oneof(
    fc.constantFrom(-1, 0, 1),
    fc.integer({ min: 2, max: 1000 }),
    fc.integer({ min: 1000, max: 200_000 }),
  ),
  chunked: fc.boolean(),
  requestTrailers: fc.boolean(),
  requestHeader: value,
  responseHeader: value,
  read: fc.constantFrom('none', 'some', 'all'),
  wait: often<Plan['wait']>('no', 'gate', 'hang', 'deaf'),
  hints: often(0, 1, 20),
  status: often<Plan['status']>(200, 201, 204, 205, 304, 404),
  how: fc.constantFrom('array', 'iterate', 'write'),
  size: fc.oneof(fc.constantFrom(0, 1), fc.integer({ min: 2, max: 1000 }), fc.integer({ min: 1000, max: 300_000 })),
  length: often<Plan['length']>('none', 'right', 'right', 'short', 'long'),
  trailers: fc.boolean(),
  fails: fc.oneof(
    { weight: 5, arbitrary: fc.constant('no' as const) },
    { weight: 2, arbitrary: fc.constantFrom('before', 'in callback', 'after head', 'midway') },
  ),
  leaves: fc.option(fc.integer({ min: 0, max: 12 }), { nil: undefined, freq: 3 }),
  stalled: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
})

/**
 * Upgrades with a result: accepted by an application whose listener may throw, or declined with a complete response.
 */
const upgrade: fc.Arbitrary<Plan> = fc
  .tuple(anything, fc.constantFrom('accept', 'decline'), fc.constantFrom('no', 'midway'))
  .map(([one, asked, fails]) => ({
    ...one,
    upgrade: asked as Plan['upgrade'],
    fails: asked === 'accept' ? (fails as Plan['fails']) : 'no',
    wait: 'no',
    length: 'none',
    leaves: undefined,
    stalled: false,
  }))

const plan = fc.oneof({ weight: 5, arbitrary: anything }, { weight: 1, arbitrary: upgrade })

const which = fc.nat({ max: 3 })
const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('open' as const), plan }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('ticks' as const), count: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('stall' as const), which, end: fc.constantFrom(0 as const, 1 as const) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('go' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('grant' as const), which, slots: fc.nat({ max: 30 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('gate' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deadline' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('flood' as const),
      plan,
      wait: fc.constantFrom('no', 'hang', 'deaf'),
      together: fc.integer({ min: 1, max: 20 }),
      stall: fc.constantFrom(undefined, 0 as const, 1 as const, 1 as const),
      others: fc.array(plan, { maxLength: 5 }),
    }),
  },
)

/** Enough requests for more than 64 KiB of RESETs. */
const FLOOD = 3_000
/** Set both to search further: a failure prints the seed that repeats it. */
const RUNS = Number(process.env['GANTRY_TEST_RUNS'] ?? 60)
const SEED = Number(process.env['GANTRY_TEST_SEED'] ?? 1)

async function run(
  world: World,
  steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
): Promise<void> {
  for (const next of steps) {
    if (next.do === 'open') world.open(next.plan)
    else if (next.do === 'ticks') for (let tick = 0; tick < next.count; tick++) await world.tick()
    else if (next.do === 'stall') world.stall(next.which, next.end)
    else if (next.do === 'go') world.go()
    else if (next.do === 'grant') world.grant(next.which, next.slots)
    else if (next.do === 'drain') world.drain(next.which)
    else if (next.do === 'gate') world.openGate()
    else if (next.do === 'deadline') await world.deadline()
    else {
      if (next.stall !== undefined) world.stall(0, next.stall)
      // Small bodies: the number of requests counts, not their bytes.
      const small = { requestHeader: 0, responseHeader: 0, upload: -1, leaves: 1000 }
      await world.flood({ ...next.plan, ...small, wait: next.wait as Plan['wait'] }, FLOOD, next.together, next.others)
    }
    world.assertNoneLost()
  }
  await world.end()
}

describe('whatever clients and applications do', () => {
  test('no link is lost, and every other request gets its own correct response once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 40 }),
        fc.constantFrom(1, 1, 1, 2, 3),
        fc.integer({ min: 1, max: 40 }),
        fc.record({
          window: fc.constantFrom(2_000, 10_000, 128 * 1024),
          head: fc.constantFrom(SHORT_HEAD, 256 * 1024),
        }),
        fc.nat(),
        async (steps, containers, slots, frames, seed) => {
          const world = new World(seed, frames)
          for (let count = 0; count < containers; count++) world.join(slots)
          for (let round = 0; round < 5; round++) await world.tick()
          await run(world, steps)
        },
      ),
      { numRuns: RUNS, seed: SEED, endOnFailure: true },
    )
  })
})
