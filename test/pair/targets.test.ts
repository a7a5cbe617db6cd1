/** Targets with quotes and angle brackets cannot inject anything into logs, heads, variables and pages. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { fromFetch } from '../../interfaces/fetch/from-fetch.ts'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { accessLog } from '../../middleware/access-log/access-log.ts'
import { cache } from '../../middleware/cache/cache.ts'
import { compose } from '../../middleware/compose.ts'
import { mount } from '../../middleware/routing/mount.ts'
import { redirect } from '../../middleware/routing/redirect.ts'
import { rewrite } from '../../middleware/routing/rewrite.ts'
import type { Application, Middleware } from '../../protocol/contract/application.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { packet } from '../protocol/uwsgi/support.ts'
import { fields } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

const EVIL = '/"><script>alert(1)</script>/{x}|^`?q="<b>&r={"a":["b"]}'

async function container(application: Application, middleware?: Middleware): Promise<Serving> {
  const serving = await Serving.start(application, [], { middleware })
  cleanups.push(() => serving[Symbol.asyncDispose]())
  return serving
}

async function proxy(upstream: string): Promise<{ port: number; accessLog: RecordingLog }> {
  const lines = new RecordingLog()
  const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:0', '--upstream', upstream], {})
  const running = await serveProxy(values, { log: new RecordingLog(), accessLog: lines })
  cleanups.push(() => running.drain())
  return { port: (running.addresses[0] as TcpAddress).port, accessLog: lines }
}

async function client(port: number): Promise<HttpClient> {
  const made = await HttpClient.connect({ port, host: '127.0.0.1' })
  cleanups.push(() => made.destroy())
  return made
}

function portOf({ container: { addresses } }: Serving): number {
  return (addresses[0] as TcpAddress).port
}

const text: [string, string][] = [['Content-Type', 'text/plain']]

describe('a target with quotes and angle brackets', () => {
  it('is one line of each log, and cannot add a field', async () => {
    const written: string[] = []
    const served = await container(
      (_environ, startResponse) => {
        startResponse('200 OK', text)
        return []
      },
      accessLog({ format: 'combined', to: (line) => written.push(line) }),
    )
    const front = await proxy(`127.0.0.1:${portOf(served)}`)
    const target = '/"%20200%201%20"-"%20"x"?"\\"'
    await (await client(front.port)).fetch({ target })
    await until(() => written.length > 0 && front.accessLog.lines.length > 0)
    assert.equal(written.join('').split('\n').length, 2)
    const request = String.raw`"GET /\"%20200%201%20\"-\"%20\"x\"?\"\\\" HTTP/1.1"`
    const [, found] = /^127\.0\.0\.1 - - \[[^\]]+\] ("(?:[^"\\]|\\.)*") 200 - "-" "-"\n$/.exec(written[0]!) ?? []
    assert.equal(found, request)
    assert.equal(front.accessLog.lines[0]!.fields['url'], target)
  })

  it('reaches an HTTP server as it was sent, in one request line', async () => {
    const heads: string[] = []
    const server = createServer((socket) => {
      let head = ''
      socket.on('data', (chunk) => {
        head += chunk.toString('latin1')
        while (head.includes('\r\n\r\n')) {
          heads.push(head.slice(0, head.indexOf('\r\n\r\n')))
          head = head.slice(head.indexOf('\r\n\r\n') + 4)
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        }
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanups.push(() => server.close())
    const front = await proxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const asking = await client(front.port)
    for (const [method, target] of [
      ['GET', EVIL],
      ['GET', '/" HTTP/1.1"'.replaceAll(' ', '%20')],
      ['OPTIONS', 'http://a'],
      ['OPTIONS', '*'],
      ['OPTIONS', 'http://a/'],
    ] as const) {
      assert.equal((await asking.fetch({ method, target, headers: [['Host', '0.0.0.0=5000']] })).status, 200)
    }
    const lines = heads.map((head) => head.split('\r\n')[0])
    assert.deepEqual(lines, [
      `GET ${EVIL} HTTP/1.1`,
      'GET /"%20HTTP/1.1" HTTP/1.1',
      'OPTIONS * HTTP/1.1',
      'OPTIONS * HTTP/1.1',
      'OPTIONS / HTTP/1.1',
    ])
    const hosts = heads.map((head) => /^Host: (.*)$/m.exec(head)?.[1])
    assert.deepEqual(hosts, ['0.0.0.0=5000', '0.0.0.0=5000', 'a', '0.0.0.0=5000', 'a'])
  })

  it('is escaped in every Location header that is made from it', async () => {
    const empty: Application = (_environ, startResponse) => {
      startResponse('204 No Content', [])
      return []
    }
    const rest = mount({ '/dir/': empty, '/': redirect.to('https://example.com$request_uri') })
    const served = await container(compose(redirect('/old/*', '/new$path'), rewrite('/kept/*', '/$1'), rest))
    const asking = await client(portOf(served))
    for (const target of [`/old${EVIL}`, `/kept${EVIL}`, EVIL, '/"?"<>']) {
      const answer = await asking.fetch({ target })
      const [location] = fields(answer, 'location')
      assert.match(location!, /^(?:https:\/\/example\.com)?\/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*$/)
      assert.match(location!, /%22/)
      assert.doesNotMatch(answer.body.toString(), /<script>/)
    }
  })

  it('reaches a Node listener unchanged, and a fetch handler encoded', async () => {
    const listens = await container(fromNode((req, res) => void res.end(req.url)))
    const fetches = await container(fromFetch((request) => new Response(request.url)))
    const ask = async (serving: Serving): Promise<string> => {
      const front = await proxy(`127.0.0.1:${portOf(serving)}`)
      const { body } = await (await client(front.port)).fetch({ target: EVIL, headers: [['Host', 'a']] })
      return body.toString()
    }
    assert.equal(await ask(listens), EVIL)
    assert.equal(await ask(fetches), new URL(`http://a${EVIL}`).href)
  })

  it('has its own key in a cache', async () => {
    let runs = 0
    const served = await container((environ, startResponse) => {
      runs++
      startResponse('200 OK', [...text, ['Cache-Control', 'max-age=60']])
      return [Buffer.from(environ.REQUEST_URI, 'latin1')]
    }, cache())
    const asking = await client(portOf(served))
    const targets = ['/a"', '/a%22', '/a"|t=x', '/a?"', '/a<', '/a>', '/a?"<>']
    for (const target of [...targets, ...targets]) {
      assert.equal((await asking.fetch({ target })).body.toString(), target)
    }
    assert.equal(runs, targets.length)
  })

  it('is accepted over uwsgi as the web server sends it', async () => {
    const served = await container((environ, startResponse) => {
      startResponse('200 OK', text)
      return [Buffer.from(`${environ.REQUEST_URI} ${environ.PATH_INFO} ${environ.QUERY_STRING}`, 'latin1')]
    })
    const [path, query] = EVIL.split('?') as [string, string]
    const socket = await served.socket()
    const variables = ['REQUEST_METHOD', 'GET', 'REQUEST_URI', EVIL, 'PATH_INFO', path, 'QUERY_STRING', query]
    socket.write(packet([...variables, 'HTTP_HOST', '0.0.0.0=5000']))
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    await once(socket, 'end')
    assert.equal(Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')[1], `${EVIL} ${path} ${query}`)
  })
})
