/** Access lines of requests that no application has seen, in the proxy and at a container's port. */

import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { afterEach, suite, test } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import { LINE_SHOWN } from '../../protocol/contract/refused-request.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { type RunningProxy, serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { Container } from './container.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A client that sends bytes, and keeps the received bytes. */
class Raw {
  text = ''
  ended = false
  readonly socket: Socket

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.socket.on('error', () => {})
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1')
    })
    this.socket.on('close', () => {
      this.ended = true
    })
    cleanups.push(() => this.socket.destroy())
  }

  send(text: string): this {
    this.socket.write(text, 'latin1')
    return this
  }

  async status(): Promise<number> {
    await until(() => this.text.includes('\r\n\r\n'), 'a response')
    return Number(this.text.slice(9, 12))
  }

  field(name: string): string | undefined {
    return new RegExp(`^${name}: (.*)\r$`, 'im').exec(this.text)?.[1]
  }

  get body(): string {
    return this.text.slice(this.text.indexOf('\r\n\r\n') + 4)
  }
}

interface Served {
  readonly proxy: RunningProxy
  readonly log: RecordingLog
  readonly lines: RecordingLog
  open(): Raw
}

async function serve(argv: string[] = [], clock?: Clock): Promise<Served> {
  const log = new RecordingLog()
  const lines = new RecordingLog()
  const words = ['--listen', '127.0.0.1:0', '--drain-timeout', '1s', ...argv]
  const upstream = argv.includes('--upstream') ? [] : ['--upstream', 'unix:/nowhere/app.sock']
  const { values } = parseOptions(proxyOptions, [...words, ...upstream], {})
  const proxy = await serveProxy(values, { log, accessLog: lines, clock })
  cleanups.push(() => proxy.drain())
  return { proxy, log, lines, open: () => new Raw((proxy.addresses[0] as TcpAddress).port) }
}

