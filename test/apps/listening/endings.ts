/**
 * Event streams, uploads and upgraded sockets that log how each ended, and an end that takes an event-loop iteration.
 */

import { once } from 'node:events'
import { createServer } from 'node:http'

const server = createServer(async (req, res) => {
  const say = (text: string): void => console.error(`${req.url} ${text}`)
  req.on('error', (error: NodeJS.ErrnoException) => say(`failed ${error.code}`))
  req.resume()
  res.write('hello')
  try {
    await once(res, 'close')
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    say('finally')
  }
})
server.on('upgrade', (req, socket) => {
  socket.on('error', () => {}).on('close', () => setImmediate(() => console.error(`${req.url} closed`)))
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nhello')
})
server.listen(3000)
