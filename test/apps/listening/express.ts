/** A usual Express application: it listens, with a WebSocket beside it and shutdown code, and exports nothing. */

import express from 'express'
import { WebSocketServer } from 'ws'

const app = express()
app.get('/', (_req, res) => void res.send('hello'))
app.get('/begun', (_req, res) => {
  res.write('begun ')
  process.once('SIGTERM', () => setTimeout(() => res.end('ended'), 300))
})
app.get('/close', (_req, res) => {
  server.close()
  res.send('closing')
})

const server = app.listen(3000, '0.0.0.0', () => {
  const address = server.address()
  console.error(`listening ${server.listening} ${typeof address === 'object' ? address?.port : address}`)
})
const sockets = new WebSocketServer({ server, path: '/ws' })
sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)))

process.on('SIGTERM', () => {
  console.error('the application was told')
  // Many applications have this timer, in case close() hangs.
  setTimeout(() => process.exit(1), 50)
  server.close(() => {
    console.error('the application closed')
    setTimeout(() => {
      console.error('the application is done')
      process.exit(0)
    }, 50)
  })
})
console.error(`argv ${process.argv.slice(1).map((one) => one.replace(/.*[/]/, ''))}`)
