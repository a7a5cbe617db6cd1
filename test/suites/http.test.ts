/** The behaviour suite over HTTP/1.1 on a socket, with the application in the same process. */

import { createServer } from 'node:net'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { makeFixtures } from '../apps/all.ts'
import { facts, MemoryHost } from '../support/memory-client.ts'
import { listening } from '../support/sockets.ts'
import { overHttp } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

behaviour({
  name: 'HTTP/1.1',
  async start() {
    const fixtures = makeFixtures()
    const host = new MemoryHost()
    const options = { host, facts, admit: () => host.admit() }
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      serveHttp1(socket, fixtures.application, options)
    })
    const { address, stop } = await listening(server)
    const running = overHttp(address, async () => {
      await stop()
      await host.idle()
      fixtures.assertClosed()
    })
    return { ...running, broken: () => [...fixtures.broken, ...host.faults, ...(running.broken?.() ?? [])] }
  },
})
