/** The tables of docs/frameworks: each row of "What differs" is true on node:http, behind a proxy, and in the pair. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'
import { type Answer, type Fields, fields } from '../support/client.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { freePort } from '../support/sockets.ts'
import { publishedDifferences } from './published/differences.ts'

/** The client's address: not the default address of a loopback client. */
const CLIENT = '127.0.0.2'

/** One module in three arrangements. */
interface Ports {
  readonly plain: number
  /** node:http behind a proxy that speaks HTTP to it. */
  readonly behind: number
  readonly pair: number
}

type Row = (ports: Record<'http' | 'addresses', Ports> & { readonly hono: number }) => Promise<void>

/** A row that another file asserts: the file, and words that it contains. */
interface Elsewhere {
  readonly file: string
  readonly words: string
}

async function ask(port: number, target: string, headers: Fields = []): Promise<Answer> {
  const client = await HttpClient.connect({ port, host: '127.0.0.1', localAddress: CLIENT })
  try {
    return await client.fetch({ target, headers })
  } finally {
    client.destroy()
  }
}

async function body(port: number, target: string, headers: Fields = []): Promise<string> {
  return (await ask(port, target, headers)).body.toString()
}

interface Facts {
  remoteAddress: string
  names: string[]
  forwarded: (string | null)[]
  /** The names of the fields with the value `said`. */
  said: string[]
  connections: number
  socket: boolean
}

async function facts(port: number, headers: Fields = []): Promise<Facts> {
  return JSON.parse(await body(port, '/facts', headers)) as Facts
}

/** The complete response to these bytes, when its head and body have arrived. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write(bytes)
  let answer = ''
  for await (const chunk of socket) {
    answer += (chunk as Buffer).toString('latin1')
    const [head, body] = answer.split('\r\n\r\n')
    if (body !== undefined && body.length >= Number(/^content-length: (\d+)/im.exec(head!)?.[1] ?? 0)) break
  }
  socket.destroy()
  return answer
}

/** The trailers of an upload, as the application sees them. */
async function trailers(port: number, fields: Fields): Promise<string[]> {
  const client = await HttpClient.connect({ port, host: '127.0.0.1' })
  const sent = client.request({ method: 'POST', target: '/request-trailers', body: 'stream' })
  await sent.send('hello')
  sent.finish(fields)
  const { body } = await sent.whole()
  client.destroy()
  return JSON.parse(body.toString()) as string[]
}

/** The first bytes of the response to an upgrade without `Host`. */
async function hostless(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write('GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n')
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return chunk.toString('latin1')
}

/** The response to a client that closes its side after its request. */
async function halfClosed(port: number, target: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
  const answer = await text(socket).catch(() => '')
  socket.destroy()
  return answer
}

/** The first bytes of the response to a request without an upgrade. */
async function switched(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write('GET /switched HTTP/1.1\r\nHost: a\r\n\r\n')
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return chunk.toString('latin1')
}

/** `ip` of one framework, without and with trust in proxies. */
function addressRows(framework: string, untrusting: string, trusting: string): Record<string, Row> {
  return {
    [untrusting]: async ({ addresses: { behind, pair } }) => {
      assert.equal(await body(behind, `/${framework}/ip`), '127.0.0.1')
      assert.equal(await body(pair, `/${framework}/ip`), CLIENT)
    },
    [trusting]: async ({ addresses: { behind, pair } }) => {
      assert.equal(await body(behind, `/${framework}/trusted`), CLIENT)
      assert.equal(await body(pair, `/${framework}/trusted`), CLIENT)
    },
  }
}

