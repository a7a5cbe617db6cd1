/** Where the pair differs from node:http, and why: each difference is asserted exactly. */

import assert from 'node:assert/strict'
import type { Framework, Seen } from './shape.ts'

export interface Difference {
  /** The frameworks that differ. Default: all. */
  readonly of?: readonly Framework[]
  /** The title of the case that shows the difference. */
  readonly title: string
  readonly reason: string
  /** Asserts the difference. */
  differs(plain: unknown, pair: unknown): void
}

function first(answers: unknown): Seen {
  return (answers as readonly Seen[])[0]!
}

/** Asserts several facts, each on both servers. */
function facts<T>(look: (seen: Seen) => T, plain: T, pair: T): Difference['differs'] {
  return (one, other) => {
    assert.deepEqual(look(first(one)), plain, 'node:http')
    assert.deepEqual(look(first(other)), pair, 'the pair')
  }
}

const status = (seen: Seen): number => seen.status

const type = (seen: Seen): string | undefined => seen.headers.find(([name]) => name === 'content-type')?.[1]

/** Requests that get no response on node:http. */
function unanswered(title: string): Difference {
  return {
    title,
    reason: 'a proxy answers for an application that gives no answer: on node:http the connection is cut',
    differs: facts(({ status, complete }) => [status, complete], [0, false], [500, true]),
  }
}

export const differences: readonly Difference[] = [
  {
    title: 'The names of all request fields',
    reason: 'a proxy says for whom it asks (RFC 7239) and under which id',
    differs: facts(({ body }) => (JSON.parse(body) as string[]).toSorted(), ['connection', 'host'].slice(1), [
      'forwarded',
      'host',
      'x-forwarded-for',
      'x-forwarded-host',
      'x-forwarded-proto',
      'x-request-id',
    ]),
  },
  {
    title: 'A request field with an underscore',
    reason: 'it would shadow the one with a dash in an environ: dropped, as nginx does',
    differs: facts(
      ({ body }) => Object.keys(JSON.parse(body) as object).toSorted(),
      ['host', 'x-over', 'x_under'],
      ['host', 'x-over'],
    ),
  },
  {
    title: 'X-Forwarded-For of a client, to who trusts his proxy',
    reason: 'a client is believed by the proxy only if --trusted-peers has it',
    differs: facts(
      ({ body }) => JSON.parse(body) as { ip: string; protocol: string },
      { ip: '192.0.2.1', protocol: 'https', host: 'gantry.test' } as { ip: string; protocol: string },
      { ip: '127.0.0.1', protocol: 'http', host: 'gantry.test' } as { ip: string; protocol: string },
    ),
  },
  {
    title: 'A head of 20 KB',
    reason: 'node:http takes 16 KiB; the pair takes 64 KiB, and its limit is an option of the proxy',
    differs: facts(status, 431, 200),
  },
  {
    title: 'An expectation that nobody knows',
    reason: 'the proxy refuses it itself, with a page',
    differs: facts(({ status, body }) => [status, body], [417, ''], [417, '417 Expectation Failed\n']),
  },
  {
    title: 'A target with an invalid escape',
    reason:
      'the contract has the gateway refuse it, for PATH_INFO is decoded; frameworks refuse it with a page of theirs',
    of: ['Express', 'Fastify', 'NestJS'],
    differs: facts(status, 400, 400),
  },
  {
    title: 'A target with an invalid escape',
    reason: 'the contract has the gateway refuse it, for PATH_INFO is decoded; this framework takes it as it is',
    of: ['Koa', 'Hono'],
    differs: facts(status, 200, 400),
  },
  {
    title: 'A malformed body leaves the connection',
    reason: "Connection is hop by hop: that Fastify closes a connection is no matter of the proxy's with its client",
    of: ['Fastify'],
    differs(plain, pair) {
      const reusable = [plain, pair].map((answer) => (answer as { reusable: boolean }).reusable)
      assert.deepEqual(reusable, [false, true])
    },
  },
  {
    title: 'A status of 205 without a body',
    reason:
      'a 205 has no body whatever is said (RFC 9110 §15.3.6): its length is written by the gateway, as it writes names',
    of: ['Fastify'],
    differs(plain, pair) {
      const lower = (seen: Seen): Seen => ({
        ...seen,
        headers: seen.headers.map(([name, value]) => [name.toLowerCase(), value]),
      })
      assert.deepEqual(lower(first(pair)), lower(first(plain)))
    },
  },
  ...['Bytes come back as they went', '300 KB come back', '300 KB in chunks come back'].map(
    (title): Difference => ({
      title,
      reason: '@hono/node-server calls a body without a type text; the pair makes no type up',
      of: ['Hono'],
      differs: facts(type, 'text/plain; charset=UTF-8', undefined),
    }),
  ),
  {
    title: 'A Response that says its length',
    reason: "@hono/node-server's own Response forgets the type that the Fetch standard gives to a string",
    of: ['Hono'],
    differs: facts(type, undefined, 'text/plain;charset=UTF-8'),
  },
  {
    title: 'Response.json with a reason',
    reason: '@hono/node-server does not send statusText; the pair does',
    of: ['Hono'],
    differs: facts(({ reason }) => reason, 'Non-Authoritative Information', 'Odd'),
  },
  {
    title: 'An error that is a string',
    reason: 'Hono lets go what is no Error: @hono/node-server answers without a body, the pair with its page',
    of: ['Hono'],
    differs: facts(({ status, body }) => [status, body === ''], [500, true], [500, false]),
  },
  {
    title: 'A stream to HTTP/1.0',
    reason: "Hono's streamText says Transfer-Encoding, which HTTP/1.0 does not know; the pair frames by itself",
    of: ['Hono'],
    differs: facts(({ status, complete }) => [status, complete], [0, false], [200, true]),
  },
  {
    title: 'ctx.attachment, lastModified and message',
    reason:
      'node:http takes Content-Disposition for UTF-8 when a length is known; the pair sends the bytes that were set',
    of: ['Koa'],
    differs: facts(
      ({ headers }) => headers.find(([name]) => name === 'Content-Disposition')?.[1]?.slice(0, 28),
      'attachment; filename="n\u00ef\u00bf\u00bdme',
      'attachment; filename="n\u00e4me.t',
    ),
  },
  {
    title: 'OPTIONS of the whole server',
    reason: '@hono/node-server makes no URL of *; the pair makes one with an empty path',
    of: ['Hono'],
    differs: facts(status, 400, 404),
  },
  {
    title: 'A CORS preflight',
    reason:
      'cors says Content-Length with a 204, which a strict client refuses (RFC 9110 §8.6); the pair leaves it out',
    of: ['NestJS'],
    differs: facts(status, 0, 204),
  },
  unanswered('A response that is destroyed before its head'),
  unanswered('A socket that is destroyed before the head'),
  unanswered('A response that times out and says nothing'),
  {
    title: 'A socket that times out',
    reason:
      "a listener of the socket's 'timeout' still has the response: node's server has destroyed the socket before it",
    differs: facts(status, 0, 504),
  },
]

export function differenceOf(framework: Framework, title: string): Difference | undefined {
  return differences.find((one) => one.title === title && (one.of?.includes(framework) ?? true))
}
