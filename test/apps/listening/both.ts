/** Exports one listener, and listens with another one. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

export const admin = (_req: IncomingMessage, res: ServerResponse): void => void res.end('admin')
export default admin

createServer((_req, res) => res.end('hello')).listen(3000)