const tables: Record<string, Record<string, Row | Elsewhere>> = {
  README: {
    '`req.socket.remoteAddress` behind a proxy': async ({ http: { behind, pair } }) => {
      assert.equal((await facts(behind)).remoteAddress, '127.0.0.1')
      assert.equal((await facts(pair)).remoteAddress, CLIENT)
    },
    '`Connection` and `Keep-Alive` in `req.headers`': async ({ http: { plain, pair } }) => {
      const sent: Fields = [
        ['Connection', 'keep-alive'],
        ['Keep-Alive', 'timeout=5'],
      ]
      const both = ({ names }: Facts): string[] => names.filter((name) => /^(?:connection|keep-alive)$/.test(name))
      assert.deepEqual(both(await facts(plain, sent)), ['connection', 'keep-alive'])
      assert.deepEqual(both(await facts(pair, sent)), [])
    },
    '`Connection` and `Keep-Alive` that a response sets': async ({ http: { plain, pair } }) => {
      assert.deepEqual(fields(await ask(plain, '/connection'), 'keep-alive'), ['timeout=9'])
      const answer = await ask(pair, '/connection')
      assert.deepEqual([...fields(answer, 'connection'), ...fields(answer, 'keep-alive')], [])
    },
    'other hop-by-hop fields that a response sets (`Transfer-Encoding`, `Trailer`, `Upgrade`, `TE`, `Proxy-Authenticate`)':
      async ({ http: { plain, pair } }) => {
        const names = ['trailer', 'upgrade', 'te', 'proxy-authenticate']
        const [sent, left] = [await ask(plain, '/hop-by-hop'), await ask(pair, '/hop-by-hop')]
        for (const name of names) assert.equal(fields(sent, name).length, 1, name)
        for (const name of names) assert.deepEqual(fields(left, name), [], name)
        assert.deepEqual([sent.framing, left.framing], ['chunked', 'length'])
        assert.deepEqual([sent.body.toString(), left.body.toString()], ['whole', 'whole'])
        assert.deepEqual((await ask(pair, '/trailers')).trailers, [['X-After', 'yes']])
      },
    '`X-Forwarded-For`, `-Proto` and `-Host` from a client': async ({ http: { plain, pair } }) => {
      const sent: Fields = [
        ['X-Forwarded-For', '203.0.113.9'],
        ['X-Forwarded-Proto', 'https'],
        ['X-Forwarded-Host', 'example.com'],
      ]
      assert.deepEqual((await facts(plain, sent)).forwarded, ['203.0.113.9', 'https', 'example.com'])
      assert.deepEqual((await facts(plain)).forwarded, [null, null, null])
      for (const given of [sent, []]) {
        const [address, scheme, host] = (await facts(pair, given)).forwarded
        assert.deepEqual([address, scheme], [CLIENT, 'http'])
        assert.notEqual(host, 'example.com')
      }
    },
    '`X-Real-IP`, `Forwarded` and other `X-Forwarded-*` from a client': async ({ http: { plain, pair } }) => {
      const names = ['x-real-ip', 'x-forwarded-port', 'x-forwarded-user', 'forwarded']
      const sent = names.map((name): [string, string] => [name, 'said'])
      assert.deepEqual((await facts(plain, sent)).said, names)
      assert.deepEqual((await facts(pair, sent)).said, [])
    },
    'trailers of these names': async ({ http: { plain, pair } }) => {
      const sent: Fields = [
        ['X-Forwarded-For', '203.0.113.9'],
        ['X-Sum', '5'],
      ]
      assert.deepEqual(await trailers(plain, sent), ['X-Forwarded-For', 'X-Sum'])
      assert.deepEqual(await trailers(pair, sent), ['X-Sum'])
    },
    'a field with `_` in its name': async ({ http: { plain, pair } }) => {
      const sent: Fields = [['X_Odd', 'one']]
      assert.ok((await facts(plain, sent)).names.includes('x_odd'))
      assert.ok(!(await facts(pair, sent)).names.includes('x_odd'))
    },
    'a target with `\\` in its path, with `#`, or with a raw byte of 0x80 or above': async ({
      http: { plain, pair },
    }) => {
      for (const target of ['/a\\b', '/a#b', '/a?b#c']) {
        assert.equal(await body(plain, target), `url ${target}`)
        assert.equal((await ask(pair, target)).status, 400, target)
      }
      for (const target of ['/\xe9', '/\xc3\xa9', '/?\xe9']) {
        for (const port of [plain, pair]) assert.equal((await ask(port, target)).status, 400, target)
      }
      for (const target of ['/?a\\b', '/a"b', '/<a>', '/?filter={"a":"b"}', '/{a}|^`']) {
        for (const port of [plain, pair]) assert.equal(await body(port, target), `url ${target}`)
      }
    },
    '`OPTIONS` for a host alone (`OPTIONS http://a`)': async ({ http: { plain, pair } }) => {
      assert.match(await raw(plain, 'OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n'), /url http:\/\/a$/)
      assert.match(await raw(pair, 'OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n'), /url \*$/)
    },
    'a method that Node does not know (`BREW`)': async ({ http: { plain, pair } }) => {
      assert.match(await raw(plain, 'BREW / HTTP/1.1\r\nHost: a\r\n\r\n'), /^HTTP\/1\.1 400 /)
      assert.match(await raw(pair, 'BREW / HTTP/1.1\r\nHost: a\r\n\r\n'), /^HTTP\/1\.1 501 /)
    },
    'white space around chunk extensions (`5 ; a = b`)': async ({ http: { plain, pair } }) => {
      const request = 'POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
      const chunks = '5 ; a = b\r\nhello\r\n0\r\n\r\n'
      assert.match(await raw(plain, request + chunks), /^HTTP\/1\.1 400 /)
      assert.match(await raw(pair, request + chunks), /hello$/)
    },
    'an upgrade without `Host`': async ({ http: { plain, pair } }) => {
      assert.match(await hostless(plain), /^HTTP\/1\.1 101 /)
      assert.match(await hostless(pair), /^HTTP\/1\.1 400 /)
    },
    '`Server`': async ({ http: { plain, pair } }) => {
      assert.deepEqual(fields(await ask(plain, '/facts'), 'server'), [])
      assert.deepEqual(fields(await ask(pair, '/facts'), 'server'), ['gantry'])
    },
    'a body written and ended at once, without length': async ({ http: { plain, pair } }) => {
      assert.equal((await ask(plain, '/whole')).framing, 'chunked')
      const whole = await ask(pair, '/whole')
      assert.deepEqual([whole.framing, whole.body.toString()], ['length', 'whole'])
    },
    'a head of more than 16 KiB': async ({ http: { plain, pair } }) => {
      const sent: Fields = [['X-Long', 'x'.repeat(20_000)]]
      assert.equal((await ask(plain, '/facts', sent)).status, 431)
      assert.equal((await ask(pair, '/facts', sent)).status, 200)
    },
    'a target with a bad `%` escape': async ({ http: { plain, pair } }) => {
      assert.equal(await body(plain, '/%zz'), 'url /%zz')
      assert.equal((await ask(pair, '/%zz')).status, 400)
    },
    'a malformed `Host` (`a b`)': async ({ http: { plain, pair } }) => {
      for (const host of ['a b', 'a,b']) {
        assert.equal(await body(plain, '/host', [['Host', host]]), 'url /host')
        assert.equal((await ask(pair, '/host', [['Host', host]])).status, 400)
      }
      assert.equal(await body(pair, '/host', [['Host', '0.0.0.0=5000']]), 'url /host')
    },
    'a response destroyed before its head': async ({ http: { plain, pair } }) => {
      assert.equal((await ask(plain, '/destroyed')).status, 0)
      assert.equal((await ask(pair, '/destroyed')).status, 500)
    },
    'a response that pauses for `--idle-timeout` (60 s)': async ({ http: { plain, pair } }) => {
      const [whole, cut] = await Promise.all([ask(plain, '/pause'), ask(pair, '/pause')])
      assert.deepEqual([whole.complete, whole.body.toString()], [true, 'one two'])
      assert.deepEqual([cut.complete, cut.body.toString()], [false, 'one '])
    },
    'a response written to `req.socket` by hand, and `req.socket.end()`': async ({ http: { plain, pair } }) => {
      const sent = await ask(plain, '/by-hand')
      assert.deepEqual([sent.status, sent.framing, sent.body.toString()], [200, 'close', 'by hand'])
      const client = await HttpClient.connect({ port: pair, host: '127.0.0.1' })
      const { status, framing, complete, body } = await client.fetch({ target: '/by-hand' })
      assert.deepEqual([status, framing, complete, body.toString()], [200, 'chunked', true, 'by hand'])
      assert.equal((await client.fetch({ target: '/whole' })).status, 200)
      client.destroy()
    },
    'a client that half-closes': async ({ http: { plain, pair } }) => {
      assert.match(await halfClosed(plain, '/whole'), /le/)
      // Here, too, a response that is ready before the FIN is read would be sent.
      assert.equal(await halfClosed(pair, '/later'), '')
    },
    'a status above 599': {
      file: 'test/interfaces/node/ends.test.ts',
      words: 'does not throw out of writeHead(): the client gets a 500, and the refusal is logged',
    },
    '`res.writeHead(101)` without an upgrade': async ({ http: { plain, pair } }) => {
      assert.match(await switched(plain), /^HTTP\/1\.1 101 /)
      assert.equal((await ask(pair, '/switched')).status, 500)
    },
    "`maxRequestsPerSocket`, `keepAliveTimeout` and other limits of the server's connections": async ({
      http: { plain, pair },
    }) => {
      for (const [port, closes] of [
        [plain, true],
        [pair, false],
      ] as const) {
        const client = await HttpClient.connect({ port, host: '127.0.0.1' })
        const answer = await client.fetch({ target: '/whole' })
        assert.equal(fields(answer, 'connection').includes('close'), closes)
        if (!closes) assert.equal((await client.fetch({ target: '/whole' })).status, 200)
        client.destroy()
      }
    },
    "the server's options of sockets and of parsing": {
      file: 'test/interfaces/node/listener-server.test.ts',
      words: 'does not use the settings that the documentation lists as unused',
    },
    '`server.ref()` and `server.unref()`': {
      file: 'test/interfaces/node/listener-server.test.ts',
      words: 'does not use the settings that the documentation lists as unused',
    },
    '`server.getConnections()`': {
      file: 'test/interfaces/node/listener-server.test.ts',
      words: 'counts the connections of requests that are not over, and closes them',
    },
    "the server's `connection` event": async ({ http: { plain, pair } }) => {
      const before = (await facts(plain)).connections
      assert.equal((await facts(plain)).connections, before + 1)
      assert.equal((await facts(pair)).connections, 0)
    },
    'the port that the app gives to `listen()`': {
      file: 'test/container/self-calls.test.ts',
      words: 'opens no port for its calls',
    },
    '`process.exit()` after the first signal': {
      file: 'test/container/application/listening.test.ts',
      words: 'does not end the process before the drain is over',
    },
    'a server of `https` or `http2`, or workers of `cluster`': {
      file: 'test/container/application/several-servers.test.ts',
      words: 'is refused with advice',
    },
    '`req.socket` after the response': {
      file: 'test/interfaces/node/ends.test.ts',
      words: "emits 'close' to its listeners, and aborts neither the request nor its signal",
    },
    '`req.socket instanceof net.Socket`': async ({ http: { plain, pair } }) => {
      assert.equal((await facts(plain)).socket, true)
      assert.equal((await facts(pair)).socket, false)
    },
  },
  express: addressRows('express', '`req.ip`, without `trust proxy`', '`req.ip`, with `trust proxy`'),
  koa: addressRows('koa', '`ctx.ip`, without `app.proxy`', '`ctx.ip`, with `app.proxy`'),
  fastify: addressRows('fastify', '`request.ip`, without `trustProxy`', '`request.ip`, with `trustProxy`'),
  hono: {
    '`getConnInfo(c).remote.address`': async ({ addresses: { behind, pair }, hono }) => {
      assert.equal(await body(behind, '/hono/ip'), '127.0.0.1')
      assert.equal(await body(pair, '/hono/ip'), CLIENT)
      assert.equal(await body(hono, '/hono/ip'), CLIENT)
    },
    '`c.env` of an exported app': async ({ hono }) => {
      assert.equal(await body(hono, '/environ'), `/environ ${CLIENT}`)
    },
    'an upgrade to an exported app': async ({ hono }) => {
      const sent: Fields = [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Version', '13'],
        ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
      ]
      assert.equal((await ask(hono, '/upgrade', sent)).status, 426)
    },
  },
  nest: {
    '`req.ip`, without `trust proxy`': { file: 'test/frameworks/moving-in.test.ts', words: "addressRows('express'" },
    'the signal that shutdown hooks send again': {
      file: 'test/examples/frameworks.test.ts',
      words: 'finishes running requests when it is stopped',
    },
  },
}