const hello: Application = async (environ, startResponse) => {
  await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

const HOST = 'Host: a\r\n'
const LONG = 'x'.repeat(9_000)

/** The sent bytes, and the expected access line. */
const cases: readonly [title: string, sent: string, status: number, line: Record<string, unknown>][] = [
  [
    'without Host',
    'GET /a?b HTTP/1.1\r\n\r\n',
    400,
    { method: 'GET', url: '/a?b', protocol: 'HTTP/1.1', refused: 'HOST_MISSING' },
  ],
  [
    'with a target that is none',
    'GET a b HTTP/1.1\r\n\r\n',
    400,
    { method: 'GET', url: 'a b', protocol: 'HTTP/1.1', refused: 'BAD_TARGET' },
  ],
  [
    'with an escape that is none',
    `GET /%zz HTTP/1.1\r\n${HOST}\r\n`,
    400,
    { method: 'GET', url: '/%zz', protocol: 'HTTP/1.1' },
  ],
  [
    'in another protocol',
    '\x16\x03\x01\x00\r\n\r\n',
    400,
    { request: '\x16\x03\x01\x00', refused: 'BAD_REQUEST_LINE' },
  ],
  ['of HTTP/0.9', 'GET /\r\n\r\n', 400, { method: 'GET', url: '/', refused: 'BAD_REQUEST_LINE' }],
  [
    'with a method that is unknown',
    `BREW /pot HTTP/1.1\r\n${HOST}\r\n`,
    501,
    { method: 'BREW', url: '/pot', protocol: 'HTTP/1.1', refused: 'METHOD_UNKNOWN' },
  ],
  [
    'of another version',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    505,
    { method: 'PRI', url: '*', protocol: 'HTTP/2.0', refused: 'VERSION_UNSUPPORTED' },
  ],
  [
    'with an expectation that is unknown',
    `GET / HTTP/1.1\r\n${HOST}Expect: tea\r\n\r\n`,
    417,
    { method: 'GET', url: '/', protocol: 'HTTP/1.1', refused: 'EXPECTATION_UNKNOWN' },
  ],
  [
    'with a body above the limit',
    `POST /up HTTP/1.1\r\n${HOST}Content-Length: 101\r\n\r\n`,
    413,
    { method: 'POST', url: '/up', protocol: 'HTTP/1.1', refused: 'BODY_TOO_LARGE' },
  ],
  [
    'with a target above the limit',
    `GET /${LONG} HTTP/1.1\r\n${HOST}\r\n`,
    414,
    { method: 'GET', url: `/${LONG}`.slice(0, LINE_SHOWN - 4), refused: 'TARGET_TOO_LONG' },
  ],
  [
    'with a head above the limit',
    `GET /big HTTP/1.1\r\n${HOST}X: ${'y'.repeat(70_000)}\r\n\r\n`,
    431,
    { method: 'GET', url: '/big', protocol: 'HTTP/1.1', refused: 'HEAD_TOO_LARGE' },
  ],
]

suite('a request that is refused before an application', () => {
  for (const [title, sent, status, expected] of cases) {
    test(`${title} is one access line, with the id that its client was given`, async () => {
      const served = await serve(['--body-limit', '100'])
      const client = served.open().send(sent)
      assert.equal(await client.status(), status)
      await until(() => client.ended)
      assert.equal(served.lines.lines.length, 1)
      const { requestId, remote, ms, refused, ...line } = served.lines.lines[0]!.fields
      const { refused: code = refused, ...rest } = expected
      assert.deepEqual(line, { status, bytes: client.body.length, ...rest })
      assert.deepEqual([remote, refused], ['127.0.0.1', code])
      assert.equal(client.field('X-Request-Id'), requestId)
      const told = served.log.lines.filter(({ fields }) => fields['requestId'] === requestId)
      assert.deepEqual(
        told.map(({ fields }) => [fields['code'], fields['status']]),
        [[refused, status]],
      )
    })
  }

  test('has the id that a trusted peer gave, at the client and in both log lines', async () => {
    for (const [trusted, id] of [
      ['loopback', 'edge-1'],
      ['none', undefined],
    ] as const) {
      const served = await serve(['--trusted-peers', trusted])
      const client = served.open().send(`GET /%zz HTTP/1.1\r\n${HOST}X-Request-Id: edge-1\r\n\r\n`)
      assert.equal(await client.status(), 400)
      const { requestId } = served.lines.lines[0]!.fields
      if (id === undefined) assert.notEqual(requestId, 'edge-1')
      else assert.equal(requestId, id)
      assert.equal(client.field('X-Request-Id'), requestId)
      assert.equal(served.log.lines.filter(({ fields }) => fields['requestId'] === requestId).length, 1)
    }
  })

  test('whose head takes too long has a line with the time', async () => {
    const clock = new FakeClock()
    const served = await serve(['--head-timeout', '30s'], clock)
    const client = served.open().send('GET /slow HTTP/1.1\r\nHost')
    await until(() => served.proxy.inspect().includes('1 clients'))
    await until(() => {
      clock.advance(1_000)
      return client.text !== ''
    })
    assert.equal(await client.status(), 408)
    const { ms, url, refused, status } = served.lines.lines[0]!.fields
    assert.deepEqual([url, refused, status], ['/slow', 'HEAD_TIMEOUT', 408])
    assert.ok((ms as number) >= 30_000, String(ms))
  })

  test('has no line if its client never sent a byte', async () => {
    const clock = new FakeClock()
    const served = await serve(['--head-timeout', '30s'], clock)
    const client = served.open()
    await until(() => served.proxy.inspect().includes('1 clients'))
    await until(() => {
      clock.advance(1_000)
      return client.ended
    })
    assert.deepEqual(served.lines.lines, [])
  })

  test('after others on its connection has a line of its own', async () => {
    const served = await serve(['--queue-size', '0'])
    const client = served.open().send(`GET /first HTTP/1.1\r\n${HOST}\r\nGET /second HTTP/1.1\r\n\r\n`)
    await until(() => client.ended)
    assert.deepEqual(
      served.lines.lines.map(({ fields }) => [fields['url'], fields['status'], fields['refused']]),
      [
        ['/first', 503, undefined],
        ['/second', 400, 'HOST_MISSING'],
      ],
    )
  })

  test('with a malformed body, whose application runs already, has one line with the status of its client’s response', async () => {
    const one = new Container(hello, { id: 'one' })
    cleanups.push(() => one.kill())
    const port = await one.listen({ host: '127.0.0.1', port: 0 })
    const served = await serve(['--upstream', `127.0.0.1:${port}`])
    const client = served.open().send(`POST /up HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`)
    await until(() => one.runs.size === 1)
    client.send('nonsense\r\n')
    assert.equal(await client.status(), 400)
    await until(() => client.ended)
    assert.deepEqual(
      served.lines.lines.map(({ fields }) => [fields['status'], fields['aborted'], fields['container']]),
      [[400, 'PROTOCOL', 'one']],
    )
    assert.equal(client.field('X-Request-Id'), served.lines.lines[0]!.fields['requestId'])
  })

  test('above --max-connections has a line, unless its client sent nothing', async () => {
    const served = await serve(['--max-connections', '1'])
    // The request waits in the queue, so its connection cannot be closed to make room.
    served.open().send(`GET /waits HTTP/1.1\r\n${HOST}\r\n`)
    await until(() => served.proxy.pool.queued === 1)
    const silent = served.open()
    const client = served.open().send(`GET /second HTTP/1.1\r\n${HOST}\r\n`)
    assert.deepEqual([await silent.status(), await client.status()], [503, 503])
    silent.socket.end()
    client.socket.end()
    await until(() => silent.ended && client.ended)
    assert.deepEqual(
      served.lines.lines.map(({ fields }) => [fields['url'], fields['status'], fields['refused'], fields['requestId']]),
      [['/second', 503, 'MAX_CONNECTIONS', client.field('X-Request-Id')]],
    )
  })
})

suite('a request that a container’s port refuses', () => {
  test('because no slot is free has an access line, and a line of the same id with the code', async () => {
    const gate = Promise.withResolvers<void>()
    const application: Application = async (environ, startResponse) => {
      await gate.promise
      return hello(environ, startResponse)
    }
    await using serving = await Serving.start(application, ['--slots', '1', '--queue-size', '0'])
    const first = (await serving.http()).request({ target: '/first' })
    await until(() => serving.container.inspect().includes('1 of 1'))
    const answer = await (await serving.http()).fetch({ target: '/second?x' })
    assert.equal(answer.status, 503)
    const { requestId, ms, ...line } = serving.accessLog.lines[0]!.fields
    assert.deepEqual(answer.headers.find(([name]) => name === 'X-Request-Id')?.[1], requestId)
    assert.equal(typeof ms, 'number')
    assert.deepEqual(line, {
      remote: '127.0.0.1',
      status: 503,
      bytes: answer.body.length,
      method: 'GET',
      url: '/second?x',
      protocol: 'HTTP/1.1',
    })
    assert.deepEqual(
      serving.log.lines.filter(({ fields }) => fields['requestId'] === requestId).map(({ fields }) => fields['code']),
      ['QUEUE_FULL'],
    )
    gate.resolve()
    await first.whole()
  })

  test('over uwsgi is an access line with the client that the web server names', async () => {
    await using serving = await Serving.start(hello, ['--body-limit', '10'])
    const socket = await serving.socket()
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    const variables = {
      REQUEST_METHOD: 'POST',
      REQUEST_URI: '/up?a',
      PATH_INFO: '/up',
      QUERY_STRING: 'a',
      SERVER_PROTOCOL: 'HTTP/1.1',
      SERVER_NAME: 'a',
      SERVER_PORT: '80',
      REMOTE_ADDR: '203.0.113.9',
      CONTENT_LENGTH: '11',
    }
    const pairs = Object.entries(variables).flatMap((pair) =>
      pair.map((word) => Buffer.concat([Buffer.from([word.length & 0xff, word.length >> 8]), Buffer.from(word)])),
    )
    const payload = Buffer.concat(pairs)
    socket.write(Buffer.concat([Buffer.from([0, payload.length & 0xff, payload.length >> 8, 0]), payload]))
    await until(() => text.includes('\r\n\r\n'))
    assert.match(text, /^HTTP\/1\.1 413 /)
    const { requestId, bytes, ...line } = serving.accessLog.lines[0]!.fields
    assert.deepEqual(line, {
      remote: '203.0.113.9',
      status: 413,
      refused: 'BODY_TOO_LARGE',
      method: 'POST',
      url: '/up?a',
      protocol: 'HTTP/1.1',
    })
    assert.ok(text.includes(`X-Request-Id: ${requestId}\r\n`), text)
  })
})
