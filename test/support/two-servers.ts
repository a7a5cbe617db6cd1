/** The same server twice: one that node serves, and one whose listeners get their requests from our gateway. */

import { once } from 'node:events'
import { type IncomingMessage, request, type Server } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { fromServer } from '../../interfaces/node/from-node.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { facts, MemoryHost } from './memory-client.ts'
import { listening } from './sockets.ts'

/** The results of `act` for both servers, node's first. */
export async function both(
  make: () => Server,
  act: (port: number, server: Server) => Promise<unknown>,
): Promise<unknown[]> {
  const seen: unknown[] = []
  for (const whose of ['node', 'gantry']) {
    const server = make()
    const host = new MemoryHost()
    const application = fromServer(server)
    const options = { host, facts, admit: () => host.admit() }
    const { address, stop } = await listening(
      whose === 'node'
        ? server
        : createTcpServer(
            { allowHalfOpen: true, noDelay: true },
            (socket) => void serveHttp1(socket, application, options),
          ),
    )
    try {
      seen.push(await act(address.port, server))
    } finally {
      await stop()
      await host.idle()
    }
  }
  return seen
}

export async function get(port: number, path: string = '/', headers: Record<string, string> = {}): Promise<string> {
  const sent = request({ port, path, agent: false, headers })
  const [res] = (await once(sent.end(), 'response')) as [IncomingMessage]
  return (await res.setEncoding('latin1').toArray()).join('')
}