describe('what differs, as docs/frameworks has it', { concurrency: false }, () => {
  const children: TestChild[] = []
  let ports: Parameters<Row>[0]

  async function three(module: string): Promise<Ports> {
    const path = repositoryFile(`test/frameworks/moving/${module}.ts`)
    const plain = await freePort()
    const child = new TestChild([path], { env: { PORT: String(plain) } })
    children.push(child)
    await child.until(() => child.stdout.includes('listening'))
    const quiet = ['--listen', '127.0.0.1:0', '--access-log', 'off']
    const behind = await proxy(['proxy', ...quiet, '--upstream', `http://127.0.0.1:${plain}`])
    const pair = await up([path, '--interface', 'node', ...quiet, '--idle-timeout', '1s'])
    return { plain, behind: behind.port, pair }
  }

  async function proxy(argv: readonly string[]): Promise<Gantry> {
    const started = await startGantry(argv)
    children.push(started.child)
    return started
  }

  async function up(argv: readonly string[]): Promise<number> {
    const child = new TestChild([repositoryFile('cli/gantry.ts'), 'up', ...argv], { patience: 120_000 })
    children.push(child)
    const line = / is served at http:\/\/127\.0\.0\.1:(\d+)\/$/m
    await child.until(() => line.test(child.stderr))
    return Number(line.exec(child.stderr)![1])
  }

  before(async () => {
    const hono = repositoryFile('test/frameworks/moving/hono.ts')
    ports = {
      http: await three('http'),
      addresses: await three('addresses'),
      hono: await up([hono, '--listen', '127.0.0.1:0', '--access-log', 'off']),
    }
  })

  after(async () => {
    for (const child of children) child.process.kill('SIGTERM')
    await Promise.all(children.map(({ exited }) => exited))
  })

  test('each test of a framework that differs is explained by a row', () => {
    const rows = new Set(Object.keys(tables['README']!))
    const unexplained = publishedDifferences.filter(({ row }) => row !== undefined && !rows.has(row))
    assert.deepEqual(unexplained, [])
  })

  for (const [page, rows] of Object.entries(tables)) {
    test(`the table of ${page}.md has the rows that are tested here`, () => {
      const source = readFileSync(repositoryFile(`docs/frameworks/${page}.md`), 'utf8')
      const [, section] = source.split('## What differs\n')
      const cells = [...section!.matchAll(/^\| (.*?) \| .* \|$/gm)].map(([, cell]) => cell!)
      assert.deepEqual(cells.slice(1), Object.keys(rows))
    })

    for (const [title, row] of Object.entries(rows)) {
      if (typeof row === 'function') test(`${page}: ${title}`, () => row(ports))
      else
        test(`${page}: ${title} is asserted in ${row.file}`, () =>
          assert.ok(readFileSync(repositoryFile(row.file), 'utf8').includes(row.words)))
    }
  }
})
