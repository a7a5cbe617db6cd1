/**
 * The first page of application.ts as an Express app: exported for a container, and served by node:http if this file is
 * run: `express.ts off ENDPOINT`.
 */

import { createServer } from 'node:http'
import express from 'express'

const app: express.Express = express()
app.get('/', (_req, res) => void res.type('text').send('Hello world!\n'))
export default app

if (import.meta.main) {
  const server = createServer(app)
  server.keepAliveTimeout = 75_000
  const endpoint = process.argv[3]!
  if (/^\d+$/.test(endpoint)) server.listen(Number(endpoint), '127.0.0.1', 4096)
  else server.listen({ path: endpoint, backlog: 4096 })
}
