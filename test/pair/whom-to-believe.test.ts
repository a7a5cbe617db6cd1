/** The client of a request, for the application and in the log, over every wire: of untrusted and trusted peers. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { containerOptions } from '../../container/options.ts'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { UNIX_PEER } from '../../protocol/client/peers.ts'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import { OptionError } from '../../protocol/options/option-table.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { checkProxyOptions, proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { packet } from '../protocol/uwsgi/support.ts'
import { repositoryFile } from '../support/child.ts'
import type { Fields } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { noNginx, startServers } from '../support/nginx.ts'
import { freePort } from '../support/sockets.ts'
import { until } from '../support/until.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

/** The variables and log fields that identify a client. */
interface Client {
  address: unknown
  scheme: unknown
  https: unknown
  host: unknown
  /** Every header line with one of the names. */
  said: string[]
  trailers: string[]
}

const NAMES = /forwarded|real.ip/i

async function clientOf(environ: Environ): Promise<Client> {
  await environ['wsgi.input'].read()
  const trailers = await environ['wsgi.input'].trailers
  const keys = Object.keys(environ).filter((key) => key.startsWith('HTTP_') && NAMES.test(key))
  const lines = environ.gantry.rawHeaders.filter(([name]) => NAMES.test(name))
  assert.equal(keys.length, lines.length, 'variables and lines differ')
  assert.equal(environ.REQUEST_SCHEME, environ['wsgi.url_scheme'])
  return {
    address: environ.REMOTE_ADDR,
    scheme: environ['wsgi.url_scheme'],
    https: environ.HTTPS,
    host: environ['HTTP_HOST'],
    said: lines.map(([name, value]) => `${name.toLowerCase()}: ${value}`).sort(),
    trailers: trailers.map(([name]) => name.toLowerCase()),
  }
}

const application: Application = async (environ, startResponse) => {
  const found = JSON.stringify(await clientOf(environ))
  if (environ['HTTP_UPGRADE'] === undefined) {
    startResponse('200 OK', [['Content-Type', 'application/json']])
    return [Buffer.from(found)]
  }
  startResponse('101 Switching Protocols', [
    ['Upgrade', 'other'],
    ['Connection', 'Upgrade'],
  ])
  environ.gantry.upgrade().end(found).resume()
  return []
}

