/** A listener of node:http for the rows of "What differs": reports what it sees. Calls `listen()` itself, on PORT. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'

let connections = 0

const routes: Record<string, (req: IncomingMessage, res: ServerResponse) => void> = {
  '/facts': (req, res) => {
    const { remoteAddress } = req.socket
    const names = Object.keys(req.headers)
    const forwarded = ['for', 'proto', 'host'].map((name) => req.headers[`x-forwarded-${name}`] ?? null)
    const said = names.filter((name) => req.headers[name] === 'said')
    const socket = req.socket instanceof Socket
    res.end(JSON.stringify({ remoteAddress, names, forwarded, said, connections, socket }))
  },
  '/request-trailers': (req, res) => {
    const names = (): string[] => req.rawTrailers.filter((_, at) => at % 2 === 0)
    req.resume().once('end', () => res.end(JSON.stringify(names())))
  },
  '/upload': (req, res) => {
    let text = ''
    req.on('data', (chunk) => {
      text += chunk
    })
    req.once('end', () => res.end(text))
  },
  '/connection': (_req, res) => {
    res.setHeader('Connection', 'keep-alive').setHeader('Keep-Alive', 'timeout=9').end('x')
  },
  '/hop-by-hop': (_req, res) => {
    const fields = { 'Transfer-Encoding': 'chunked', Trailer: 'X-After', Upgrade: 'h2c', TE: 'trailers' }
    res.writeHead(200, { ...fields, 'Proxy-Authenticate': 'Basic' }).end('whole')
  },
  '/trailers': (_req, res) => {
    res.writeHead(200, { Trailer: 'X-After' }).write('whole')
    res.addTrailers({ 'X-After': 'yes' })
    res.end()
  },
  '/by-hand': (req) => {
    req.socket.write('HTTP/1.1 200 OK\r\n\r\n')
    req.socket.end('by hand')
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
server.on('upgrade', (_req, socket) => {
  socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n')
})
server.listen(Number(process.env['PORT']), '127.0.0.1', () => console.log('listening'))
