/** NestJS in the pair. */

import { multipart, part } from './cases/bodies.ts'
import { nodeCases } from './cases/index.ts'
import { compareFramework } from './run.ts'
import { type Case, one } from './shape.ts'

const json: [string, string][] = [['Content-Type', 'application/json']]

const own: readonly Case[] = [
  one('A controller', { target: '/cats' }, 200),
  one('A parameter through a pipe', { target: '/cats/0' }, 200),
  one('A parameter that its pipe refuses', { target: '/cats/x' }, 400),
  one('An HttpException', { target: '/cats/7' }, 404),
  one('A body', { method: 'POST', target: '/cats', body: '{"name":"Kit"}', headers: json }, 201),
  one('A body that is refused', { method: 'POST', target: '/cats', body: '{}', headers: json }, 400),
  one('A body that is malformed', { method: 'POST', target: '/cats', body: '{"', headers: json }, 400),
  one(
    'A body that is too large',
    { method: 'POST', target: '/cats', body: `{"name":"${'x'.repeat(200_000)}"}`, headers: json },
    413,
  ),
  one(
    'A form',
    {
      method: 'POST',
      target: '/cats',
      body: 'name=Kit',
      headers: [['Content-Type', 'application/x-www-form-urlencoded']],
    },
    201,
  ),
  one('HttpCode', { method: 'DELETE', target: '/cats/1' }, 204),
  one('A query', { target: '/query?a=1&b=2&b=3' }, 200),
  one('A request field', { target: '/header', headers: [['X-A', 'v']] }, 200),
  one('Redirect', { target: '/redirect' }, 301),
  one('Header', { target: '/fields' }, 200),
  one('HEAD', { method: 'HEAD', target: '/cats' }, 200),
  one('A route that there is not', { target: '/nothing' }, 404),
  one('A guard that refuses', { target: '/guarded' }, 403),
  one('A guard that lets in', { target: '/guarded', headers: [['Authorization', 'yes']] }, 200),
  one('An interceptor', { target: '/wrapped' }, 200),
  one('An exception filter', { target: '/odd' }, 499),
  one('An error tells nothing', { target: '/fails' }, 500),
  one('An error that comes later tells nothing', { target: '/fails/later' }, 500),
  one('A StreamableFile', { target: '/file' }, 200),
  one('A StreamableFile that fails', { target: '/file/failing' }, {}),
  one('Sse', { target: '/events' }, 200),
  one('An Observable', { target: '/observable' }, 200),
  one('An upload', multipart('/upload', [part('a', '1'), part('file', 'content', 'a.txt', 'text/plain')]), 201),
  one(
    'An upload that is too large',
    multipart('/upload', [part('file', 'x'.repeat(2000), 'a.txt', 'text/plain')]),
    413,
  ),
  one("The framework's own response", { target: '/own' }, 203),
  one('What the request says of itself', { target: '/facts?a=b' }, 200),
  one('CORS', { target: '/cats', headers: [['Origin', 'https://example.org']] }, 200),
  one(
    'A CORS preflight',
    {
      method: 'OPTIONS',
      target: '/cats',
      headers: [
        ['Origin', 'https://example.org'],
        ['Access-Control-Request-Method', 'PUT'],
      ],
    },
    0,
  ),
  {
    title: 'A client that goes before the answer is seen',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ target: '/hang?key=nest' })
      await peer.noted('nest', 1)
      sent.abort()
      return await peer.noted('nest', 2)
    },
    sees: ['begun', 'gone'],
  },
]

compareFramework({
  framework: 'NestJS',
  module: 'test/frameworks/apps/nest.ts',
  inPair: { target: 'test/frameworks/apps/nest.ts' },
  cases: [...own, ...nodeCases],
  least: 50,
})
