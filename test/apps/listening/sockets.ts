/**
 * A server with `ws` and socket.io beside each other, as `http.createServer` has them: both listen for its upgrades.
 */

import { createServer, type Server } from 'node:http'
import { Server as SocketServer } from 'socket.io'
import { WebSocketServer } from 'ws'

export const application: Server = createServer((_req, res) => res.end('hello'))

const sockets = new WebSocketServer({ noServer: true })
application.on('upgrade', (req, socket, head) => {
  if (req.url !== '/ws') return
  sockets.handleUpgrade(req, socket, head, (client) => {
    client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
  })
})

new SocketServer(application).on('connection', (client) => {
  client.on('shout', (text: string, answer: (text: string) => void) => answer(text.toUpperCase()))
})
