/** Streams, server-sent events, aborts of either side. */

import type { Peer } from '../shape.ts'
import { bytes, type Case, one } from '../shape.ts'

let keys = 0

/** A key for notes that no other case uses. */
function fresh(): string {
  return `key-${++keys}`
}

async function first(peer: Peer, target: string, length: number): Promise<string> {
  const client = await peer.connect()
  return (await client.request({ target }).has(length)).toString()
}

/** A case in which the application records notes, under the same key at both servers. */
function noting(title: string, run: (peer: Peer, key: string) => Promise<unknown>, sees?: unknown): Case {
  const key = fresh()
  return { title, run: (peer) => run(peer, key), ...(sees === undefined ? {} : { sees }) }
}

export const streamCases: readonly Case[] = [
  one('A stream of chunks', { target: '/stream' }, 200),
  one('HEAD of a stream', { method: 'HEAD', target: '/stream' }, 200),
  one(
    'A stream to HTTP/1.0',
    { target: '/stream', minor: 0 },
    { Express: [200], Koa: [200], Fastify: [200], Hono: [0] },
  ),
  one('3 MB', { target: '/big' }, 200),
  one('Server-sent events', { target: '/events', headers: [['Accept', 'text/event-stream']] }, 200),
  one('Server-sent events to who was there before', { target: '/events', headers: [['Last-Event-ID', '1']] }, 200),
  noting(
    'The first chunk is there before the second is made',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/held?key=${key}` })
      const begun = (await sent.has(6)).toString()
      await peer.fetch({ target: `/release?key=${key}` })
      const { body, complete } = await sent.whole()
      return [begun, body.toString(), complete]
    },
    ['first\n', 'first\nsecond\n', true],
  ),
  noting('3 MB to a client that stops for a while', async (peer) => {
    const client = await peer.connect()
    const sent = client.request({ target: '/big' })
    await sent.has(1000)
    sent.pause()
    await new Promise((resolve) => setTimeout(resolve, 50))
    client.socket.resume()
    const { body, complete } = await sent.whole()
    return [bytes(body), complete]
  }),
  noting('Ten clients stream at once', async (peer) => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => peer.fetch({ target: '/stream' })))
    return answers.map(({ status, body }) => [status, body.toString()])
  }),
  noting(
    'A client that goes ends endless events',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/endless?key=${key}` })
      await sent.has(20)
      sent.abort()
      return await peer.noted(key, 1)
    },
    ['ended'],
  ),
  noting(
    'A client that resets the connection ends endless events',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/endless?key=${key}` })
      await sent.has(20)
      sent.abort('reset')
      return await peer.noted(key, 1)
    },
    ['ended'],
  ),
  noting(
    'A client that goes before the answer is seen',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/hang?key=${key}` })
      await peer.noted(key, 1)
      sent.abort()
      return await peer.noted(key, 2)
    },
    ['begun', 'gone'],
  ),
  noting(
    'A client that resets before the answer is seen',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/hang?key=${key}` })
      await peer.noted(key, 1)
      sent.abort('reset')
      return await peer.noted(key, 2)
    },
    ['begun', 'gone'],
  ),
  noting('A client that goes leaves the others', async (peer, key) => {
    const client = await peer.connect()
    const sent = client.request({ target: `/held?key=${key}` })
    const other = await first(peer, `/held?key=${key}`, 6)
    await sent.has(6)
    sent.abort()
    await peer.fetch({ target: `/release?key=${key}` })
    return [other, (await peer.fetch({ target: '/stream' })).body.toString()]
  }),
]

/** For frameworks that route to node's own request and response. */
export const rawCases: readonly Case[] = [
  one('Early hints', { target: '/raw/early-hints' }, 200),
  one('Early hints, twice', { target: '/raw/two-hints' }, 200),
  one('Trailers', { target: '/raw/trailers' }, 200),
  {
    title: 'Trailers of a request',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({
        method: 'POST',
        target: '/raw/request-trailers',
        body: 'stream',
        headers: [['Trailer', 'X-Sum']],
      })
      await sent.send('body')
      sent.finish([
        ['X-Sum', '1'],
        ['X-Sum', '2'],
      ])
      return (await sent.whole()).body.toString()
    },
  },
  one(
    'headers and headersDistinct',
    {
      target: '/raw/headers',
      headers: [
        ['X-A', '1'],
        ['X-A', '2'],
        ['Content-Type', 'text/x'],
        ['Cookie', 'a=1'],
        ['Age', '1'],
        ['Age', '2'],
      ],
    },
    200,
  ),
  one(
    'The names of fields keep their case and order',
    {
      target: '/raw/names',
      headers: [
        ['X-CamelCase', '1'],
        ['x-lower', '2'],
        ['X-UPPER', '3'],
      ],
    },
    200,
  ),
  one('What node says of a request', { target: '/raw/facts?x=1' }, 200),
  one('What node says of a POST', { method: 'POST', target: '/raw/facts', body: 'x' }, 200),
  one('A flushed head', { target: '/raw/flush' }, 200),
  one('writeHead with an array', { target: '/raw/raw-head' }, 200),
  one('writeHead with a reason and an object', { target: '/raw/head-object' }, 201),
  one('appendHeader, setHeaders, getHeaders', { target: '/raw/append-header' }, 200),
  one('A hop-by-hop field of the application', { target: '/raw/hop' }, 200),
  one('strictContentLength', { target: '/raw/strict' }, {}),
  one('A length that is not kept to: too little', { target: '/raw/short', headers: [['Connection', 'close']] }, 200),
  one('A length that is not kept to: too much', { target: '/raw/long', headers: [['Connection', 'close']] }, 200),
  one('A response that is destroyed before its head', { target: '/raw/destroy' }, {}),
  one('A socket that is destroyed before the head', { target: '/raw/socket-destroy' }, {}),
  one('A response that is destroyed after a part', { target: '/raw/cut' }, 200),
  one('A socket that is destroyed in a body with a length', { target: '/raw/cut-length' }, 200),
  one('A response that times out and says so', { target: '/raw/timeout' }, 503),
  one('A response that times out and says nothing', { target: '/raw/silent-timeout' }, {}),
  one('A socket that times out', { target: '/raw/socket-timeout' }, 0),
  one('A timeout that is taken back', { target: '/raw/no-timeout' }, 200),
  {
    title: 'A request that times out',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ method: 'POST', target: '/raw/request-timeout', body: 'stream' })
      await sent.send('slow')
      const { status, body } = await sent.whole()
      return [status, body.toString()]
    },
    sees: [408, 'too slow'],
  },
  one('A body that is piped back', { method: 'POST', target: '/raw/echo', body: Buffer.alloc(400_000, 'pipe') }, 200),
  {
    title: 'A body that is piped back while it comes',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ method: 'POST', target: '/raw/echo', body: 'stream' })
      await sent.send('one')
      const before = (await sent.has(3)).toString()
      await sent.send('two')
      const between = (await sent.has(6)).toString()
      sent.finish()
      return [before, between, (await sent.whole()).body.toString()]
    },
    sees: ['one', 'onetwo', 'onetwo'],
  },
  one('pipeline of 3 MB', { target: '/raw/big' }, 200),
  one('2 MB written under drain', { target: '/raw/drain' }, 200),
  one('A file that is piped', { target: '/raw/pipe' }, 200),
  one('A pipeline', { target: '/raw/pipeline' }, 200),
  one('A pipeline that fails', { target: '/raw/pipeline-error' }, 200),
  one('Five hundred writes', { target: '/raw/many-writes' }, 200),
  one('Writes in several encodings', { target: '/raw/encodings' }, 200),
  one('Corked writes', { target: '/raw/corked' }, 200),
  one('A reason of its own', { target: '/raw/status-message' }, 299),
  one('204 with a body', { target: '/raw/body-of-204' }, 204),
  one('304 with a body', { target: '/raw/body-of-304' }, 304),
  one('A field in Latin-1', { target: '/raw/latin1' }, 200),
  one('A field with a line break is refused', { target: '/raw/bad-header' }, 200),
  one('A field after the head is refused', { target: '/raw/late-header' }, 200),
  one('A write after the end', { target: '/raw/write-after-end' }, 200),
  one('An end after the end', { target: '/raw/end-twice' }, 200),
  one('A body without a type', { target: '/raw/no-content-type' }, 200),
  one(
    'A slow reader gets the whole upload',
    { method: 'POST', target: '/raw/slow-read', body: Buffer.alloc(200_000) },
    200,
  ),
  one(
    'An upload of 1 MB',
    { method: 'POST', target: '/raw/upload?key=whole', body: Buffer.alloc(1_000_000, 'up') },
    200,
  ),
  noting('The events of a request and its response', async (peer, key) => {
    await peer.fetch({ method: 'POST', target: `/raw/lifecycle?key=${key}`, body: 'x' })
    const events = await peer.noted(key, 6)
    // The two streams end independently, so the order of their events is not defined.
    return { events: events.filter((event) => event !== 'req close'), closed: events.includes('req close') }
  }),
  noting('The events when a client goes before the answer', async (peer, key) => {
    const client = await peer.connect()
    const sent = client.request({ target: `/raw/hang?key=${key}` })
    await peer.noted(key, 1)
    sent.abort()
    return await peer.noted(key, 2)
  }),
  noting('The events when a client goes in the middle of an answer', async (peer, key) => {
    const client = await peer.connect()
    const sent = client.request({ target: `/raw/hang-after-part?key=${key}` })
    await sent.has(4)
    sent.abort('reset')
    return await peer.noted(key, 2)
  }),
  noting(
    'The events when a client goes in the middle of an upload',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ method: 'POST', target: `/raw/upload?key=${key}`, body: 'stream' })
      await sent.send('some')
      await peer.noted(key, 1)
      sent.abort()
      return await peer.noted(key, 4)
    },
    ['data', 'aborted', 'error ECONNRESET', 'close false'],
  ),
  noting(
    'The socket closes when a client goes',
    async (peer, key) => {
      const client = await peer.connect()
      const sent = client.request({ target: `/raw/socket-close?key=${key}` })
      await peer.noted(key, 1)
      sent.abort()
      return await peer.noted(key, 2)
    },
    ['begun', 'socket close'],
  ),
  noting('A write to a client that has gone', async (peer, key) => {
    const client = await peer.connect()
    const sent = client.request({ target: `/raw/write-after-gone?key=${key}` })
    await peer.noted(key, 1)
    sent.abort()
    return await peer.noted(key, 2)
  }),
]
