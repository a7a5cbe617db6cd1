/** Listens within an AsyncLocalStorage store, and says which store its listener finds; each request enters another. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer } from 'node:http'

const storage = new AsyncLocalStorage<string>()

const server = createServer((_req, res) => {
  const found = storage.getStore()
  storage.enterWith('of a request')
  res.on('finish', () => storage.enterWith('of a response'))
  res.end(found)
})

storage.run('of listen()', () => server.listen(Number(process.env['PORT'] ?? 3000)))
