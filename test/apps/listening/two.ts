/** Two servers on two ports. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

createServer((_req, res) => res.end('hello')).listen(3000)
const second = createServer((_req, res) => res.end('second')).listen(0, '127.0.0.1', () => {
  console.error(`second ${(second.address() as AddressInfo).port} `)
})
