/** Random orders of everything that clients and containers may do, and the invariants that must always hold. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pool } from '../../pool/pool.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { Client, turn } from './client.ts'
import { type FakeCall, FakeUpstream } from './fake-upstream.ts'

/** A container that records what each request may have done, and requests that it should not have received. */
class Watched extends FakeUpstream {
  readonly faults: string[] = []
  readonly #runs: Map<object, number>
  readonly #gone: ReadonlySet<object>

  constructor(name: string, grant: number, runs: Map<object, number>, gone: ReadonlySet<object>) {
    super(name, grant)
    this.#runs = runs
    this.#gone = gone
  }

  override call(...call: Parameters<FakeUpstream['call']>): ReturnType<FakeUpstream['call']> {
    if (this.state !== 'ready') this.faults.push(`${this.name} was called in state ${this.state}`)
    if (this.inFlight >= this.grant) this.faults.push(`${this.name} was called above its grant of ${this.grant}`)
    if (this.#gone.has(call[0])) this.faults.push(`${this.name} was sent what a client that left had asked for`)
    return super.call(...call)
  }

  /** From here on the request may have run. */
  run(call: FakeCall): void {
    this.#runs.set(call.environ, (this.#runs.get(call.environ) ?? 0) + 1)
  }

  get open(): FakeCall[] {
    return this.calls.filter(({ over }) => !over)
  }
}

type Step = (world: World) => void

class World {
  readonly clock: FakeClock = new FakeClock()
  readonly runs: Map<object, number> = new Map()
  /** The requests of disconnected clients. */
  readonly gone: Set<object> = new Set()
  readonly members: Watched[] = []
  readonly clients: Client[] = []
  readonly pool: Pool

  constructor(random: () => number) {
    this.pool = new Pool({
      queueSize: 5,
      queueTimeout: 3_000,
      timeout: 2_000,
      idleTimeout: 2_000,
      clock: this.clock,
      log: new RecordingLog(),
      random,
    })
  }

  member(index: number): Watched | undefined {
    const alive = this.members.filter(({ state }) => state !== 'closed')
    return alive[index % Math.max(1, alive.length)]
  }

  call(index: number): { call: FakeCall; member: Watched } | undefined {
    const all = this.members.flatMap((member) => member.open.map((call) => ({ call, member })))
    return all[index % Math.max(1, all.length)]
  }
}

function head(call: FakeCall): boolean {
  try {
    call.startResponse('200 OK', [])
    return true
  } catch {
    return false
  }
}

const index = fc.nat(30)
const named = (name: string, step: Step): Step => Object.assign(step, { [fc.toStringMethod]: () => name })

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET', 'POST').map((method) => named(method, request(method))) },
  { weight: 3, arbitrary: fc.nat(3).map((grant) => named(`member ${grant}`, join(grant))) },
  { weight: 4, arbitrary: index.map((at) => named(`answer ${at}`, answer(at))) },
  { weight: 2, arbitrary: index.map((at) => named(`refuse ${at}`, fail(at, 'REFUSED', 'no'))) },
  { weight: 1, arbitrary: index.map((at) => named(`untaken ${at}`, fail(at, 'GOAWAY', 'no'))) },
  { weight: 1, arbitrary: index.map((at) => named(`reset ${at}`, fail(at, 'RESET', 'maybe'))) },
  { weight: 1, arbitrary: index.map((at) => named(`cut ${at}`, cut(at, 'LOST', 'maybe'))) },
  { weight: 1, arbitrary: index.map((at) => named(`lie ${at}`, cut(at, 'REFUSED', 'no'))) },
  { weight: 1, arbitrary: index.map((at) => named(`drain ${at}`, (world) => world.member(at)?.become('draining'))) },
  { weight: 2, arbitrary: index.map((at) => named(`die ${at}`, die(at))) },
  {
    weight: 2,
    arbitrary: fc.tuple(index, fc.nat(4)).map(([at, grant]) => named(`grant ${at} ${grant}`, allow(at, grant))),
  },
  { weight: 2, arbitrary: index.map((at) => named(`leave ${at}`, leave(at))) },
  { weight: 2, arbitrary: fc.nat(1_500).map((ms) => named(`wait ${ms}`, (world) => world.clock.advance(ms))) },
)

function request(method: string): Step {
  return (world) => world.clients.push(new Client({ method }).run(world.pool.application))
}

function join(grant: number): Step {
  return (world) => {
    const member = new Watched(`m${world.members.length}`, grant, world.runs, world.gone)
    world.members.push(member)
    world.pool.add(member)
    member.become('ready')
  }
}

function answer(at: number): Step {
  return (world) => {
    const found = world.call(at)
    if (!found) return
    found.member.run(found.call)
    if (head(found.call)) {
      found.call.end()
      found.call.response.resolve([])
    }
  }
}

function fail(at: number, code: 'REFUSED' | 'GOAWAY' | 'RESET', ran: 'no' | 'maybe'): Step {
  return (world) => {
    const found = world.call(at)
    if (!found) return
    if (ran === 'maybe') found.member.run(found.call)
    found.call.fail(code, ran)
  }
}

/** A head, and then a failure that claims to be from before the head. */
function cut(at: number, code: 'LOST' | 'REFUSED', ran: 'no' | 'maybe'): Step {
  return (world) => {
    const found = world.call(at)
    if (!found) return
    found.member.run(found.call)
    head(found.call)
    found.call.fail(code, ran, false)
  }
}

function die(at: number): Step {
  return (world) => {
    const member = world.member(at)
    for (const call of member?.open ?? []) member?.run(call)
    member?.die()
  }
}

function allow(at: number, grant: number): Step {
  return (world) => world.member(at)?.allow(grant)
}

function leave(at: number): Step {
  return (world) => {
    const waiting = world.clients.filter(({ ended }) => ended === 0)
    const client = waiting[at % Math.max(1, waiting.length)]
    if (!client) return
    client.abort()
    world.gone.add(client.environ)
    // As a caller does, in the same tick.
    for (const member of world.members) {
      for (const call of member.open) {
        if (call.environ !== client.environ) continue
        member.run(call)
        call.fail('ABORTED', 'maybe')
      }
    }
  }
}

test('every request ends once, no POST runs twice, no grant is passed and nothing is left behind', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(steps, fc.boolean()), { maxLength: 60 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      async (script, dice) => {
        const world = new World(() => dice.next().value as number)
        for (const [step, settles] of script) {
          step(world)
          // Reactions to settled promises sometimes run only after the next step.
          if (settles) await turn()
        }
        await turn()
        // No container answers any more: deadlines must end the remaining requests.
        for (let round = 0; round < 60 && world.clients.some(({ ended }) => ended === 0); round++) {
          world.clock.advance(1_000)
          await turn()
        }
        for (const client of world.clients) {
          assert.equal(client.ended, 1, `${client.environ.REQUEST_METHOD} ended ${client.ended} times`)
          assert.ok(client.heads.length <= 1, 'two heads')
          const runs = world.runs.get(client.environ) ?? 0
          if (client.environ.REQUEST_METHOD === 'POST') assert.ok(runs <= 1, `a POST may have run ${runs} times`)
        }
        for (const member of world.members) assert.deepEqual(member.faults, [])
        assert.deepEqual([world.pool.queued, world.pool.inFlight], [0, 0])
        world.clock.advance(10_000)
        assert.equal(world.clock.pending, 0, 'a timer is left')
      },
    ),
    { numRuns: 1_000 },
  )
})
