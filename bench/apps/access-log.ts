/** An access log for the node:http peers, made the fast way that is customary: pino, gathered lines, a file. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { pino } from 'pino'

const log = pino({}, pino.destination({ dest: 1, sync: false, minLength: 64 * 1024, maxWrite: 128 * 1024 }))

export function logAccess(request: IncomingMessage, response: ServerResponse): void {
  const start = performance.now()
  response.once('close', () => {
    log.info(
      {
        remote: request.socket.remoteAddress,
        method: request.method,
        url: request.url,
        protocol: `HTTP/${request.httpVersion}`,
        status: response.statusCode,
        bytes: Number(response.getHeader('content-length') ?? 0),
        ms: Math.round((performance.now() - start) * 10) / 10,
        referer: request.headers.referer,
        userAgent: request.headers['user-agent'],
      },
      'request',
    )
  })
}
