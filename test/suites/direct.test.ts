/** The behaviour suite without a wire: one exchange, an input and a sink in memory. */

import { makeFixtures } from '../apps/all.ts'
import { MemoryClient } from '../support/memory-client.ts'
import { behaviour } from './behaviour.ts'

behaviour({
  name: 'an exchange in memory',
  without: {
    framing: 'there is no wire',
    http10: 'there is no wire',
    date: 'gateways add Date and Server',
  },
  async start() {
    const fixtures = makeFixtures()
    const client = new MemoryClient(fixtures.application)
    return {
      open: async (options) => client.request(options),
      broken: () => [...fixtures.broken, ...client.host.faults],
      async close() {
        await client.host.idle()
        fixtures.assertClosed()
      },
    }
  },
})
