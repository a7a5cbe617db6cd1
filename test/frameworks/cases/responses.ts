/** Cookies, sessions, compression, redirects, statuses, fields, errors. */

import type { Answer, Fields } from '../../support/client.ts'
import { fields } from '../../support/client.ts'
import { seen } from '../compare.ts'
import { type Case, one, type Peer } from '../shape.ts'

async function session(peer: Peer, cookie: string | undefined, target = '/session', method = 'GET'): Promise<Answer> {
  const headers: Fields = cookie === undefined ? [] : [['Cookie', cookie]]
  return await peer.fetch({ target, method, headers })
}

/** The cookies that a browser sends back. */
function cookieOf(answer: Answer): string | undefined {
  const set = fields(answer, 'set-cookie').map((value) => value.split(';')[0])
  return set.length === 0 ? undefined : set.join('; ')
}

function accepting(title: string, target: string, coding: string, method = 'GET'): Case {
  return one(`Compression: ${title}`, { method, target, headers: [['Accept-Encoding', coding]] }, 200)
}

export const cookieCases: readonly Case[] = [
  one('Several cookies are set in their order', { target: '/cookies/set' }, 200),
  one('Cookies are read', { target: '/cookies/read', headers: [['Cookie', 'a=1; b="two"; c=%C3%A9']] }, 200),
  one(
    'Cookies in two fields are read',
    {
      target: '/cookies/read',
      headers: [
        ['Cookie', 'a=1'],
        ['Cookie', 'b=2'],
      ],
    },
    200,
  ),
  one('A signed cookie is set', { target: '/cookies/sign' }, 200),
  one('A cookie is cleared', { target: '/cookies/clear' }, 200),
  {
    title: 'A signed cookie is known again, and a forged one is not',
    async run(peer) {
      const cookie = cookieOf(await peer.fetch({ target: '/cookies/sign' }))!
      const read = async (value: string): Promise<string> =>
        (await peer.fetch({ target: '/cookies/read', headers: [['Cookie', value]] })).body.toString()
      return [await read(cookie), await read(cookie.replace('value', 'other'))]
    },
  },
  {
    title: 'A session counts the visits of each of two clients',
    async run(peer) {
      const first = await session(peer, undefined)
      const other = await session(peer, undefined)
      const again = await session(peer, cookieOf(first))
      const more = await session(peer, cookieOf(again) ?? cookieOf(first))
      const theirs = await session(peer, cookieOf(other))
      return [first, other, again, more, theirs].map((answer) => seen(answer, answer).body)
    },
    sees: ['{"count":1}', '{"count":1}', '{"count":2}', '{"count":3}', '{"count":2}'],
  },
  {
    title: 'A session that was ended begins anew',
    async run(peer) {
      const first = await session(peer, undefined)
      const ended = await session(peer, cookieOf(first), '/session/end', 'POST')
      const anew = await session(peer, cookieOf(ended) ?? 'none=1')
      return [ended.status, anew.body.toString()]
    },
    sees: [200, '{"count":1}'],
  },
  one(
    'A session cookie that was made up',
    { target: '/session', headers: [['Cookie', 'connect.sid=s%3Amade-up.up; koa.sess=eyJ4; sessionId=x.y']] },
    200,
  ),
]

export const compressionCases: readonly Case[] = [
  accepting('gzip', '/compressed/text', 'gzip'),
  accepting('JSON', '/compressed/json', 'gzip'),
  accepting('deflate', '/compressed/text', 'deflate'),
  accepting('identity', '/compressed/text', 'identity'),
  accepting('a coding that is refused', '/compressed/text', 'gzip;q=0'),
  accepting('what is small', '/compressed/small', 'gzip'),
  accepting('the head alone', '/compressed/text', 'gzip', 'HEAD'),
  accepting('a stream of 3 MB', '/compressed/stream', 'gzip'),
  one('Compression: nothing is asked for', { target: '/compressed/text' }, 200),
]

const redirects = [301, 302, 303, 307, 308]

export const responseCases: readonly Case[] = [
  one('A redirect', { target: '/redirect' }, 302),
  one('A redirect to elsewhere', { target: '/redirect/outside' }, 302),
  one('HEAD of a redirect', { method: 'HEAD', target: '/redirect' }, 302),
  ...redirects.map((status) => one(`A redirect with ${status}`, { target: `/redirect/${status}` }, status)),
  ...[200, 201, 202, 204, 205, 304, 400, 401, 418, 451, 500, 503].map((status) =>
    one(`A status of ${status} without a body`, { target: `/status/${status}` }, status),
  ),
  one('One hundred fields', { target: '/fields/many' }, 200),
  one('Repeated fields in their order', { target: '/fields/repeated' }, 200),
  one('A field of 10 KB', { target: '/fields/large' }, 200),
  one('A body of bytes', { target: '/type/buffer' }, 200),
  one('HTML in UTF-8', { target: '/type/html' }, 200),
  one('A body of nothing', { target: '/type/empty' }, {}),
  {
    title: 'A tag that a framework made is not modified when it is asked for again',
    async run(peer) {
      const first = await peer.fetch({ target: '/tagged' })
      const tag = fields(first, 'etag')[0] ?? '"none"'
      const again = await peer.fetch({ target: '/tagged', headers: [['If-None-Match', tag]] })
      const weak = await peer.fetch({ target: '/tagged', headers: [['If-None-Match', 'W/"x", "y"']] })
      return [seen(first, first), seen(again, again), weak.status]
    },
  },
]

export const errorCases: readonly Case[] = [
  one('A handler that throws is 500 and tells nothing', { target: '/error/sync' }, 500),
  one('A handler that throws later is 500', { target: '/error/async' }, 500),
  one('HEAD of a handler that throws', { method: 'HEAD', target: '/error/sync' }, 500),
  one('An error with a status', { target: '/error/status' }, 418),
  one('An error that is a string', { target: '/error/odd' }, {}),
  one('An error that is handled', { target: '/error/handled' }, 502),
  {
    title: 'An error after the head cuts the response',
    async run(peer) {
      const { status, body, complete } = await peer.fetch({ target: '/error/after-head' })
      return { status, body: body.toString(), complete }
    },
    sees: { status: 200, body: 'begun', complete: false },
  },
  {
    title: 'A stream that fails cuts the response',
    async run(peer) {
      const { status, body, complete } = await peer.fetch({ target: '/error/stream' })
      return { status, body: body.toString(), complete }
    },
    sees: { status: 200, body: 'begun', complete: false },
  },
  {
    title: 'Errors leave the server as it was',
    async run(peer) {
      const answers = await Promise.all(
        ['sync', 'async', 'stream', 'odd'].map((kind) => peer.fetch({ target: `/error/${kind}` })),
      )
      const { body } = await peer.fetch({ target: '/' })
      return [answers.map(({ status }) => status), body.toString()]
    },
  },
]
