/**
 * The first page of application.ts as a Hono app: exported for a container, and served by @hono/node-server if this
 * file is run: `hono.ts off ENDPOINT`.
 */

import { Hono } from 'hono'

const app: Hono = new Hono()
app.get('/', (c) => c.text('Hello world!\n'))
export default app

if (import.meta.main) {
  const { createAdaptorServer } = await import('@hono/node-server')
  const server = createAdaptorServer({ fetch: app.fetch })
  Object.assign(server, { keepAliveTimeout: 75_000 })
  const endpoint = process.argv[3]!
  if (/^\d+$/.test(endpoint)) server.listen(Number(endpoint), '127.0.0.1', 4096)
  else server.listen({ path: endpoint, backlog: 4096 })
}
