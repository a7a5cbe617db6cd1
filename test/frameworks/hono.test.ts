/** Hono in the pair, beside @hono/node-server on node:http. */

import { commonCases, socketCases } from './cases/index.ts'
import { compareFramework } from './run.ts'
import { type Case, one } from './shape.ts'

const text: [string, string][] = [['Content-Type', 'text/plain']]

const own: readonly Case[] = [
  one('A body that is handed back', { method: 'POST', target: '/echo', body: 'x'.repeat(200_000), headers: text }, 200),
  {
    title: 'A body that is handed back while it comes',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ method: 'POST', target: '/echo', body: 'stream' })
      await sent.send('one')
      const before = (await sent.has(3)).toString()
      await sent.send('two')
      sent.finish()
      return [before, (await sent.whole()).body.toString()]
    },
    sees: ['one', 'onetwo'],
  },
  one('Request.clone and new Request', { method: 'POST', target: '/request/clone', body: 'twice', headers: text }, {}),
  one('Request.blob', { method: 'POST', target: '/request/blob', body: 'blob', headers: text }, 200),
  one(
    'A body of which a part is read',
    { method: 'POST', target: '/request/half', body: 'x'.repeat(100), headers: text },
    200,
  ),
  one('A file as a web stream', { target: '/file-stream' }, 200),
  one('A Response of a blob', { target: '/responses/blob' }, 200),
  one('A Response of a form', { target: '/responses/form' }, 200),
  one('Response.json with a reason', { target: '/responses/json' }, 203),
  one('A Response of null', { target: '/responses/null' }, 200),
  one('Response.redirect', { target: '/responses/redirect' }, 307),
  one('A cloned Response', { target: '/responses/clone' }, 200),
  one('A Response of a generator', { target: '/responses/generator' }, 200),
  one('A Response that says its length', { target: '/responses/chunked-length' }, 200),
  one('HEAD of a Response of null', { method: 'HEAD', target: '/responses/null' }, 200),
  one('CORS', { target: '/cors', headers: [['Origin', 'https://example.org']] }, 200),
  one(
    'A CORS preflight',
    {
      method: 'OPTIONS',
      target: '/cors',
      headers: [
        ['Origin', 'https://example.org'],
        ['Access-Control-Request-Method', 'PUT'],
      ],
    },
    204,
  ),
  one('Secure headers', { target: '/secure' }, 200),
  one('An answer that comes later', { target: '/later' }, 200),
  {
    title: 'An upload whose client goes fails to be read',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ method: 'POST', target: '/upload/abort?key=upload-abort', body: 'stream' })
      await sent.send('some')
      await peer.noted('upload-abort', 1)
      sent.abort()
      return (await peer.noted('upload-abort', 3)).toSorted()
    },
  },
]

compareFramework({
  framework: 'Hono',
  module: 'test/frameworks/apps/hono.ts',
  inPair: { target: 'test/frameworks/apps/hono.ts' },
  cases: [...commonCases, ...own],
  least: 80,
})

// With WebSockets a module exports @hono/node-server's server.
compareFramework({
  framework: 'Hono',
  title: 'Hono with WebSockets',
  module: 'test/frameworks/apps/hono.ts',
  inPair: { target: 'test/frameworks/apps/hono.ts:server' },
  cases: socketCases,
  least: 20,
})
