/**
 * The behaviour suite through an HTTP upstream: gateway, http-proxy, node's HTTP client, and a second gateway in front
 * of the application.
 */

import { createServer } from 'node:net'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { http } from '../../proxy/upstreams/http.ts'
import { makeFixtures } from '../apps/all.ts'
import { facts, MemoryHost } from '../support/memory-client.ts'
import { listening } from '../support/sockets.ts'
import { overHttp } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

behaviour({
  name: 'an HTTP upstream',
  without: { 'absolute-form': 'an origin server is asked in origin form (RFC 9112 §3.2.1)' },
  async start() {
    const fixtures = makeFixtures()
    const back = new MemoryHost()
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      serveHttp1(socket, fixtures.application, { host: back, facts, admit: () => back.admit() })
    })
    const upstream = await listening(server)
    const application = http(`http://127.0.0.1:${upstream.address.port}`)
    const front = new MemoryHost()
    const proxy = await listening(
      createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        serveHttp1(socket, application, { host: front, facts, admit: () => front.admit() })
      }),
    )
    const running = overHttp(proxy.address, async () => {
      await proxy.stop()
      await front.idle()
      await application.close()
      await upstream.stop()
      await back.idle()
      fixtures.assertClosed()
    })
    return {
      ...running,
      broken: () => [...fixtures.broken, ...back.faults, ...front.faults, ...(running.broken?.() ?? [])],
    }
  },
})
