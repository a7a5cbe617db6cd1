/** Applications of every kind in one mount, of this process and of others, in each place that a mount can have. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { mount } from '../../middleware/routing/mount.ts'
import type { Application, Environ, Headers, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { connect, type RemoteApplication } from '../../protocol/frames/connect.ts'
import { type PooledApplication, pool } from '../../proxy/pooled.ts'
import { type HttpUpstream, http } from '../../proxy/upstreams/http.ts'
import { Container, until } from '../proxy/container.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'
import { places } from '../support/places.ts'

const TEXT: Headers = [['Content-Type', 'text/plain']]
const textOf = (
  kind: string,
  { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING }: Environ,
  body: string,
): Buffer =>
  Buffer.from(`${kind} ${REQUEST_METHOD} [${SCRIPT_NAME}] [${PATH_INFO}] [${QUERY_STRING}] ${body}`, 'latin1')

// PEP 3333's four kinds.

const byFunction: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', TEXT)
  return [textOf('function', environ, String(body))]
}

/** A class whose instances are bodies. */
class ByClass {
  readonly #environ: Environ
  readonly #startResponse: StartResponse

  constructor(environ: Environ, startResponse: StartResponse) {
    this.#environ = environ
    this.#startResponse = startResponse
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const body = await this.#environ['wsgi.input'].read()
    this.#startResponse('200 OK', TEXT)
    yield textOf('class', this.#environ, String(body))
  }
}

/** An object whose method is the application. */
class Site {
  readonly #kind: string

  constructor(kind: string) {
    this.#kind = kind
  }

