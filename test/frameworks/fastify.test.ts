/** Fastify in the pair. */

import { commonCases, nodeCases, webSocketCases } from './cases/index.ts'
import { compareFramework } from './run.ts'
import { type Case, one } from './shape.ts'

const own: readonly Case[] = [
  one('reply.sendFile', { target: '/send-file' }, 200),
  one('reply.download', { target: '/download' }, 200),
  one('A schema that is met', { target: '/schema?a=1' }, 200),
  one('A schema that is not met', { target: '/schema?a=x' }, 400),
  one('A web stream', { target: '/web/stream' }, 200),
  one('A Response', { target: '/web/response' }, 203),
  one('Hooks', { target: '/hooked' }, 200),
  one('reply.trailer', { target: '/trailers' }, 200),
  one('reply.writeEarlyHints', { target: '/hints' }, 200),
  one(
    'A body of a type that nobody parses',
    { method: 'POST', target: '/json', body: 'x', headers: [['Content-Type', 'application/odd']] },
    415,
  ),
]

compareFramework({
  framework: 'Fastify',
  module: 'test/frameworks/apps/fastify.ts',
  inPair: { target: 'test/frameworks/apps/fastify.ts' },
  cases: [...commonCases, ...nodeCases, ...webSocketCases, ...own],
  least: 80,
})
