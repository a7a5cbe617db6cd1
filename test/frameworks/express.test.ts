/** Express in the pair. */

import { commonCases, nodeCases, socketCases } from './cases/index.ts'
import { compareFramework } from './run.ts'
import { type Case, one } from './shape.ts'

const own: readonly Case[] = [
  one('res.sendFile', { target: '/send-file' }, 200),
  one('res.sendFile with a range', { target: '/send-file', headers: [['Range', 'bytes=6-9']] }, 206),
  one('res.sendFile of what is missing', { target: '/send-missing' }, 404),
  one('res.download with a name that is no ASCII', { target: '/download' }, 200),
  one('res.sendStatus', { target: '/send-status/404' }, 404),
  one('res.jsonp', { target: '/jsonp?callback=call' }, 200),
  one('res.format for text', { target: '/format', headers: [['Accept', 'text/plain']] }, 200),
  one('res.format for JSON', { target: '/format', headers: [['Accept', 'application/json']] }, 200),
  one('res.format for nothing that there is', { target: '/format', headers: [['Accept', 'image/png']] }, 406),
  one('res.links, location and attachment', { target: '/links' }, 200),
  one('req.fresh', { target: '/fresh', headers: [['If-None-Match', '"v1"']] }, 304),
  one(
    'req.accepts and its kin',
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
  one('A router below a parameter', { target: '/shop/7/item/9?x=1' }, 200),
  one('A router that skips itself', { target: '/shop/7/skip' }, 404),
  one('trust proxy', { target: '/trusting/facts' }, 200),
  one(
    'X-Forwarded-For of a client, to who trusts his proxy',
    {
      target: '/trusting/facts',
      headers: [
        ['X-Forwarded-For', '192.0.2.1'],
        ['X-Forwarded-Proto', 'https'],
      ],
    },
    200,
  ),
  one('A checked parameter', { target: '/shop/7/param/good' }, 200),
  one('A parameter that fails its check', { target: '/shop/7/param/bad' }, 404),
  one(
    'Events through compression are flushed',
    { target: '/compressed/text', headers: [['Accept-Encoding', 'br']] },
    200,
  ),
]

compareFramework({
  framework: 'Express',
  module: 'test/frameworks/apps/express.ts',
  inPair: { target: 'test/frameworks/apps/express.ts' },
  cases: [...commonCases, ...nodeCases, ...own],
  least: 80,
})

// With WebSockets a module exports the server that they attach to.
compareFramework({
  framework: 'Express',
  title: 'Express with WebSockets',
  module: 'test/frameworks/apps/express.ts',
  inPair: { target: 'test/frameworks/apps/express.ts:server' },
  cases: socketCases,
  least: 20,
})