  readonly application: Application = async (environ, startResponse) => {
    const body = await environ['wsgi.input'].read()
    const write = startResponse('200 OK', TEXT)
    await write(textOf(this.#kind, environ, String(body)))
    return []
  }
}

async function* byGenerator(environ: Environ, startResponse: StartResponse): AsyncGenerator<Uint8Array> {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', TEXT)
  const text = textOf('generator', environ, String(body))
  yield text.subarray(0, 4)
  yield text.subarray(4)
}

/** A node listener: it knows only its own part of the path. */
function listener(kind: string): (req: IncomingMessage, res: ServerResponse) => void {
  return (req, res) => {
    let body = ''
    req.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    req.on('end', () => res.setHeader('Content-Type', 'text/plain').end(`${kind} ${req.method} ${req.url} ${body}`))
  }
}

/** A remote application: responds with its name; under `/hang` it waits until its client disconnects. */
class Remote {
  entered = 0
  left = 0
  readonly application: Application

  constructor(kind: string) {
    const site = new Site(kind)
    this.application = lint(async (environ, startResponse) => {
      if (environ.PATH_INFO !== '/hang') return site.application(environ, startResponse)
      this.entered++
      const { signal } = environ.gantry
      if (!signal.aborted) await once(signal, 'abort')
      this.left++
      throw signal.reason
    })
  }
}

interface World {
  readonly faults: string[]
  /** The queue timeout of the remote applications. */
  readonly clock: FakeClock
  readonly connected: Remote
  readonly pooled: Remote
  readonly containers: readonly [Container, Container]
  readonly far: { connect: RemoteApplication; pool: PooledApplication; http: HttpUpstream }
  readonly server: Server
  /** Requests at the HTTP server: all, hanging ones, and hanging ones whose client has disconnected. */
  readonly atServer: { begun: number; entered: number; left: number }
  readonly middleware: Middleware
  end(): Promise<void>
}

async function makeWorld(directory: string): Promise<World> {
  const faults: string[] = []
  const linted = (application: Application): Application =>
    lint(application, { report: (error) => faults.push(error.message) })
  const [connected, pooled] = [new Remote('connect'), new Remote('pool')]
  const containers = [new Container(connected.application), new Container(pooled.application)] as const
  await containers[0].listen({ path: `${directory}/a.sock` })
  await containers[1].listen({ path: `${directory}/b.sock` })
  const atServer = { begun: 0, entered: 0, left: 0 }
  const answer = listener('http')
  const server = createServer((req, res) => {
    atServer.begun++
    if (!req.url?.startsWith('/hang')) return answer(req, res)
    atServer.entered++
    res.once('close', () => atServer.left++)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const clock = new FakeClock()
  const far = {
    connect: connect(`unix:${directory}/a.sock`, { clock }),
    pool: pool([`unix:${directory}/b.sock`], { clock }),
    http: http(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
  }
  return {
    faults,
    clock,
    connected,
    pooled,
    containers,
    far,
    server,
    atServer,
    middleware: (application) =>
      mount({
        '/': application,
        '/function': linted(byFunction),
        '/class': linted((environ, startResponse) => new ByClass(environ, startResponse)),
        '/instance': linted(new Site('instance').application),
        '/generator': linted(byGenerator),
        '/node': linted(fromNode(listener('node'))),
        '/far/connect': linted(far.connect),
        '/far/pool': linted(far.pool),
        '/far/http': linted(far.http),
        'remote.example.com/': linted(far.connect),
      }),
    async end() {
      await Promise.all([far.connect.close(), far.pool.close(1_000), far.http.close()])
      await Promise.all(containers.map((container) => container.kill()))
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function inWorld(body: (world: World) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const world = await makeWorld(directory)
    try {
      await body(world)
      assert.deepEqual(world.faults, [])
    } finally {
      await world.end()
    }
  })
}

const root: Application = new Site('root').application

/** The response of each kind to a request for `/x y?q=1` below its prefix. */
const KINDS: readonly (readonly [prefix: string, says: string])[] = [
  ['', 'root POST [] [/x y] [q=1] body'],
  ['/function', 'function POST [/function] [/x y] [q=1] body'],
  ['/class', 'class POST [/class] [/x y] [q=1] body'],
  ['/instance', 'instance POST [/instance] [/x y] [q=1] body'],
  ['/generator', 'generator POST [/generator] [/x y] [q=1] body'],
  ['/node', 'node POST /x%20y?q=1 body'],
  ['/far/connect', 'connect POST [/far/connect] [/x y] [q=1] body'],
  ['/far/pool', 'pool POST [/far/pool] [/x y] [q=1] body'],
  ['/far/http', 'http POST /x%20y?q=1 body'],
]

for (const place of places) {
  describe(`a mount of every kind of application ${place.name}`, () => {
    it('gives each application its part of the path, and returns its responses whole', () =>
      inWorld(async ({ middleware }) => {
        await using placed = await place.put(middleware, root)
        for (const [prefix, says] of KINDS) {
          const result = await call(placed.application, { method: 'POST', path: `${prefix}/x%20y?q=1`, body: 'body' })
          assert.equal(`${result.status} ${result.text}`, `200 ${says}`)
          assert.equal(result.closed, true)
          const head = await call(placed.application, { method: 'HEAD', path: `${prefix}/x` })
          assert.deepEqual([head.status, head.text], [200, ''], prefix)
        }
        const byHost = await call(placed.application, { path: '/x', headers: { Host: 'Remote.Example.com' } })
        assert.equal(byHost.text, 'connect GET [] [/x] [] ')
        assert.equal((await call(placed.application, { path: '/functional' })).text, 'root GET [] [/functional] [] ')
      }))

    it('answers 502 or 503 for applications that are down, while the others keep serving', () =>
      inWorld(async ({ middleware, containers, server, clock }) => {
        await using placed = await place.put(middleware, root)
        for (const [prefix] of KINDS)
          assert.equal((await call(placed.application, { path: `${prefix}/x` })).status, 200)
        for (const container of containers) await container.kill()
        server.closeAllConnections()
        server.close()
        let over = false
        const asked = Promise.all(KINDS.map(([prefix]) => call(placed.application, { path: `${prefix}/x` })))
        asked.finally(() => (over = true)).catch(() => {})
        await until(() => {
          clock.advance(100)
          return over
        }, 'answers of those that are down')
        const answers = await asked
        assert.deepEqual(
          answers.map(({ status }) => status),
          [200, 200, 200, 200, 200, 200, 503, 503, 502],
        )
      }))

    it('lets each application see that its client has disconnected', () =>
      inWorld(async ({ middleware, connected, pooled, atServer }) => {
        await using placed = await place.put(middleware, root)
        for (const [prefix, seen] of [
          ['/far/connect', connected],
          ['/far/pool', pooled],
          ['/far/http', atServer],
        ] as const) {
          const client = new AbortController()
          const result = call(placed.application, { path: `${prefix}/hang`, signal: client.signal })
          await until(() => seen.entered === 1)
          client.abort()
          assert.equal((await result).aborted?.code, 'CLIENT_GONE', prefix)
          await until(() => seen.left === 1)
        }
      }))

    it('can close the remote applications: running requests finish, later ones get 503, and the others keep serving', () =>
      inWorld(async ({ middleware, far, containers, atServer }) => {
        await using placed = await place.put(middleware, root)
        const gate = Promise.withResolvers<void>()
        async function* body(): AsyncGenerator<Uint8Array> {
          yield Buffer.from('bo')
          await gate.promise
          yield Buffer.from('dy')
        }
        const prefixes = ['/far/connect', '/far/pool', '/far/http']
        const running = prefixes.map((prefix) =>
          call(placed.application, { method: 'POST', path: `${prefix}/x`, body: body() }),
        )
        await until(() => containers.every(({ runs }) => runs.size === 1) && atServer.begun === 1)
        const ends = [far.connect.close(), far.pool.close(), far.http.close()]
        gate.resolve()
        for (const result of await Promise.all(running))
          assert.match(`${result.status} ${result.text}`, /^200 .* body$/)
        await Promise.all(ends)
        for (const prefix of prefixes)
          assert.equal((await call(placed.application, { path: `${prefix}/x` })).status, 503)
        assert.equal((await call(placed.application, { path: '/function/x' })).status, 200)
      }))
  })
}
