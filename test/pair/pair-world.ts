/**
 * A proxy's pool and its containers in one process: requests from memory, links over streams that can be stalled at
 * either end, and a clock that stands still unless the test advances it. Records why each link ended.
 */

import assert from 'node:assert/strict'
import { FramesUpstream } from '../../pool/frames-upstream.ts'
import { Pool } from '../../pool/pool.ts'
import { type ServerLink, type SlotHolder, serveFrames } from '../../protocol/frames/server.ts'
import type { Answer, Sent } from '../support/client.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { facts, MemoryClient, MemoryHost } from '../support/memory-client.ts'
import { seeded } from '../support/random.ts'
import { WireEnd } from '../support/wire.ts'
import { act, applicationOf, compared, type Gate, isInnocent, type Plan, requestOf } from './pair-plans.ts'

interface Member {
  link: ServerLink
  /** Times of links, at the proxy and at the container. */
  ends: [proxy: WireEnd, container: WireEnd]
  holder: SlotHolder | undefined
  draining: boolean
}

interface Running {
  plan: Plan
  sent: Sent
  leaveAt: number
  answer: Answer | undefined
}

/** All requests, ordered by id from 0. */
export class World {
  readonly clock: FakeClock = new FakeClock()
  readonly pool: Pool
  /** Links that ended for a reason other than a drain. */
  readonly lost: string[] = []
  readonly #log: RecordingLog = new RecordingLog()
  readonly #client: MemoryClient
  readonly #host: MemoryHost = new MemoryHost(this.#log, this.clock)
  readonly #members: Member[] = []
  readonly #requests: Running[] = []
  readonly #runs: number[] = []
  #ticks = 0
  #gate: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #end: PromiseWithResolvers<void> = Promise.withResolvers()
  #over = false

  readonly #frames: { readonly window: number; readonly head: number }

  /** @param frames limits of both sides: credit of each stream, and the longest head */
  constructor(seed: number, frames: { readonly window: number; readonly head: number }) {
    this.#frames = frames
    this.pool = new Pool({
      queueSize: 100_000,
      queueTimeout: 10_000_000,
      timeout: 5_000,
      idleTimeout: 1_000_000,
      clock: this.clock,
      log: this.#log,
      random: seeded(seed),
    })
    this.#client = new MemoryClient(this.pool.application, new MemoryHost(this.#log, this.clock))
  }

  // ---- what a test does ------------------------------------------------------------------------------------------

