/** Serves a module's export `server` as node:http does, in a process of its own. */

import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pathToFileURL } from 'node:url'

const { server } = (await import(pathToFileURL(process.argv[2]!).href)) as { server: Server }
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  process.send!({ addresses: [{ kind: 'tcp', host: '127.0.0.1', port }] })
})
process.once('disconnect', () => process.exit())
