/**
 * The `http.Server` that a listener's requests belong to: its events, classes and settings, and what node publishes of
 * its requests.
 */

import assert from 'node:assert/strict'
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  type ClientRequest,
  createServer,
  IncomingMessage,
  type RequestListener,
  request,
  type Server,
  ServerResponse,
} from 'node:http'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fromNode, fromServer } from '../../../interfaces/node/from-node.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { repositoryFile } from '../../support/child.ts'
import { run } from '../../support/exchange.ts'
import { both, get } from '../../support/two-servers.ts'
import { serverMembers } from './probes/members.ts'

const UPGRADE = { upgrade: true, headers: ['Host', 'x', 'Connection', 'Upgrade', 'Upgrade', 'echo'] }

describe("a listener's server", () => {
  it('calls all of its listeners, including those wrapped by a patched prototype', async () => {
    const calls: string[] = []
    const server = createServer((_req, res) => {
      calls.push('first')
      res.end()
    })
    server.on('request', () => calls.push('second'))
    server.prependListener('request', () => calls.push('before'))
    const { emit } = server
    server.emit = function patched(this: Server, ...given: never[]) {
      calls.push(`emit ${given[0]}`)
      return (emit as (...all: unknown[]) => boolean).apply(this, given)
    } as typeof server.emit
    await run(fromServer(server)).whenSettled
    assert.deepEqual(calls, ['emit request', 'before', 'first', 'second'])
  })

  it('is socket.server of its requests, and gets upgrades for listeners that are added later', async () => {
    for (const exported of [true, false]) {
      const upgraded: string[] = []
      let attached = false
      // As http-proxy-middleware with `ws: true` does on the first request.
      const listener: RequestListener = (req, res) => {
        const { server } = req.socket as unknown as { server: Server }
        if (!attached) {
          attached = true
          server.on('upgrade', (late, socket) => {
            upgraded.push(late.url!)
            socket.end('HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nno')
          })
        }
        ;(res.socket as unknown as { server: { io: string } }).server.io = 'kept'
        res.end('ordinary')
      }
      const application = exported ? fromNode(listener) : fromServer(createServer(listener))
      const first = run(application, UPGRADE)
      await first.whenSettled
      assert.equal(first.sink.body, 'ordinary')
      const second = run(application, { ...UPGRADE, target: '/late' })
      await second.whenSettled
      assert.equal(second.sink.status, '403 Forbidden')
      assert.deepEqual(upgraded, ['/late'])
    }
  })

  it('calls shouldUpgradeCallback with the same request that its listeners get', async () => {
    const asked: IncomingMessage[] = []
    const got: IncomingMessage[] = []
    const server = createServer((req, res) => {
      got.push(req)
      res.end(`${(req as { upgrade?: boolean }).upgrade}`)
    })
    ;(server as unknown as { shouldUpgradeCallback: unknown }).shouldUpgradeCallback = (
      ...given: IncomingMessage[]
    ) => {
      asked.push(given[0]!)
      return given[0]!.url === '/yes'
    }
    server.on('upgrade', (req, socket) => {
      got.push(req)
      assert.equal(req.socket, socket)
      socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n${(req as { upgrade?: boolean }).upgrade}`)
    })
    const application = fromServer(server)
    const bodies: string[] = []
    for (const target of ['/yes', '/no']) {
      const { sink, whenSettled } = run(application, { ...UPGRADE, target })
      await whenSettled
      bodies.push(sink.body)
    }
    assert.deepEqual(got, asked)
    assert.deepEqual(bodies, ['true', 'false'])
  })

  it('makes requests and responses of the classes passed to createServer()', async () => {
    class Request extends IncomingMessage {
      get path(): string {
        return new URL(this.url!, 'http://x').pathname
      }
    }
    class Answer extends ServerResponse {
      override writeHead(...given: never[]): this {
        this.setHeader('X-Class', 'yes')
        return (super.writeHead as (...all: unknown[]) => this).apply(this, given)
      }
      override writeEarlyHints(...given: never[]): void {
        hinted++
        ;(super.writeEarlyHints as (...all: unknown[]) => void).apply(this, given)
      }
      json(value: unknown): void {
        this.setHeader('Content-Type', 'application/json').end(JSON.stringify(value))
      }
    }
    let hinted = 0
    const seen = await both(
      () =>
        createServer({ IncomingMessage: Request as never, ServerResponse: Answer as never }, ((
          req: Request,
          res: Answer,
        ) => {
          res.writeEarlyHints({ link: '</a>; rel=preload' } as never)
          res.json([req instanceof Request, res instanceof Answer, req.path])
        }) as never),
      async (port) => {
        const sent: ClientRequest = request({ port, path: '/a?b', agent: false })
        const informed: number[] = []
        sent.on('information', ({ statusCode }) => informed.push(statusCode))
        const [res] = (await once(sent.end(), 'response')) as [IncomingMessage]
        return [(await res.toArray()).join(''), res.headers['x-class'], informed]
      },
    )
    assert.deepEqual(seen[1], seen[0])
    assert.deepEqual(seen[1], ['[true,true,"/a"]', 'yes', [103]])
    assert.equal(hinted, 2)
  })

  it('keeps the options of createServer() for requests and responses', async () => {
    const told: unknown[] = []
    const options = { joinDuplicateHeaders: true, uniqueHeaders: ['X-Once'], rejectNonStandardBodyWrites: true }
    const seen = await both(
      () =>
        createServer(options as never, (req, res) => {
          let code: unknown
          res.statusCode = req.url === '/204' ? 204 : 200
          res.setHeader('X-Once', ['a', 'b'])
          res.setHeader('X-Many', ['a', 'b'])
          try {
            res.write('x')
          } catch (error) {
            code = (error as NodeJS.ErrnoException).code
          }
          if (req.url === '/204') told.push(code)
          res.end(req.url === '/204' ? undefined : String(req.headers['authorization']))
        }),
      async (port) => {
        const socket = connect(port, '127.0.0.1')
        socket.write('GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\nConnection: close\r\n\r\n')
        const text = (await socket.setEncoding('latin1').toArray()).join('')
        await get(port, '/204')
        return [text.match(/X-Once: .*|X-Many: .*/g), text.includes('a, b')]
      },
    )
    assert.deepEqual(seen[1], seen[0])
    assert.deepEqual(told, ['ERR_HTTP_BODY_NOT_ALLOWED', 'ERR_HTTP_BODY_NOT_ALLOWED'])
  })

  it('keeps a method hidden if the application has hidden it', async () => {
    const server = createServer((_req, res) => res.end('x'))
    Object.assign(server, { closeAllConnections: null, getConnections: undefined })
    const { sink, whenSettled } = run(fromServer(server))
    await whenSettled
    assert.deepEqual([sink.body, server.closeAllConnections, server.getConnections], ['x', null, undefined])
  })

  it('counts the connections of requests that are not over, and closes them', async () => {
    const [native, ours] = await both(
      () => createServer((req, res) => void (req.url === '/wait' ? res.write('begun') : res.end('x'))),
      async (port, server) => {
        const counted = (): Promise<number> =>
          new Promise((resolve, reject) =>
            server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
          )
        const counts = [await counted()]
        const waiting = await Promise.all(
          [1, 2].map(async () => {
            const sent = request({ port, path: '/wait', agent: false })
            const [res] = (await once(sent.end(), 'response')) as [IncomingMessage]
            await once(res, 'data')
            return res
          }),
        )
        counts.push(await counted())
        // All addresses are ours, because the server does not listen.
        const closed = Promise.all(waiting.map((res) => new Promise((resolve) => res.once('close', resolve))))
        for (const res of waiting) res.on('error', () => {})
        server.closeAllConnections()
        await closed
        let left: number
        do {
          await turn()
          left = await counted()
        } while (left > 0)
        counts.push(left)
        return [counts, waiting.map(({ complete }) => complete)]
      },
    )
    assert.deepEqual(ours, native)
    assert.deepEqual(ours, [
      [0, 2, 0],
      [false, false],
    ])
  })

  it('does not count a request if its own classes or callbacks throw', async () => {
    class Refusing extends IncomingMessage {
      constructor(...given: never[]) {
        super(...(given as unknown as [never]))
        throw new Error('refused')
      }
    }
    const refusing = createServer({ IncomingMessage: Refusing as never })
    const choosing = createServer()
    ;(choosing as unknown as { shouldUpgradeCallback: unknown }).shouldUpgradeCallback = () => {
      throw new Error('refused')
    }
    for (const server of [refusing, choosing]) {
      const { sink, log, whenSettled } = run(fromServer(server), UPGRADE)
      await whenSettled
      assert.equal(sink.status, '500 Internal Server Error')
      assert.match(String(log.lines[0]?.fields['err']), /refused/)
      assert.equal(await new Promise((resolve) => server.getConnections((_, count) => resolve(count))), 0)
    }
  })

  it('counts an upgraded connection until it closes, and does not close it', async () => {
    const server = createServer()
    server.on('upgrade', (_req, socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n'),
    )
    const counted = (): Promise<number> => new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
    const { exchange, sink, whenSettled } = run(fromServer(server), UPGRADE)
    assert.equal(await counted(), 1)
    server.closeAllConnections()
    assert.equal(sink.peer!.destroyed, false)
    exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
    await whenSettled
    while ((await counted()) > 0) await turn()
  })
})

/** Members of `http.Server`: those that work as on node, and those that "Move your app in" lists as different. */
const members: Readonly<Record<'works' | 'differs', readonly string[]>> = {
  works: [
    'Symbol(Symbol.asyncDispose)',
    'Symbol(nodejs.rejection)',
    'addListener',
    'address',
    'close',
    'closeAllConnections',
    'closeIdleConnections',
    'emit',
    'eventNames',
    'getConnections',
    'getMaxListeners',
    'joinDuplicateHeaders',
    'listen',
    'listenerCount',
    'listeners',
    'listening',
    'maxHeadersCount',
    'off',
    'on',
    'once',
    'prependListener',
    'prependOnceListener',
    'rawListeners',
    'rejectNonStandardBodyWrites',
    'removeAllListeners',
    'removeListener',
    'setMaxListeners',
    'setTimeout',
    'shouldUpgradeCallback',
    'timeout',
  ],
  differs: [
    'allowHalfOpen',
    'connectionsCheckingInterval',
    'headersTimeout',
    'highWaterMark',
    'httpAllowHalfOpen',
    'httpValidation',
    'insecureHTTPParser',
    'keepAlive',
    'keepAliveInitialDelay',
    'keepAliveTimeout',
    'keepAliveTimeoutBuffer',
    'maxHeaderSize',
    'maxRequestsPerSocket',
    'noDelay',
    'pauseOnConnect',
    'ref',
    'requestTimeout',
    'requireHostHeader',
    'unref',
  ],
}

describe('fromServer: the async context of listen()', () => {
  it('is the listener’s, and no request leaves a store in it', async () => {
    const storage = new AsyncLocalStorage<string>()
    const found: string[] = []
    const server = createServer((_req, res) => {
      const note = (where: string): void => void found.push(`${where} ${storage.getStore()}`)
      note('request')
      storage.enterWith('of a request')
      res.on('finish', () => note('finish'))
      res.on('close', () => note('close'))
      res.write('a', () => note('written'))
      // Removed in another call than the one that added it.
      setImmediate(() => res.end('b'))
    })
    const scope = storage.run('of listen()', () => new AsyncResource('HTTPSERVER'))
    const application = fromServer(server, { scope: () => scope })
    for (let at = 0; at < 2; at++) {
      await run(application).whenSettled
      while (!found.some((one) => one.startsWith('close'))) await turn()
      // As on node: a request begins in the async context of listen(), and its callbacks see what it has entered since.
      assert.deepEqual(found.splice(0), [
        'request of listen()',
        'written of a request',
        'finish of a request',
        'close of a request',
      ])
    }
    assert.equal(storage.getStore(), undefined)
  })
})

/** Events of `net.Server` and `http.Server` that are never emitted. */
const events = ['connection', 'clientError', 'dropRequest', 'drop', 'connect'] as const

describe('http.Server', () => {
  const page = readFileSync(repositoryFile('docs/frameworks/README.md'), 'utf8')

  it('has only members that are known to work or known to differ', () => {
    const known = new Set([...members.works, ...members.differs])
    assert.deepEqual(
      serverMembers(createServer()).filter((name) => !known.has(name)),
      [],
    )
  })

  it('does not use the settings that the documentation lists as unused', async () => {
    for (const name of [...members.differs, ...events]) {
      assert.ok(page.includes(`\`${name}\``) || page.includes(`\`server.${name}()\``), `${name} is not on the page`)
    }
    // None of them changes a response, or delays or ends anything.
    const server = createServer((_req, res) => res.end('answered'))
    const never: string[] = []
    for (const event of events.slice(1)) server.on(event, () => never.push(event))
    for (const name of members.differs) {
      const one = server as unknown as Record<string, unknown>
      if (typeof one[name] === 'function') assert.equal((one[name] as () => unknown).call(server), server)
      else one[name] = 1
    }
    const application = fromServer(server)
    for (let at = 0; at < 3; at++) {
      const { sink, whenSettled } = run(application)
      await whenSettled
      assert.equal(sink.body, 'answered')
    }
    assert.deepEqual(never, [])
  })
})
