/** Koa in the pair. */

import { commonCases, nodeCases, socketCases } from './cases/index.ts'
import { compareFramework } from './run.ts'
import { type Case, one } from './shape.ts'

const own: readonly Case[] = [
  one('ctx.attachment, lastModified and message', { target: '/attachment' }, 200),
  one(
    'ctx.accepts and its kin',
    {
      target: '/accepts',
      headers: [
        ['Accept', 'text/html'],
        ['Accept-Language', 'en, de;q=0.5'],
        ['Accept-Encoding', 'gzip'],
        ['X-A', 'b'],
      ],
    },
    200,
  ),
  one('A body of null', { target: '/null' }, 204),
  one('A status alone', { target: '/message/418' }, 418),
  one('A web stream', { target: '/web/stream' }, 200),
  one('A blob', { target: '/web/blob' }, 200),
  one('A Response', { target: '/web/response' }, 203),
  one('ctx.assert', { target: '/error/assert' }, 401),
  one('A method that the router has nowhere', { method: 'PROPFIND', target: '/json' }, 501),
]

compareFramework({
  framework: 'Koa',
  module: 'test/frameworks/apps/koa.ts',
  inPair: { target: 'test/frameworks/apps/koa.ts' },
  cases: [...commonCases, ...nodeCases, ...own],
  least: 80,
})

// With WebSockets a module exports the server that they attach to.
compareFramework({
  framework: 'Koa',
  title: 'Koa with WebSockets',
  module: 'test/frameworks/apps/koa.ts',
  inPair: { target: 'test/frameworks/apps/koa.ts:server' },
  cases: socketCases,
  least: 20,
})
