/**
 * http-proxy (maintained as http-proxy-3) in front of node:http, connections kept. Arguments: `on|off` for the access
 * log, port, the upstream's socket.
 */

import { Agent, createServer } from 'node:http'
import { createProxyServer } from 'http-proxy'
import { logAccess } from './access-log.ts'

const [accessLog, port, socketPath] = process.argv.slice(2)
const proxy = createProxyServer({
  target: { socketPath, host: 'localhost', port: 80, protocol: 'http:' },
  agent: new Agent({ keepAlive: true, maxSockets: 512 }),
  xfwd: true,
})
proxy.on('error', (_error, _request, response) => response?.destroy())

const server = createServer((request, response) => {
  if (accessLog === 'on') logAccess(request, response)
  proxy.web(request, response)
})
server.keepAliveTimeout = 75_000
server.listen(Number(port), '127.0.0.1', 4096)
