/** application.ts, written for node:http. Arguments: `on|off` for the access log, then ports or socket paths. */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { logAccess } from './access-log.ts'

const [accessLog, ...endpoints] = process.argv.slice(2)
const bodies: Record<string, Buffer> = {
  '/': Buffer.from('Hello world!\n'),
  '/10KiB': Buffer.alloc(10 * 1024, 'x'),
  '/1MiB': Buffer.alloc(1024 * 1024, 'x'),
}
const chunk = Buffer.alloc(64 * 1024, 'x')
const aborted = new Map<string, bigint>()

const server = createServer((request, response) => {
  if (accessLog === 'on') logAccess(request, response)
  const url = request.url!
  const body = bodies[url]
  if (body !== undefined && request.method === 'GET') {
    send(response, body)
  } else if (url.startsWith('/bytes/')) {
    stream(response, Number(url.slice(7))).catch(() => response.destroy())
  } else if (url === '/sink') {
    sink(request, response).catch(() => response.destroy())
  } else if (url.startsWith('/hold/')) {
    response.writeHead(200, { 'Content-Type': 'text/plain' }).write('held\n')
    response.once('close', () => aborted.set(url.slice(6), process.hrtime.bigint()))
  } else if (url.startsWith('/aborted/')) {
    send(response, Buffer.from(String(aborted.get(url.slice(9)) ?? '')))
  } else if (url === '/stall') {
    // The request's body is never read.
  } else {
    response.writeHead(404).end()
  }
})

function send(response: ServerResponse, body: Buffer): void {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length }).end(body)
}

async function stream(response: ServerResponse, total: number): Promise<void> {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': total })
  for (let left = total; left > 0; left -= chunk.length) {
    if (!response.write(left < chunk.length ? chunk.subarray(0, left) : chunk)) await once(response, 'drain')
  }
  response.end()
}

async function sink(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let total = 0
  for await (const part of request) total += part.length
  send(response, Buffer.from(`${total}\n`))
}

server.keepAliveTimeout = 75_000
for (const endpoint of endpoints) {
  if (/^\d+$/.test(endpoint)) server.listen(Number(endpoint), '127.0.0.1', 4096)
  else server.listen({ path: endpoint, backlog: 4096 })
}