/** The fields of a client that pretends to be another one. */
const LIES: Fields = [
  ['X-Forwarded-For', '6.6.6.6'],
  ['x-forwarded-for', '6.6.6.7, 6.6.6.8'],
  ['X_Forwarded_For', '6.6.6.6'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Host', 'evil.test'],
  ['X-Forwarded-Port', '443'],
  ['X-Forwarded-Prefix', '/evil'],
  ['X-Forwarded-Ssl', 'on'],
  ['X-Forwarded-User', 'root'],
  ['X-Real-IP', '6.6.6.6'],
  ['Forwarded', 'for=6.6.6.6;proto=https;host=evil.test'],
]
/** The fields of a proxy behind another one. */
const TRUE: Fields = [
  ['X-Forwarded-For', '6.6.6.6, 203.0.113.9, 127.0.0.9'],
  ['X-Forwarded-Proto', 'https'],
]
const LIED: Fields = LIES.filter(([name]) => !/^x-forwarded-(?:for|proto)$/i.test(name))

interface Front {
  readonly port: number
  readonly accessLog: RecordingLog
}

async function container(argv: string[], application_: Application = application): Promise<Front & { path: string }> {
  const serving = await Serving.start(application_, ['--listen', '127.0.0.1:0', ...argv])
  cleanups.push(() => serving[Symbol.asyncDispose]())
  const { port } = serving.container.addresses[0] as TcpAddress
  return { port, accessLog: serving.accessLog, path: `127.0.0.1:${port}` }
}

async function proxy(argv: string[]): Promise<Front> {
  const accessLog = new RecordingLog()
  const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:0', ...argv], {})
  const running = await serveProxy(values, { log: new RecordingLog(), accessLog })
  cleanups.push(() => running.drain())
  return { port: (running.addresses[0] as TcpAddress).port, accessLog }
}

async function ask(port: number, headers: Fields, trailers?: Fields): Promise<Client> {
  const client = await HttpClient.connect({ port, host: '127.0.0.1' })
  cleanups.push(() => client.destroy())
  if (!trailers) return JSON.parse(String((await client.fetch({ target: '/', headers })).body)) as Client
  const sent = client.request({ method: 'POST', target: '/', headers, body: 'stream' })
  await sent.send('hello')
  sent.finish(trailers)
  return JSON.parse(String((await sent.whole()).body)) as Client
}

async function askUpgraded(port: number, headers: Fields): Promise<Client> {
  const lines = [...headers, ['Connection', 'Upgrade, X-Forwarded-For'], ['Upgrade', 'other']]
  const client = await HttpClient.connect({ port, host: '127.0.0.1' })
  cleanups.push(() => client.destroy())
  client.socket.write(`GET / HTTP/1.1\r\nHost: a\r\n${lines.map((line) => `${line.join(': ')}\r\n`).join('')}\r\n`)
  const chunks: Buffer[] = []
  client.socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(client.socket, 'end')
  // The connection is over, and logged, once both sides have ended it.
  client.destroy()
  return JSON.parse(Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')[1]!) as Client
}

/** The fields that a proxy sends about a client at that address. */
const told = (address: string, scheme: string, host: unknown): string[] => [
  `forwarded: for=${address};host=${/:/.test(String(host)) ? `"${host}"` : host};proto=${scheme}`,
  `x-forwarded-for: ${address}`,
  `x-forwarded-host: ${host}`,
  `x-forwarded-proto: ${scheme}`,
]

/** Ways from a client to the application; each front has one `--trusted-peers` of its own. */
const ways: readonly {
  readonly name: string
  readonly start: (trusted: string[]) => Promise<Front>
  /** Whether a proxy is there, which tells the application in fields. */
  readonly tells: boolean
}[] = [
  { name: "a container's port", start: (trusted) => container(trusted), tells: false },
  {
    name: 'a proxy and frames',
    start: async (trusted) => proxy(['--upstream', (await container(['--trusted-peers', 'none'])).path, ...trusted]),
    tells: true,
  },
]

describe('the client', () => {
  for (const { name, start, tells } of ways) {
    describe(`by way of ${name}`, () => {
      it('is the peer if the peer is not trusted', async () => {
        const front = await start(['--trusted-peers', 'none', '--forwarded-fields', 'forwarded,x-forwarded-for'])
        for (const found of [
          await ask(front.port, LIES),
          await ask(front.port, [...LIES, ['Connection', 'X-Forwarded-For, Forwarded']]),
          await ask(front.port, LIES, LIES),
          await askUpgraded(front.port, LIES),
        ]) {
          assert.deepEqual([found.address, found.scheme, found.https], ['127.0.0.1', 'http', undefined])
          assert.deepEqual(found.said, tells ? told('127.0.0.1', 'http', found.host) : [])
          assert.deepEqual(found.trailers, [])
        }
        await until(() => front.accessLog.lines.length === 4)
        for (const { fields } of front.accessLog.lines) assert.equal(fields['remote'], '127.0.0.1')
      })

      it('is the address that a trusted peer gives in one of the two default fields, and in no other', async () => {
        const front = await start(['--trusted-peers', 'loopback'])
        for (const found of [
          await ask(front.port, [...LIED, ...TRUE]),
          await ask(front.port, [...LIED, ...TRUE], LIES),
          await askUpgraded(front.port, [...LIED, ...TRUE]),
        ]) {
          assert.deepEqual([found.address, found.scheme, found.https], ['203.0.113.9', 'https', 'on'])
          assert.notEqual(found.host, 'evil.test')
          const fields = ['x-forwarded-for: 203.0.113.9', 'x-forwarded-proto: https']
          assert.deepEqual(found.said, tells ? told('203.0.113.9', 'https', found.host) : fields)
          assert.deepEqual(found.trailers, [])
        }
        await until(() => front.accessLog.lines.length === 3)
        for (const { fields } of front.accessLog.lines) assert.equal(fields['remote'], '203.0.113.9')
      })

      it('is found only in the fields that are listed', async () => {
        const named = ['--trusted-peers', 'loopback', '--forwarded-fields', 'Forwarded,X-Forwarded-Host']
        const front = await start(named)
        const found = await ask(front.port, [
          ['X-Forwarded-For', '6.6.6.6'],
          ['X-Forwarded-Proto', 'http'],
          ['X-Forwarded-Host', 'shop.example'],
          ['Forwarded', 'for=203.0.113.9;proto=https;host=other.example'],
        ])
        assert.deepEqual([found.address, found.scheme, found.host], ['203.0.113.9', 'https', 'shop.example'])
        assert.doesNotMatch(JSON.stringify(found), /6\.6\.6\.6|other\.example/)
      })

      it('is the peer if no field is listed', async () => {
        const front = await start(['--trusted-peers', 'all', '--forwarded-fields', 'none'])
        const found = await ask(front.port, [...LIES, ...TRUE])
        assert.deepEqual([found.address, found.scheme], ['127.0.0.1', 'http'])
        assert.doesNotMatch(JSON.stringify(found), /6\.6\.6|203\.0\.113|evil/)
      })
    })
  }

  it('is sent resolved to an HTTP server, in header fields and never in trailers', async () => {
    const seen: { headers: string[]; trailers: string[] }[] = []
    const server = createHttpServer((req: IncomingMessage, res) => {
      req.resume().once('end', () => {
        seen.push({ headers: req.rawHeaders, trailers: req.rawTrailers })
        res.end('{}')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanups.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const upstream = ['--upstream', `http://127.0.0.1:${port}`]
    const [strict, trusting] = [await proxy(upstream), await proxy([...upstream, '--trusted-peers', 'loopback'])]
    await ask(strict.port, [['Host', 'a'], ...LIES], LIES)
    await ask(trusting.port, [['Host', 'a'], ...LIED, ...TRUE], LIES)
    const said = seen.map(({ headers }) =>
      headers.flatMap((name, at) =>
        at % 2 === 0 && NAMES.test(name) ? [`${name.toLowerCase()}: ${headers[at + 1]}`] : [],
      ),
    )
    assert.deepEqual(
      said.map((lines) => lines.sort()),
      [told('127.0.0.1', 'http', 'a'), told('203.0.113.9', 'https', 'a')],
    )
    assert.deepEqual(
      seen.map(({ trailers }) => trailers),
      [[], []],
    )
  })

  it('is the address that the web server gives over uwsgi, and not one that its client gives', async () => {
    const serving = await Serving.start(application, ['--trusted-peers', 'all', '--forwarded-fields', 'forwarded'])
    cleanups.push(() => serving[Symbol.asyncDispose]())
    const variables = LIES.flatMap(([name, value]) => [`HTTP_${name.toUpperCase().replaceAll('-', '_')}`, value])
    const own = ['REQUEST_METHOD', 'GET', 'REMOTE_ADDR', '203.0.113.9', 'REQUEST_SCHEME', 'https', 'HTTPS', 'on']
    const socket = await serving.socket()
    socket.write(packet([...variables, ...own, 'HTTP_HOST', 'a', 'HTTP_X.REAL.IP', '6.6.6.6']))
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    await once(socket, 'end')
    assert.deepEqual(JSON.parse(Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')[1]!), {
      address: '203.0.113.9',
      scheme: 'https',
      https: 'on',
      host: 'a',
      said: [],
      trailers: [],
    })
    assert.equal(serving.accessLog.lines[0]?.fields['remote'], '203.0.113.9')
  })

  it("is the remote address of a Node listener's socket", async () => {
    const listener = fromNode((req, res) => {
      const { remoteAddress, encrypted } = req.socket as IncomingMessage['socket'] & { encrypted?: boolean }
      res.end(JSON.stringify([remoteAddress, encrypted, req.headers['x-forwarded-host'], req.headers.forwarded]))
    })
    const { path } = await container([], listener)
    const front = await proxy(['--upstream', path, '--trusted-peers', 'loopback'])
    const host: Fields = [['Host', 'a']]
    const secure = ['203.0.113.9', true, 'a', 'for=203.0.113.9;host=a;proto=https']
    assert.deepEqual(await ask(front.port, [...host, ...LIED, ...TRUE]), secure)
    assert.deepEqual(await ask(front.port, host), ['127.0.0.1', false, 'a', 'for=127.0.0.1;host=a;proto=http'])
  })

  it('at a Unix socket can be named only by a trusted peer', async () => {
    const direct = async (trusted: string): Promise<Client> => {
      const serving = await Serving.start(application, [
        '--listen',
        `unix:/tmp/gantry-believe-${process.pid}.sock`,
        '--trusted-peers',
        trusted,
      ])
      try {
        const client = await serving.http()
        return JSON.parse(String((await client.fetch({ target: '/', headers: TRUE })).body)) as Client
      } finally {
        await serving[Symbol.asyncDispose]()
      }
    }
    assert.equal((await direct('loopback')).address, UNIX_PEER)
    assert.equal((await direct('unix,127.0.0.9')).address, '203.0.113.9')
  })
})

describe('deploy/nginx/gantry.conf', { skip: noNginx }, () => {
  it('tells containers and proxies the address of the client, and none of the forwarded fields that it sent', async () => {
    const app = await container(['--trusted-peers', 'loopback'])
    const front = await proxy(['--upstream', app.path, '--trusted-peers', 'loopback'])
    const ports = [await freePort(), await freePort(), await freePort()] as const
    const servers = readFileSync(repositoryFile('deploy/nginx/gantry.conf'), 'utf8')
      .replace('resolver 127.0.0.11', 'resolver 127.0.0.1')
      .replaceAll(/listen 808([123]);/g, (_, number: string) => `listen 127.0.0.1:${ports[Number(number) - 1]};`)
      .replaceAll('container:8000', app.path)
      .replaceAll('proxy:8080', `127.0.0.1:${front.port}`)
      .replaceAll('include uwsgi_params', 'include /etc/nginx/uwsgi_params')
    const nginx = await startServers(ports[0], servers)
    cleanups.push(() => nginx.stop())
    for (const [at, port] of ports.entries()) {
      const found = await ask(port, [['Host', 'a'], ...LIES])
      assert.deepEqual([found.address, found.scheme, found.https], ['127.0.0.1', 'http', undefined])
      assert.doesNotMatch(JSON.stringify(found), /6\.6\.6|evil|443|root/)
      const fields = ['x-forwarded-for: 127.0.0.1', 'x-forwarded-proto: http']
      assert.deepEqual(found.said, [[], fields, told('127.0.0.1', 'http', 'a')][at])
    }
  })
})

describe('--trusted-peers', () => {
  it('trusts no private address by default: behind a published port of Docker every client has one', () => {
    const { trustedPeers } = parseOptions(containerOptions, ['app.ts'], {}).values
    for (const address of ['172.18.0.1', '192.168.65.1', '10.0.2.2', 'fd00::1', '::ffff:172.17.0.1']) {
      assert.equal(trustedPeers.has(address), false, address)
    }
    assert.deepEqual(
      ['127.0.0.1', '::1', UNIX_PEER].map((peer) => trustedPeers.has(peer)),
      [true, true, true],
    )
    assert.equal(parseOptions(proxyOptions, [], {}).values.trustedPeers.has('127.0.0.1'), false)
  })
})

describe('--forwarded-fields', () => {
  for (const [given, named] of [
    ['x-forwarded-for,x-client-ip', '"x-client-ip"'],
    ['x_forwarded_for', '"x_forwarded_for"'],
    ['Host', '"Host"'],
  ] as const) {
    it(`refuses ${given}, and names the valid values`, () => {
      const argv = ['--upstream', 'unix:/a', '--forwarded-fields', given]
      assert.throws(
        () => checkProxyOptions(parseOptions(proxyOptions, argv, {}).values),
        (error: OptionError) => {
          assert.ok(error instanceof OptionError)
          assert.match(
            error.message,
            new RegExp(`^--forwarded-fields: ${named} is not a forwarded field: expected X-Forw`),
          )
          return true
        },
      )
    })
  }
})
