/** A Node listener that a module exports, and does not serve itself. */

import type { IncomingMessage, ServerResponse } from 'node:http'

export default function listener(_req: IncomingMessage, res: ServerResponse): void {
  res.end('plain')
}
