/** The behaviour suite through the proxy's pool: over frames to a container, behind the middleware of a usual proxy. */

import { type Duplex, duplexPair } from 'node:stream'
import { forwarded } from '../../middleware/forwarded.ts'
import { FramesUpstream } from '../../pool/frames-upstream.ts'
import { Pool } from '../../pool/pool.ts'
import { TrustedPeers } from '../../protocol/client/peers.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { fixedSlots, type ServerLink, serveFrames } from '../../protocol/frames/server.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { type Fixtures, makeFixtures } from '../apps/all.ts'
import { RecordingLog } from '../support/log.ts'
import { facts, MemoryClient, MemoryHost } from '../support/memory-client.ts'
import { behaviour } from './behaviour.ts'

const identity = { id: 'suite', worker: 0, workers: 1, slots: 1000, limits: {} }

function serve(stream: Duplex, fixtures: Fixtures, host: MemoryHost): ServerLink {
  return serveFrames(stream, fixtures.application, {
    clock: systemClock,
    log: new RecordingLog(),
    host,
    process: facts,
    identity,
    slots: fixedSlots(1000),
  })
}

behaviour({
  name: 'a pool of two containers',
  without: {
    framing: 'there is no HTTP wire',
    http10: 'there is no HTTP wire',
    date: 'gateways add Date and Server',
    'raw-headers': 'fields are added that tell who the client is',
  },
  async start() {
    const fixtures = makeFixtures()
    const hosts = [new MemoryHost(), new MemoryHost()]
    const log = new RecordingLog()
    const pool = new Pool({
      queueSize: 10,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 60_000,
      clock: systemClock,
      log,
    })
    const links = hosts.map((host) => {
      const [here, there] = duplexPair()
      const closed = { address: 'memory', dialled: true, authenticated: false, onClosed: () => {} }
      pool.add(new FramesUpstream(here, { clock: systemClock, log }, closed))
      return serve(there, fixtures, host)
    })
    const found: string[] = []
    const report = (error: Error): void => void found.push(error.message)
    const inner = lint(pool.application, { report })
    const outer = lint(forwarded({ trustedPeers: new TrustedPeers(['none']) })(inner), { report })
    const client = new MemoryClient(outer)
    return {
      open: async (options) => client.request(options),
      broken: () => [...fixtures.broken, ...found, ...client.host.faults, ...hosts.flatMap(({ faults }) => faults)],
      async close() {
        await client.host.idle()
        pool.destroy('the test is over')
        while (links.some(({ active }) => active > 0)) await new Promise((resolve) => setImmediate(resolve))
        inner.assertClosed()
        fixtures.assertClosed()
      },
    }
  },
})
