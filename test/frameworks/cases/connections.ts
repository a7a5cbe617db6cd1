/** Connections: kept alive, pipelined, closed; Expect; HTTP/1.0; heads near their limits. */

import type { Answer, RequestOptions } from '../../support/client.ts'
import { type Case, one, type Peer } from '../shape.ts'

function short({ status, body, complete }: Answer): unknown {
  return [status, body.toString('latin1').slice(0, 100), complete]
}

async function pipelined(peer: Peer, requests: readonly RequestOptions[]): Promise<unknown> {
  const client = await peer.connect()
  const sent = requests.map((request) => client.request(request))
  const answers = await Promise.all(sent.map((request) => request.whole()))
  return { answers: answers.map(short), surplus: client.surplus.toString() }
}

async function inTurn(peer: Peer, requests: readonly RequestOptions[]): Promise<unknown> {
  const client = await peer.connect()
  const answers: Answer[] = []
  for (const request of requests) answers.push(await client.fetch(request))
  return { answers: answers.map(short), reusable: client.reusable, surplus: client.surplus.toString() }
}

function post(target: string, body: string): RequestOptions {
  return { method: 'POST', target, body, headers: [['Content-Type', 'application/json']] }
}

export const connectionCases: readonly Case[] = [
  {
    title: 'Five requests on one connection, in turn',
    run: (peer) =>
      inTurn(peer, [
        { target: '/' },
        { target: '/json' },
        post('/json', '{"a":1}'),
        { target: '/no' },
        { target: '/users/5' },
      ]),
  },
  {
    title: 'Five requests on one connection, pipelined',
    run: (peer) =>
      pipelined(
        peer,
        [1, 2, 3, 4, 5].map((id) => ({ target: `/users/${id}` })),
      ),
  },
  {
    title: 'A slow answer and fast ones, pipelined, come in order',
    run: (peer) => pipelined(peer, [{ target: '/stream' }, { target: '/' }, { target: '/json' }]),
  },
  {
    title: 'POSTs, pipelined',
    run: (peer) => pipelined(peer, [post('/json', '{"a":1}'), { target: '/' }, post('/json', '{"b":2}')]),
  },
  {
    title: 'HEAD among GETs, pipelined',
    run: (peer) =>
      pipelined(peer, [
        { method: 'HEAD', target: '/json' },
        { target: '/' },
        { method: 'HEAD', target: '/no' },
        { target: '/' },
      ]),
  },
  {
    title: 'Bodiless answers, pipelined',
    run: (peer) =>
      pipelined(
        peer,
        [204, 304, 200].map((status) => ({ target: `/status/${status}` })),
      ),
  },
  {
    title: 'A failed request leaves the connection',
    run: (peer) =>
      inTurn(peer, [{ target: '/error/sync' }, { target: '/' }, { target: '/error/async' }, { target: '/' }]),
  },
  {
    title: 'A malformed body leaves the connection',
    run: (peer) => inTurn(peer, [post('/json', '{"a'), { target: '/' }]),
  },
  {
    title: 'A body that nobody read leaves the connection',
    run: (peer) => inTurn(peer, [{ method: 'POST', target: '/any', body: 'x'.repeat(500) }, { target: '/' }]),
  },
  {
    title: 'Connection: close ends the connection',
    async run(peer) {
      const client = await peer.connect()
      const answer = await client.fetch({ target: '/', headers: [['Connection', 'close']] })
      return [short(answer), await client.whenEnded()]
    },
  },
  {
    title: 'HTTP/1.0 ends the connection',
    async run(peer) {
      const client = await peer.connect()
      const answer = await client.fetch({ target: '/json', minor: 0 })
      return [short(answer), await client.whenEnded()]
    },
  },
  {
    title: 'HTTP/1.0 with keep-alive may ask again',
    run: (peer) =>
      inTurn(
        peer,
        [1, 2].map(() => ({ target: '/', minor: 0, headers: [['Connection', 'keep-alive']] })),
      ),
  },
  {
    title: 'A client that half-closes in the middle of its answer',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({ target: '/held?key=half-close' })
      await sent.has(6)
      client.socket.end()
      await peer.fetch({ target: '/release?key=half-close' })
      return short(await sent.whole())
    },
  },
  {
    title: '100-continue is sent, and the body read',
    async run(peer) {
      const client = await peer.connect()
      const sent = client.request({
        method: 'POST',
        target: '/json',
        body: 'stream',
        headers: [
          ['Expect', '100-continue'],
          ['Content-Type', 'application/json'],
        ],
      })
      const [told] = await sent.informed(1)
      await sent.send('{"expected":true}')
      sent.finish()
      return [told?.status, short(await sent.whole())]
    },
  },
  {
    title: 'A head that comes byte by byte',
    async run(peer) {
      const client = await peer.connect()
      const growing = client.expect()
      for (const byte of 'GET /users/slow HTTP/1.1\r\nHost: gantry.test\r\n\r\n') await client.write(byte)
      return short(await growing.whole())
    },
  },
  {
    title: 'A request without Host is refused',
    async run(peer) {
      const client = await peer.connect()
      const growing = client.expect()
      await client.write('GET / HTTP/1.1\r\n\r\n')
      return (await growing.whole()).status
    },
  },
  {
    title: 'What is no HTTP is refused',
    async run(peer) {
      const client = await peer.connect()
      const growing = client.expect()
      await client.write('this is no request\r\n\r\n')
      return (await growing.whole()).status
    },
  },
  {
    title: 'A Content-Length that is no number is refused',
    async run(peer) {
      const client = await peer.connect()
      const growing = client.expect()
      await client.write('POST /any HTTP/1.1\r\nHost: gantry.test\r\nContent-Length: 1x\r\n\r\n')
      return (await growing.whole()).status
    },
  },
  {
    title: 'Both a Content-Length and chunks are refused',
    async run(peer) {
      const client = await peer.connect()
      const growing = client.expect()
      await client.write(
        'POST /any HTTP/1.1\r\nHost: gantry.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      )
      return (await growing.whole()).status
    },
  },
  one(
    'A head of 20 KB',
    {
      target: '/',
      headers: [
        ['X-A', 'a'.repeat(7000)],
        ['X-B', 'b'.repeat(7000)],
        ['X-C', 'c'.repeat(7000)],
      ],
    },
    431,
  ),
  one('An expectation that nobody knows', { target: '/', headers: [['Expect', 'wonders']] }, 417),
  one('The absolute form of a target', { target: 'http://gantry.test/json' }, {}),
  one('OPTIONS of the whole server', { method: 'OPTIONS', target: '*' }, {}),
  one('A target with an invalid escape', { target: '/users/%ZZ' }, {}),
]
