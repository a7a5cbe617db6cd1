/** What a framework's application comes to: it makes a server, and listens. */

import { createServer } from 'node:http'

createServer((request, response) => response.end(`listens itself: ${request.url}\n`)).listen(process.env.PORT ?? 3000)
