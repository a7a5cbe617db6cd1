/** Closes what its requests need immediately at SIGTERM, and then responds with 500, as many applications do. */

import { createServer } from 'node:http'

let isOpen = true
const server = createServer((_req, res) => {
  res.statusCode = isOpen ? 200 : 500
  res.end(isOpen ? 'open' : 'closed')
})
process.once('SIGTERM', () => {
  console.error('the application got SIGTERM')
  isOpen = false
  server.close(() => {
    console.error('its server is closed')
    process.exitCode = 5
  })
})
server.listen(3000)
