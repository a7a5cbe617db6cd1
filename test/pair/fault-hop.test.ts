/** The pair as real processes with a bad network between them: aborts, resets, stalls, single bytes. */

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { anyFault, type Fault, type FaultHop, startFaultHop } from '../support/fault-hop.ts'
import { FIXTURES, faultsOf, type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { assertSafe, Load, Runs } from '../support/load.ts'
import { temporary } from '../support/sockets.ts'

const quiet = ['--access-log', 'off', '--log-level', 'silent']
/** A new seed in each run with SEED=random; failures print the seed. */
const seed = process.env['SEED'] === 'random' ? Math.floor(Math.random() * 1e9) : Number(process.env['SEED'] ?? 7)

interface Network {
  proxy: Gantry
  hop: FaultHop
  runs: Runs
}

/** proxy → hop → container, over TCP with a token, so that faults affect the handshake too. */
async function withNetwork(fault: () => Fault, body: (network: Network) => Promise<void>): Promise<void> {
  const directory = await temporary()
  const runs = new Runs(join(directory, 'runs'))
  const env = { GANTRY_TOKEN: 'a secret of this test', FIXTURE_RUNS: runs.path }
  const ends: (() => Promise<void>)[] = []
  try {
    const container = await startGantry(['container', FIXTURES, '--listen', '127.0.0.1:0', ...quiet], { env })
    ends.push(() => container.child.end())
    const hop = await startFaultHop({ port: container.port, host: '127.0.0.1' }, fault)
    ends.push(() => hop.stop())
    const upstream = ['--upstream', `tcp:127.0.0.1:${hop.port}`]
    const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', ...upstream, ...quiet], { env })
    ends.push(() => proxy.child.end())
    await body({ proxy, hop, runs })
    assert.deepEqual([...faultsOf(proxy), ...faultsOf(container)], [])
  } finally {
    for (const end of ends.reverse()) await end()
    await rm(directory, { recursive: true, force: true })
  }
}

const any = anyFault(seed)

test(`links aborted, reset, stalled and slowed to single bytes (SEED=${seed}): no POST runs twice, each response belongs to its request`, {
  timeout: 60_000,
}, async () => {
  await withNetwork(any, async ({ proxy, hop, runs }) => {
    const load = new Load({ port: proxy.port, seed, clients: 24, body: 100_000, work: 5 })
    await load.answered(300)
    hop.heal()
    // After the faults have ended, every request succeeds.
    await load.answered(100)
    const outcomes = await load.stop()
    assertSafe(outcomes, runs.count())
    for (const kind of ['cut', 'reset', 'stall', 'dribble'] as const)
      assert.ok(hop.done[kind] > 0, `no ${kind} happened`)
    const failed = outcomes.filter(({ status }) => status !== 200)
    assert.ok(failed.length > 0, 'no fault met a request')
    assert.deepEqual(
      outcomes.slice(-24).filter(({ status, complete }) => status !== 200 || !complete),
      [],
    )
  })
})

test('delivery in single bytes, both ways and through the handshake, changes nothing', {
  timeout: 60_000,
}, async () => {
  await withNetwork(
    () => ({ dribble: 20_000 }),
    async ({ proxy, runs }) => {
      const load = new Load({ port: proxy.port, seed: seed + 1, clients: 8, body: 20_000, work: 0 })
      await load.answered(60)
      const outcomes = await load.stop()
      assertSafe(outcomes, runs.count())
      assert.deepEqual(
        outcomes.filter(({ status, complete }) => status !== 200 || !complete),
        [],
      )
    },
  )
})

test('a link that is aborted during a long response aborts that response, and no other request is affected', {
  timeout: 60_000,
}, async () => {
  const faults: Fault[] = [{}, { end: { after: 3_000_000, how: 'cut' } }]
  await withNetwork(
    () => faults.shift() ?? {},
    async ({ proxy }) => {
      const client = await HttpClient.connect({ port: proxy.port, host: '127.0.0.1' })
      const cut = await client.fetch({ target: '/big?bytes=8000000' })
      assert.equal(cut.complete, false)
      assert.equal(cut.status, 200)
      client.destroy()
      const other = await HttpClient.connect({ port: proxy.port, host: '127.0.0.1' })
      const whole = await other.fetch({ target: '/big?bytes=8000000&length' })
      assert.equal(whole.complete, true)
      assert.equal(whole.body.length, 8_000_000)
      other.destroy()
    },
  )
})
