/** What a listener of node:http sees and does, for the rows of "What differs". Calls `listen()` itself, on PORT. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'

let connections = 0

const routes: Record<string, (req: IncomingMessage, res: ServerResponse) => void> = {
  '/facts': (req, res) => {
    const { remoteAddress } = req.socket
    const names = Object.keys(req.headers)
    const forwardedFor = req.headers['x-forwarded-for'] ?? null
    res.end(JSON.stringify({ remoteAddress, names, forwardedFor, connections, socket: req.socket instanceof Socket }))
  },
  '/connection': (_req, res) => {
    res.setHeader('Connection', 'keep-alive').setHeader('Keep-Alive', 'timeout=9').end('x')
  },
  '/whole': (_req, res) => {
    res.write('who')
    res.end('le')
  },
  '/later': (_req, res) => void setTimeout(() => res.end('later'), 1_000),
  '/destroyed': (_req, res) => void res.destroy(),
  '/switched': (_req, res) => void res.writeHead(101).end(),
  '/pause': (_req, res) => {
    res.write('one ')
    setTimeout(() => res.end('two'), 2_500)
  },
}

const server = createServer((req, res) => {
  const route = routes[req.url!]
  if (route) route(req, res)
  else res.end(`url ${req.url}`)
})
server.maxRequestsPerSocket = 1
server.on('connection', () => connections++)
server.listen(Number(process.env['PORT']), '127.0.0.1', () => console.log('listening'))
