/** A running proxy: over sockets, from its options to its last link. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { type ProxyOptions, proxyOptions } from '../../proxy/options.ts'
import { type ProxyEnvironment, type RunningProxy, serveProxy } from '../../proxy/serve.ts'
import { burst } from '../support/burst.ts'
import { fields } from '../support/client.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { freePort } from '../support/sockets.ts'
import { Container, type ContainerOptions, until } from './container.ts'

const cleanups: (() => unknown)[] = []
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup()
})

class Served {
  readonly proxy: RunningProxy
  readonly log: RecordingLog
  readonly accessLog: RecordingLog

  constructor(proxy: RunningProxy, log: RecordingLog, accessLog: RecordingLog) {
    this.proxy = proxy
    this.log = log
    this.accessLog = accessLog
  }

  static async start(argv: string[], environment: Partial<ProxyEnvironment> = {}, token?: string): Promise<Served> {
    const log = new RecordingLog()
    const accessLog = new RecordingLog()
    const values: ProxyOptions = parseOptions(
      proxyOptions,
      ['--listen', '127.0.0.1:0', '--drain-timeout', '5s', ...argv],
      token === undefined ? {} : { GANTRY_TOKEN: token },
    ).values
    const proxy = await serveProxy(values, { log, accessLog, ...environment })
    cleanups.push(() => proxy.drain())
    return new Served(proxy, log, accessLog)
  }

  get port(): number {
    return (this.proxy.addresses[0] as TcpAddress).port
  }

  get joinPort(): number {
    return (this.proxy.joinAddresses[0] as TcpAddress).port
  }

  async client(): Promise<HttpClient> {
    const client = await HttpClient.connect({ host: '127.0.0.1', port: this.port })
    cleanups.push(() => client.destroy())
    return client
  }

  ready(count: number): Promise<void> {
    return until(() => this.proxy.pool.count('ready') === count)
  }
}

function named(name: string): Application {
  return async (environ, startResponse) => {
    await environ['wsgi.input'].read()
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return [Buffer.from(name)]
  }
}

function container(application: Application, options?: ContainerOptions): Container {
  const made = new Container(application, options)
  cleanups.push(() => made.kill())
  return made
}

suite('a proxy', () => {
  test('passes requests to a container at a Unix socket', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      await container(named('one')).listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`])
      const answer = await (await served.client()).fetch({ target: '/' })
      assert.deepEqual([answer.status, String(answer.body)], [200, 'one'])
    }))

  test('holds requests for a container that starts later', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const served = await Served.start(['--upstream', `unix:${path}`])
      const sent = (await served.client()).request({ method: 'POST', target: '/', body: 'held' })
      await until(() => served.proxy.pool.queued === 1)
      await container(named('late')).listen({ path })
      assert.equal(String((await sent.whole()).body), 'late')
    }))

  test('is handed over from one added container to another without a request to the first from then on', () =>
    withDirectory(async (directory) => {
      const [a, b] = [container(named('a'), { id: 'a' }), container(named('b'), { id: 'b' })]
      const served = await Served.start(['--upstream', 'unix:/nowhere/app.sock'])
      const add = async (one: Container, name: string) => {
        const path = join(directory, name)
        await one.listen({ path })
        const linked = Promise.withResolvers<void>()
        const added = served.proxy.add({ kind: 'unix', path }, linked.resolve)
        await linked.promise
        return added
      }
      const client = await served.client()
      const first = await add(a, 'a.sock')
      assert.equal(String((await client.fetch({ target: '/' })).body), 'a')
      await add(b, 'b.sock')
      first.stop('a newer one serves')
      for (let count = 0; count < 10; count++) {
        assert.equal(String((await client.fetch({ target: '/' })).body), 'b')
      }
    }))

  test('sends each of many clients that connect at once a response, however few connections it may have', () =>
    withDirectory(async (directory) => {
      const clock = new FakeClock()
      const argv = ['--upstream', 'unix:/nowhere/app.sock', '--max-connections', '2']
      const served = await Served.start(argv, { clock })
      const clients = burst(served.port, 60)
      await clients.ended(58)
      const one = container(named('a'), { id: 'a' })
      const path = join(directory, 'a.sock')
      await one.listen({ path })
      served.proxy.add({ kind: 'unix', path }, () => {})
      assert.deepEqual(await clients.statuses(), ['200', '200', ...Array(58).fill('503')])
    }))

  test('answers 503 with Retry-After when no container starts', async () => {
    const served = await Served.start(['--upstream', 'unix:/nowhere/app.sock', '--queue-timeout', '100ms'])
    const answer = await (await served.client()).fetch({ target: '/' })
    assert.deepEqual([answer.status, fields(answer, 'retry-after')], [503, ['1']])
  })

  test('finds every socket in a directory, and drops those that are removed', () =>
    withDirectory(async (directory) => {
      const [a, b] = [container(named('a'), { id: 'a' }), container(named('b'), { id: 'b' })]
      await a.listen({ path: join(directory, 'a.sock') })
      const served = await Served.start(['--upstream', `unix:${directory}/`])
      await served.ready(1)
      await b.listen({ path: join(directory, 'b.sock') })
      await served.ready(2)
      a.drain()
      await served.ready(1)
      const answer = await (await served.client()).fetch({ target: '/' })
      assert.equal(String(answer.body), 'b')
    }))

  test('dials every address of a name, with the secret', async () => {
    const token = 'a secret of some length'
    const found = container(named('found'), { token })
    const port = await found.listen({ host: '127.0.0.1', port: 0 })
    const asked: string[] = []
    const resolve = async (host: string): Promise<string[]> => {
      asked.push(host)
      return ['127.0.0.1']
    }
    const served = await Served.start(['--upstream', `containers.test:${port}`], { resolve }, token)
    const answer = await (await served.client()).fetch({ target: '/' })
    assert.deepEqual([String(answer.body), asked[0]], ['found', 'containers.test'])
  })

  test('needs no secret at a Unix socket, which has its permissions', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      await container(named('local')).listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`], {}, 'a secret of some length')
      assert.equal(String((await (await served.client()).fetch({ target: '/' })).body), 'local')
    }))

  test('takes containers that join', async () => {
    const served = await Served.start(['--join-listen', '127.0.0.1:0'])
    const joiner = container(named('joined'))
    joiner.join({ host: '127.0.0.1', port: served.joinPort })
    const answer = await (await served.client()).fetch({ target: '/' })
    assert.equal(String(answer.body), 'joined')
    await joiner.kill()
    await until(() => served.proxy.pool.members.length === 0)
  })

  test('takes containers that join with the secret, and no others', async () => {
    const token = 'a secret of some length'
    const served = await Served.start(['--join-listen', '127.0.0.1:0'], {}, token)
    const address = { host: '127.0.0.1', port: served.joinPort }
    const [stranger, liar, friend] = [
      container(named('stranger')),
      container(named('liar'), { token: 'another secret' }),
      container(named('friend'), { token }),
    ]
    stranger.join(address)
    liar.join(address)
    await until(() => stranger.streams.length === 0 && liar.streams.length === 0)
    friend.join(address)
    await served.ready(1)
    const answer = await (await served.client()).fetch({ target: '/' })
    assert.equal(String(answer.body), 'friend')
    assert.deepEqual([stranger.runs.size, liar.runs.size], [0, 0])
  })

  test('logs lost and draining containers differently, and logs when the proxy drains a link', async () => {
    const served = await Served.start(['--join-listen', '127.0.0.1:0'])
    const address = { host: '127.0.0.1', port: served.joinPort }
    const gone = () => until(() => served.proxy.pool.members.length === 0)
    const told = () =>
      served.log.lines.splice(0).flatMap(({ level, message }) => (level === 'debug' ? [] : [[level, message]]))
    const killed = container(named('killed'))
    killed.join(address)
    await served.ready(1)
    await killed.kill()
    await gone()
    assert.deepEqual(told(), [
      ['info', 'container is ready'],
      ['warn', 'container is lost'],
    ])
    const drained = container(named('drained'))
    drained.join(address)
    await served.ready(1)
    drained.drain()
    await gone()
    assert.deepEqual(told(), [
      ['info', 'container is ready'],
      ['info', 'container is draining'],
      ['info', 'container is closed'],
    ])
    container(named('left')).join(address)
    await served.ready(1)
    await served.proxy.drain()
    assert.deepEqual(told(), [
      ['info', 'container is ready'],
      ['info', 'the proxy drains its connection to the container'],
      ['info', 'container is closed'],
    ])
  })

  test('logs no loss when one of two connections of a container is closed', async () => {
    const served = await Served.start(['--join-listen', '127.0.0.1:0'])
    const address = { host: '127.0.0.1', port: served.joinPort }
    const twice = container(named('twice'))
    twice.join(address)
    await served.ready(1)
    // As from a container whose proxy was stopped for a while.
    const second = twice.join(address)
    await until(() => served.proxy.pool.members.length === 2 && served.proxy.pool.count('connecting') === 0)
    second.destroy()
    await until(() => served.proxy.pool.members.length === 1)
    await served.ready(1)
    const answer = await (await served.client()).fetch({ target: '/' })
    assert.equal(String(answer.body), 'twice')
    assert.deepEqual(served.log.messages('warn'), [])
    assert.equal(served.log.messages('info').filter((message) => message === 'container is closed').length, 1)
  })

  test('logs each reason why a container of one host does not join, and once', async () => {
    const token = 'a secret of some length'
    const served = await Served.start(['--join-listen', '127.0.0.1:0'], {}, token)
    const address = { host: '127.0.0.1', port: served.joinPort }
    for (const options of [undefined, { token: 'another secret' }, undefined, { token: 'a third secret' }]) {
      const stranger = container(named('stranger'), options)
      stranger.join(address)
      await until(() => stranger.streams.length === 0)
    }
    await until(() => served.proxy.pool.members.length === 0)
    const lines = served.log.lines.filter(({ level }) => level === 'warn')
    assert.deepEqual(
      new Set(lines.map(({ message }) => message)),
      new Set(["a container's connection was closed before it joined"]),
    )
    for (const { fields } of lines) assert.match(String(fields['address']), /^127\.0\.0\.1:\d+$/)
    assert.deepEqual(
      lines.map(({ fields }) => fields['error']),
      [
        'the proxy requires a token, and the container has none; give both the same --token-file or GANTRY_TOKEN',
        'the peer does not hold the same token; give both the same --token-file or GANTRY_TOKEN',
      ],
    )
  })

  test('passes requests to a server that speaks HTTP', async () => {
    const server = createHttpServer((req, res) => {
      req.pipe(res.writeHead(200, { 'x-for': req.headers['x-forwarded-for'] }))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const served = await Served.start(['--upstream', `http://127.0.0.1:${port}`])
    const body = 'x'.repeat(300_000)
    const answer = await (await served.client()).fetch({ method: 'POST', target: '/', body })
    assert.deepEqual([answer.status, String(answer.body) === body, fields(answer, 'x-for')], [200, true, ['127.0.0.1']])
  })

  test('sends a POST that did not reach an HTTP server to a container, whole', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const echo = container(async (environ, startResponse) => {
        const body = await environ['wsgi.input'].read()
        startResponse('200 OK', [])
        return [body]
      })
      // Chosen first: the HTTP server, which does not run.
      const served = await Served.start(
        ['--upstream', `http://127.0.0.1:${await freePort()},unix:${path}`, '--queue-timeout', '30s'],
        { random: () => 0 },
      )
      const body = 'y'.repeat(100_000)
      const sent = (await served.client()).request({ method: 'POST', target: '/', body })
      await echo.listen({ path })
      const answer = await sent.whole()
      assert.deepEqual([answer.status, String(answer.body) === body], [200, true])
    }))

  test('logs one line for each request, with its id', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      await container(named('one')).listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`, '--trusted-peers', 'loopback'])
      await (await served.client()).fetch({ target: '/x?y', headers: [['X-Request-Id', 'mine']] })
      await until(() => served.accessLog.lines.length === 1)
      const { requestId, url, status, bytes } = served.accessLog.lines[0]!.fields
      assert.deepEqual([requestId, url, status, bytes], ['mine', '/x?y', 200, 3])
    }))

  test("passes on the client's address", () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const lines: string[] = []
      const seen = container((environ, startResponse) => {
        lines.push(
          String(environ['HTTP_X_FORWARDED_FOR']),
          String(environ['HTTP_X_REQUEST_ID']),
          environ.gantry.requestId,
        )
        startResponse('204 No Content', [])
        return []
      })
      await seen.listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`])
      await (await served.client()).fetch({ target: '/', headers: [['X-Forwarded-For', '6.6.6.6']] })
      assert.equal(lines[0], '127.0.0.1')
      assert.equal(lines[1], lines[2])
    }))
})

suite('a proxy without a secret', () => {
  for (const argv of [
    ['--upstream', '192.0.2.1:8000'],
    ['--upstream', 'containers.test:8000'],
    ['--upstream', '[2001:db8::1]:8000'],
    ['--join-listen', ':9000'],
    ['--join-listen', '0.0.0.0:9000'],
    ['--upstream', 'unix:/run/a.sock,192.0.2.1:8000'],
  ]) {
    test(`does not start with ${argv.join(' ')}`, async () => {
      await assert.rejects(Served.start(argv), { code: 'MISSING_OPTION', message: /--token-file.*GANTRY_TOKEN/ })
    })
  }

  for (const argv of [
    ['--upstream', 'unix:/nowhere/a.sock'],
    ['--upstream', '127.0.0.1:1'],
    ['--upstream', 'localhost:1'],
    ['--upstream', '[::1]:1'],
    ['--upstream', 'http://192.0.2.1/'],
    ['--join-listen', '127.0.0.1:0'],
  ]) {
    test(`starts with ${argv.join(' ')}`, async () => {
      const served = await Served.start(argv)
      await served.proxy.drain()
    })
  }
})

suite('a proxy that drains', () => {
  test('reports when no request can arrive any more: every remaining request has started its response', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const [wait, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      let waiting = false
      await container(async (environ, startResponse) => {
        if (environ.PATH_INFO === '/wait') {
          waiting = true
          await wait.promise
        }
        startResponse('200 OK', [])
        return (async function* () {
          yield Buffer.from('begun ')
          await end.promise
          yield Buffer.from('ended')
        })()
      }).listen({ path })
      const clock = new FakeClock()
      const served = await Served.start(['--upstream', `unix:${path}`, '--keep-alive-grace', '0s'], { clock })
      const [begun, late] = [await served.client(), await served.client()]
      const first = begun.request({ target: '/' })
      await first.has(6)
      const second = late.request({ target: '/wait' })
      await until(() => waiting)
      let last = 0
      const drained = served.proxy.drain({ onNoMoreRequests: () => last++ })
      const pass = async (): Promise<void> => {
        for (let turns = 0; turns < 20; turns++) {
          clock.advance(10)
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      // It drains after it has stopped listening.
      await until(() => served.proxy.inspect().includes('draining'))
      await pass()
      assert.equal(last, 0)
      wait.resolve()
      await second.has(6)
      await pass()
      assert.equal(last, 1)
      end.resolve()
      assert.deepEqual(
        [String((await first.whole()).body), String((await second.whole()).body)],
        ['begun ended', 'begun ended'],
      )
      const done = drained.then(() => (last = 2))
      await until(() => {
        clock.advance(10)
        return last === 2
      })
      await done
    }))

  test('is not ready during the drain delay, and serves; then idle connections have a grace for a late request', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const lane = join(directory, 'health')
      await container(named('served')).listen({ path })
      const clock = new FakeClock()
      const served = await Served.start(
        ['--upstream', `unix:${path}`, '--health-listen', `unix:${lane}`, '--drain-delay', '5s'],
        { clock },
      )
      const ready = async (): Promise<number> => {
        const probe = await HttpClient.connect({ path: lane })
        const { status } = await probe.fetch({ target: '/ready' })
        probe.destroy()
        return status
      }
      await served.ready(1)
      const [used, idle, unused] = [await served.client(), await served.client(), await served.client()]
      for (const client of [used, idle]) await client.fetch({ target: '/' })
      assert.equal(await ready(), 200)
      let notified = false
      const drained = served.proxy.drain({ onDraining: () => (notified = true) })
      assert.equal(await ready(), 503)
      for (const client of [used, await served.client()]) {
        const answer = await client.fetch({ method: 'POST', target: '/', body: 'x' })
        assert.deepEqual([answer.status, fields(answer, 'connection')], [200, ['close']])
      }
      assert.equal(notified, false)
      clock.advance(5_000)
      await until(() => notified)
      await until(async () => {
        const socket = connect(served.port, '127.0.0.1')
        return (
          (await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => 'refused')) === 'refused'
        )
      })
      const late = await idle.fetch({ method: 'POST', target: '/', body: 'late' })
      assert.deepEqual([String(late.body), fields(late, 'connection')], ['served', ['close']])
      assert.equal(unused.ended, undefined)
      clock.advance(2_500)
      assert.equal(await unused.whenEnded(), 'fin')
      for (const client of [used, idle, unused]) client.destroy()
      let over = false
      void drained.then(() => (over = true))
      await until(() => {
        clock.advance(100)
        return over
      })
    }))

  test('finishes running requests, accepts no new ones, and closes its links last', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const held = Promise.withResolvers<void>()
      const slow = container(async (_environ, startResponse) => {
        await held.promise
        startResponse('200 OK', [])
        return [Buffer.from('done')]
      })
      await slow.listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`])
      const client = await served.client()
      const idle = await served.client()
      const sent = client.request({ target: '/' })
      await until(() => slow.runs.size === 1)
      const drained = served.proxy.drain()
      await idle.whenEnded()
      await assert.rejects(HttpClient.connect({ host: '127.0.0.1', port: served.port }))
      assert.equal(slow.link.state, 'ready')
      held.resolve()
      const answer = await sent.whole()
      assert.deepEqual([answer.status, String(answer.body), fields(answer, 'connection')], [200, 'done', ['close']])
      await drained
      await until(() => slow.link.state === 'closed')
      assert.equal(served.proxy.pool.members.length, 0)
    }))

  test('aborts requests that take longer than its timeout, and logs it', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      const aborted = Promise.withResolvers<unknown>()
      const slow = container((environ) => {
        environ.gantry.signal.addEventListener('abort', () => aborted.resolve(environ.gantry.signal.reason))
        return new Promise(() => {})
      })
      await slow.listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`, '--drain-timeout', '50ms'])
      const sent = (await served.client()).request({ target: '/' })
      await until(() => slow.runs.size === 1)
      await served.proxy.drain()
      const answer = await sent.whole()
      assert.equal(answer.complete, false)
      assert.equal(((await aborted.promise) as { code: string }).code, 'DRAIN_TIMEOUT')
      assert.equal(served.log.messages('warn').length, 1)
      const [line] = served.log.lines.filter(({ level }) => level === 'warn')
      assert.deepEqual(line?.fields, { connections: 1, upgraded: 0 })
    }))

  test('counts the upgraded streams that its timeout finds', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      await container((environ, start) => {
        start('101 Switching Protocols', [['Upgrade', 'echo']])
        const raw = environ.gantry.upgrade()
        raw.pipe(raw)
        return []
      }).listen({ path })
      const served = await Served.start(['--upstream', `unix:${path}`, '--drain-timeout', '50ms'])
      const socket = connect(served.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 101 /)
      await served.proxy.drain()
      const [line] = served.log.lines.filter(({ level }) => level === 'warn')
      assert.deepEqual(line?.fields, { connections: 1, upgraded: 1 })
      socket.destroy()
    }))

  test('frees its address', async () => {
    const served = await Served.start(['--upstream', 'unix:/nowhere/a.sock'])
    await served.proxy.drain()
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(served.port, '127.0.0.1', resolve)
    })
    await new Promise((resolve) => server.close(resolve))
  })

  test('drains once, however often it is asked', async () => {
    const served = await Served.start(['--upstream', 'unix:/nowhere/a.sock'])
    assert.equal(served.proxy.drain(), served.proxy.drain())
  })
})

test('a proxy that cannot listen closes everything that it has opened', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const free = await freePort()
  await assert.rejects(
    Served.start(['--join-listen', `127.0.0.1:${free}`, '--listen', `127.0.0.1:${port}`, '--listen', '127.0.0.1:0']),
    { code: 'ADDRESS_IN_USE' },
  )
  const again = createServer()
  await new Promise<void>((resolve, reject) => {
    again.once('error', reject)
    again.listen(free, '127.0.0.1', resolve)
  })
  await Promise.all([server, again].map((one) => new Promise((resolve) => one.close(resolve))))
})
