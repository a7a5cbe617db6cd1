/** Static files: ranges and conditions. */

import type { Fields } from '../../support/client.ts'
import { type Case, one } from '../shape.ts'

const changed = 'Fri, 02 Jan 2026 03:04:05 GMT'

function file(title: string, path: string, status: Parameters<typeof one>[2], ...headers: Fields): Case {
  return one(`A file: ${title}`, { target: `/static/${path}`, headers }, status)
}

const noRanges = { Koa: [200], Hono: [206] }
const noConditions = { Hono: [200] }

export const fileCases: readonly Case[] = [
  file('whole', 'hello.txt', 200),
  one('A file: its head', { method: 'HEAD', target: '/static/hello.txt' }, 200),
  file('HTML', 'page.html', 200),
  file('a script', 'script.js', 200),
  file('JSON', 'data.json', 200),
  file('empty', 'empty.txt', 200),
  file('with a space in its name', 'with%20space.txt', 200),
  file('300 KB of bytes', 'big.bin', 200),
  file('missing', 'missing.txt', 404),
  file('hidden', '.hidden', {}),
  file('outside of the folder', '..%2f..%2fetc/passwd', {}),
  file('a folder with an index', 'folder/', {}),
  file('a folder without its slash', 'folder', {}),
  file('the first bytes', 'hello.txt', { Express: [206], Fastify: [206], ...noRanges }, ['Range', 'bytes=0-4']),
  file('the last bytes', 'hello.txt', { Express: [206], Fastify: [206] }, ['Range', 'bytes=-6']),
  file('from a byte on', 'big.bin', { Express: [206], Fastify: [206] }, ['Range', 'bytes=299990-']),
  file('two ranges', 'hello.txt', {}, ['Range', 'bytes=0-1,5-6']),
  file('a range that is beyond', 'hello.txt', { Express: [416], Fastify: [416] }, ['Range', 'bytes=5000-']),
  file('a range that makes no sense', 'hello.txt', {}, ['Range', 'bytes=z-a']),
  one(
    'A file: a range of its head',
    { method: 'HEAD', target: '/static/hello.txt', headers: [['Range', 'bytes=0-4']] },
    {},
  ),
  file('not modified since', 'hello.txt', { Express: [304], Fastify: [304], ...noConditions }, [
    'If-Modified-Since',
    changed,
  ]),
  file('modified since', 'hello.txt', 200, ['If-Modified-Since', 'Fri, 02 Jan 2020 03:04:05 GMT']),
  file('any tag matches', 'hello.txt', {}, ['If-None-Match', '*']),
  file('another tag', 'hello.txt', 200, ['If-None-Match', '"other"']),
  file('If-Match of another tag', 'hello.txt', {}, ['If-Match', '"other"']),
  file('If-Unmodified-Since before the change', 'hello.txt', {}, [
    'If-Unmodified-Since',
    'Fri, 02 Jan 2020 03:04:05 GMT',
  ]),
  file('If-Range of this date', 'hello.txt', {}, ['Range', 'bytes=0-3'], ['If-Range', changed]),
  file(
    'If-Range of another date',
    'hello.txt',
    {},
    ['Range', 'bytes=0-3'],
    ['If-Range', 'Fri, 02 Jan 2020 03:04:05 GMT'],
  ),
  {
    title: 'A file: its own tag is not modified',
    async run(peer) {
      const { headers } = await peer.fetch({ target: '/static/hello.txt' })
      const tag = headers.find(([name]) => name.toLowerCase() === 'etag')?.[1] ?? '"none"'
      const { status, body } = await peer.fetch({ target: '/static/hello.txt', headers: [['If-None-Match', tag]] })
      return { tag, status, body: body.toString() }
    },
  },
]