  /** Adds a container with this number of slots. */
  join(slots: number): void {
    const [here, there] = WireEnd.pair()
    const name = `link ${this.#members.length}`
    const member: Member = {
      link: undefined as unknown as ServerLink,
      ends: [here, there],
      holder: undefined,
      draining: false,
    }
    const ended = (side: string) => (error?: Error) => {
      if (!this.#over && (error || !member.draining))
        this.lost.push(`${name}, ${side}: ${error?.message ?? 'no reason'}`)
    }
    const gate = (): Gate => ({ opened: this.#gate.promise, ended: this.#end.promise })
    const application = applicationOf(
      (id) => this.#requests[id]!.plan,
      (id) => {
        this.#runs[id] = (this.#runs[id] ?? 0) + 1
      },
      gate,
    )
    member.link = serveFrames(
      there,
      (environ, startResponse) => {
        this.#host.admit()
        return application(environ, startResponse)
      },
      {
        clock: this.clock,
        log: this.#log,
        host: this.#host,
        process: facts,
        identity: { id: name.replace(' ', '-'), worker: 0, workers: 1, slots, limits: {} },
        slots: {
          join: (holder) => {
            member.holder = holder
            holder.grant(slots)
          },
          leave: () => {},
          changed: () => {},
        },
        ...this.#frames,
        onClosed: ended('at the container'),
      },
    )
    this.pool.add(
      new FramesUpstream(
        here,
        { clock: this.clock, log: this.#log, ...this.#frames },
        { address: name, dialled: true, authenticated: false, onClosed: ended('at the proxy') },
      ),
    )
    this.#members.push(member)
  }

  open(plan: Plan): void {
    const id = this.#requests.length
    const running: Running = {
      plan,
      sent: undefined as unknown as Sent,
      leaveAt: plan.leaves === undefined ? Number.POSITIVE_INFINITY : this.#ticks + plan.leaves,
      answer: undefined,
    }
    this.#requests.push(running)
    running.sent = this.#client.request(requestOf(id, plan))
    void act(id, plan, running.sent).then((answer) => {
      running.answer = answer
    })
    if (plan.leaves === 0) this.#leave(running)
  }

  /** Many clients that connect and disconnect a moment later, mixed with those of `others`. */
  async flood(plan: Plan, count: number, together: number, others: readonly Plan[]): Promise<void> {
    const waves = Math.ceil(count / together)
    for (let wave = 0; wave < waves; wave++) {
      const first = this.#requests.length
      for (let one = 0; one < together; one++) this.open(plan)
      const last = this.#requests.length
      const other = others[wave % 50]
      if (wave < 50 && other) this.open(other)
      if (wave % 8 === 0) await this.tick()
      for (const running of this.#requests.slice(first, last)) this.#leave(running)
    }
  }

  stall(which: number, end: 0 | 1): void {
    this.#member(which)?.ends[end].stall()
  }

  go(): void {
    for (const { ends } of this.#members) for (const end of ends) end.go()
  }

  grant(which: number, slots: number): void {
    this.#member(which)?.holder?.grant(slots)
  }

  /** Drains a container and adds another in its place. */
  drain(which: number): void {
    const member = this.#member(which)
    if (!member) return
    member.draining = true
    member.link.drain()
    this.join(20)
  }

  openGate(): void {
    this.#gate.resolve()
    this.#gate = Promise.withResolvers()
  }

  async tick(ms: number = 1): Promise<void> {
    this.#ticks++
    for (const running of this.#requests) if (running.leaveAt <= this.#ticks) this.#leave(running)
    this.clock.advance(ms)
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Every peer reads, there are slots, and applications respond: until all innocent requests have their responses. */
  async settle(): Promise<void> {
    this.go()
    for (const { holder } of this.#members) holder?.grant(20)
    const waits = (): boolean => this.#requests.some(({ plan, answer }) => !answer && this.#innocent(plan))
    for (let round = 0; round < 3_000 && waits(); round++) {
      this.openGate()
      // A request that holds a slot for ever delays those behind it.
      if (round === 1_000) this.#abandon()
      await this.tick(round % 10 === 0 ? 5 : 0)
    }
    this.assertNoneLost()
    for (const [id, { plan, answer }] of this.#requests.entries()) {
      assert.ok(
        answer || !this.#innocent(plan),
        `request ${id} was not answered: ${this.#inspect()} ${JSON.stringify(plan)}`,
      )
    }
  }

  /** Advances the clock, so that hanging requests get their 504. */
  async deadline(): Promise<void> {
    await this.settle()
    for (let round = 0; round < 60; round++) await this.tick(round % 5 === 0 ? 600 : 0)
  }

  // ---- what must hold ----------------------------------------------------------------------------------------------

  async end(): Promise<void> {
    await this.settle()
    this.#abandon()
    const busy = (): boolean => this.pool.inFlight > 0 || this.#members.some(({ link }) => link.active > 0)
    for (let round = 0; round < 3_000 && busy(); round++) {
      this.openGate()
      await this.tick(round > 100 ? 100 : 0)
    }
    this.assertNoneLost()
    assert.ok(!busy(), `something still runs: ${this.#inspect()}`)
    for (const [id, { plan, answer }] of this.#requests.entries()) {
      const runs = this.#runs[id] ?? 0
      if (this.#innocent(plan)) {
        assert.equal(runs, 1, `request ${id} ran ${runs} times: ${JSON.stringify(plan)}`)
        assert.deepEqual(...compared(id, plan, answer!), `request ${id}: ${JSON.stringify(plan)}`)
      } else if (requestOf(id, plan).method === 'POST')
        assert.ok(runs <= 1, `POST ${id} ran ${runs} times: ${JSON.stringify(plan)}`)
    }
    this.#over = true
    this.pool.destroy('the test is over')
    for (const { link } of this.#members) link.destroy()
  }

  assertNoneLost(): void {
    assert.deepEqual(this.lost, [])
  }

  /** All remaining clients disconnect, and no application waits any more. */
  #abandon(): void {
    this.#end.resolve()
    for (const running of this.#requests) if (!running.answer && !this.#innocent(running.plan)) this.#leave(running)
  }

  #leave(running: Running): void {
    running.leaveAt = Number.POSITIVE_INFINITY
    if (running.answer) return
    running.sent.abort()
  }

  #innocent(plan: Plan): boolean {
    return isInnocent(plan, this.#frames.head)
  }

  #member(which: number): Member | undefined {
    const open = this.#members.filter(({ link }) => link.state === 'ready')
    return open[which % Math.max(1, open.length)]
  }

  #inspect(): string {
    return [this.pool.inspect(), ...this.#members.map(({ link }) => link.inspect()), ...this.lost].join('\n')
  }
}
