/** Exports its server, and exits immediately at SIGTERM. */

import { createServer, type Server } from 'node:http'

process.on('SIGTERM', () => process.exit(3))

export const application: Server = createServer((_req, res) => {
  res.write('begun ')
  process.once('SIGTERM', () => setTimeout(() => res.end('ended'), 100))
})
