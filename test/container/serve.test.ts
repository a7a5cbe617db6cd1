import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { CallError } from '../../protocol/frames/caller.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import { ListenError } from '../../protocol/net/listen.ts'
import { OptionError } from '../../protocol/options/option-table.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { nginxGet, packet } from '../protocol/uwsgi/support.ts'
import { burst } from '../support/burst.ts'
import { fields } from '../support/client.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { Serving, TestProxy } from './serving.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const bytes = (value: string): Buffer => Buffer.from(value, 'latin1')

const path: Application = lint((environ, start) => {
  start('200 OK', text)
  return [bytes(environ.PATH_INFO)]
})

interface Held {
  environ: Environ
  answer(body?: string): void
}

/** An application whose requests wait for the test. */
class Holding {
  readonly waiting: Held[] = []
  /** Every request so far. */
  readonly all: Held[] = []
  most = 0

  readonly application: Application = (environ, start) =>
    new Promise((resolve, reject) => {
      const held: Held = {
        environ,
        answer: (body = environ.PATH_INFO) => {
          this.waiting.splice(this.waiting.indexOf(held), 1)
          start('200 OK', text)
          resolve([bytes(body)])
        },
      }
      environ.gantry.signal.addEventListener('abort', () => {
        this.waiting.splice(this.waiting.indexOf(held), 1)
        reject(environ.gantry.signal.reason)
      })
      this.waiting.push(held)
      this.all.push(held)
      this.most = Math.max(this.most, this.waiting.length)
    })
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-'))
})
after(() => rmSync(directory, { recursive: true, force: true }))

async function whole(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

describe('a container', () => {
  it('distinguishes HTTP, uwsgi and frames on one port', async () => {
    await using serving = await Serving.start(path)
    const client = await serving.http()
    assert.equal((await client.fetch({ target: '/http' })).body.toString(), '/http')
    const socket = await serving.socket()
    socket.write(packet(nginxGet))
    assert.match(await whole(socket), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\/hello there$/)
    const proxy = await serving.proxy()
    assert.equal(await proxy.call('/frames'), '/frames')
    assert.equal(proxy.caller.peer?.slots, 1000)
  })

  it('listens on several addresses, and reports them', async () => {
    const unix = join(directory, 'several')
    await using serving = await Serving.start(path, ['--listen', `unix:${unix},127.0.0.1:0`, '--socket-mode', '600'])
    const [first, second] = serving.container.addresses
    assert.deepEqual(first, { kind: 'unix', path: unix })
    assert.ok(second?.kind === 'tcp' && second.port > 0)
    for (const index of [0, 1]) {
      const client = await serving.http(index)
      assert.equal((await client.fetch({ target: `/${index}` })).body.toString(), `/${index}`)
    }
    assert.equal((await (await serving.proxy({ index: 0 })).call('/f')).toString(), '/f')
  })

  it('answers each of many clients that connect at once, with a low connection limit', async () => {
    const holding = new Holding()
    // Time stands still: none of the connections becomes idle.
    const clock = new FakeClock()
    await using serving = await Serving.start(holding.application, ['--max-connections', '2'], { clock })
    const address = serving.container.addresses[0]!
    assert.ok(address.kind === 'tcp')
    const clients = burst(address.port, 60)
    await clients.ended(58)
    await until(() => holding.waiting.length === 2)
    for (const held of [...holding.waiting]) held.answer()
    assert.deepEqual(await clients.statuses(), ['200', '200', ...Array(58).fill('503')])
  })

  it('is linked although clients and silent connections have reached the connection limit', async () => {
    const holding = new Holding()
    // Time stands still: no connection becomes idle, so that none is closed to make room.
    await using serving = await Serving.start(holding.application, ['--max-connections', '2'], {
      clock: new FakeClock(),
    })
    const clients = [await serving.http(), await serving.http()]
    const responses = clients.map((client) => client.fetch({ target: '/held' }))
    await until(() => holding.waiting.length === 2)
    // As many connections as may be undecided above the limit, and one more.
    for (let count = 0; count < 3; count++) await serving.socket()
    const proxy = await serving.proxy()
    const call = proxy.call('/over-the-link')
    await until(() => holding.waiting.length === 3)
    for (const held of [...holding.waiting]) held.answer()
    await call
    assert.deepEqual(
      (await Promise.all(responses)).map(({ status }) => status),
      [200, 200],
    )
  })

  it('listens on no address if it cannot listen on one of them', async () => {
    const unix = join(directory, 'none')
    await using other = await Serving.start(path)
    const taken = other.container.addresses[0]!
    assert.ok(taken.kind === 'tcp')
    await assert.rejects(
      () => Serving.start(path, ['--listen', `unix:${unix},127.0.0.1:${taken.port}`]),
      (error) => error instanceof ListenError && error.code === 'ADDRESS_IN_USE',
    )
    assert.deepEqual(
      readdirSync(directory).filter((name) => name === 'none'),
      [],
    )
  })

  it('logs requests of its own port, but not those that a proxy logs', async () => {
    await using serving = await Serving.start(path)
    await (await serving.http()).fetch({ target: '/mine' })
    await (await serving.proxy()).call('/another')
    await until(() => serving.accessLog.lines.length > 0)
    assert.deepEqual(
      serving.accessLog.lines.map(({ fields }) => fields['url']),
      ['/mine'],
    )
  })

  it('logs when a proxy is linked and when its link is closed', async () => {
    await using serving = await Serving.start(path)
    const proxy = await serving.proxy()
    const of = (message: string): unknown[] =>
      serving.log.lines.filter((line) => line.message === message).map((line) => line.fields['proxy'])
    assert.deepEqual(of('a proxy is linked'), ['test-proxy'])
    proxy.caller.close('the test ends')
    await until(() => of('the link to a proxy is closed').length === 1)
    assert.deepEqual(of('the link to a proxy is closed'), ['test-proxy'])
  })

  it('logs each silence of a proxy and its end, although another link of the proxy opens in between', async () => {
    const clock = new FakeClock()
    await using serving = await Serving.start(path, [], { clock })
    const messages = (): string[] =>
      serving.log.lines.map(({ message }) => message).filter((message) => message.includes('answer'))
    const socket = await serving.socket()
    const first = new TestProxy(socket, {})
    await first.ready
    // The peer reads no PING, so it sends no PONG.
    socket.pause()
    await until(() => {
      clock.advance(500)
      return messages().length === 1
    })
    const second = await serving.proxy()
    // A request shows that the container has read the handshake of the second link.
    assert.equal(await second.call('/second'), '/second')
    socket.resume()
    await until(() => messages().length === 2)
    assert.deepEqual(messages(), ['a proxy does not answer', 'a proxy answers again'])
    first.destroy()
  })

  describe('logs the end of a link', () => {
    const closed = 'the link to a proxy is closed'
    const levelAfter = async (end: (serving: Serving, proxy: TestProxy) => unknown): Promise<string> => {
      await using serving = await Serving.start(path)
      const proxy = await serving.proxy()
      await end(serving, proxy)
      await until(() => serving.log.lines.some(({ message }) => message === closed))
      return serving.log.lines.find(({ message }) => message === closed)!.level
    }

    it('as a warning if the proxy is lost', async () => {
      assert.equal(await levelAfter((_, proxy) => proxy.destroy()), 'warn')
    })

    it('as information if the proxy has drained it, or the container', async () => {
      assert.equal(await levelAfter((_, { caller }) => caller.close('the test ends')), 'info')
      assert.equal(await levelAfter(({ container }) => container.drain()), 'info')
    })

    it('as information if the same proxy has another link', async () => {
      const level = await levelAfter(async (serving, proxy) => {
        await (await serving.proxy()).call('/')
        proxy.destroy()
      })
      assert.equal(level, 'info')
    })
  })

  it('keeps the request id of a trusted peer, over HTTP and uwsgi', async () => {
    const ids: string[] = []
    const application: Application = (environ, start) => {
      ids.push(environ.gantry.requestId)
      return path(environ, start)
    }
    await using serving = await Serving.start(application)
    await (await serving.http()).fetch({ target: '/', headers: [['X-Request-Id', 'from-nginx']] })
    const socket = await serving.socket()
    socket.write(packet([...nginxGet, 'HTTP_X_REQUEST_ID', 'from-uwsgi']))
    await whole(socket)
    const injected = await serving.socket()
    injected.write(packet([...nginxGet, 'HTTP_X_REQUEST_ID', 'a b']))
    await whole(injected)
    assert.deepEqual(ids.slice(0, 2), ['from-nginx', 'from-uwsgi'])
    assert.notEqual(ids[2], 'a b')
  })

  it('requires its secret on TCP, but not on a Unix socket', async () => {
    const unix = join(directory, 'secret')
    const environment = { GANTRY_TOKEN: 'swordfish' }
    await using serving = await Serving.start(path, ['--listen', `127.0.0.1:0,unix:${unix}`], { environment })
    await assert.rejects(() => serving.proxy())
    await assert.rejects(() => serving.proxy({ token: 'guessed' }))
    assert.equal(await (await serving.proxy({ token: 'swordfish' })).call('/'), '/')
    assert.equal(await (await serving.proxy({ index: 1 })).call('/'), '/')
    assert.equal(
      serving.log.lines.some((line) => JSON.stringify(line).includes('swordfish')),
      false,
    )
  })

  it('joins no proxy on another host without a secret', async () => {
    await assert.rejects(
      () => Serving.start(path, ['--join', '192.0.2.1:9000']),
      (error) => error instanceof OptionError && /--token-file/.test(error.message),
    )
  })

  it('ends a link whose bytes are not frames, and continues to serve', async () => {
    await using serving = await Serving.start(path)
    const socket = await serving.socket()
    socket.write(Buffer.from([0xc1, ...new Array<number>(64).fill(0xff)]))
    await whole(socket)
    assert.equal((await (await serving.http()).fetch({ target: '/on' })).body.toString(), '/on')
  })
})

describe('a container’s slots', () => {
  it('limit the running requests of all protocols together, and are all used', async () => {
    const holding = new Holding()
    await using serving = await Serving.start(holding.application, ['--slots', '3'])
    const proxies = [await serving.proxy(), await serving.proxy(), await serving.proxy()]
    const answers = proxies.flatMap((proxy) => Array.from({ length: 6 }, (_, index) => proxy.queue(`/${index}`)))
    for (let answered = 0; answered < answers.length; answered++) {
      const due = Math.min(3, answers.length - answered)
      await until(() => holding.waiting.length === due, `${due} requests to run; ${serving.container.inspect()}`)
      holding.waiting[0]!.answer()
    }
    assert.equal((await Promise.all(answers)).length, 18)
    assert.equal(holding.most, 3)
  })

  it('serve three proxies one after the other if there is only one', async () => {
    const holding = new Holding()
    await using serving = await Serving.start(holding.application, ['--slots', '1'])
    const proxies = [await serving.proxy(), await serving.proxy(), await serving.proxy()]
    const answers = proxies.flatMap((proxy, at) => Array.from({ length: 4 }, () => proxy.queue(`/${at}`)))
    const order: string[] = []
    while (order.length < answers.length) {
      await until(() => holding.waiting.length === 1)
      order.push(holding.waiting[0]!.environ.PATH_INFO)
      holding.waiting[0]!.answer()
    }
    await Promise.all(answers)
    for (const proxy of ['/0', '/1', '/2']) assert.ok(order.slice(0, 6).includes(proxy), order.join(' '))
  })

  it('refuse a proxy above its grant, so that the proxy knows that nothing ran', async () => {
    const holding = new Holding()
    await using serving = await Serving.start(holding.application, ['--slots', '1'])
    const proxy = await serving.proxy()
    const first = proxy.call('/first')
    await until(() => holding.waiting.length === 1)
    await assert.rejects(
      () => proxy.call('/second'),
      (error) => error instanceof CallError && error.code === 'REFUSED' && error.ran === 'no',
    )
    holding.waiting[0]!.answer()
    assert.equal(await first, '/first')
    assert.equal(holding.all.length, 1)
  })

  it('cause a 503 with Retry-After for an HTTP client if all are taken, and its connection stays open', async () => {
    const holding = new Holding()
    await using serving = await Serving.start(holding.application, ['--slots', '1', '--queue-size', '0'])
    const proxy = await serving.proxy()
    const held = proxy.call('/held')
    await until(() => holding.waiting.length === 1)
    const client = await serving.http()
    const refused = await client.fetch({ target: '/' })
    assert.equal(refused.status, 503)
    assert.equal(fields(refused, 'Retry-After').length, 1)
    holding.waiting[0]!.answer()
    await held
    const sent = client.request({ target: '/now' })
    await until(() => holding.waiting.length === 1)
    holding.waiting[0]!.answer()
    assert.equal((await sent.whole()).body.toString(), '/now')
  })

  it('are released once by a request that is upgraded', async () => {
    const holding = new Holding()
    const application: Application = (environ, start) => {
      if (environ['HTTP_UPGRADE'] === undefined) return holding.application(environ, start)
      start('101 Switching Protocols', [['Upgrade', 'echo']])
      const raw = environ.gantry.upgrade()
      raw.pipe(raw)
      return []
    }
    await using serving = await Serving.start(application, ['--slots', '1', '--queue-size', '0'])
    const raw = await serving.socket()
    raw.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    assert.match((await once(raw, 'data')).toString(), /^HTTP\/1\.1 101 /)
    const client = await serving.http()
    const first = client.request({ target: '/first' })
    await until(() => holding.waiting.length === 1)
    raw.destroy()
    await until(() => serving.container.inspect().includes(' 1 connections'))
    assert.equal((await (await serving.http()).fetch({ target: '/second' })).status, 503)
    holding.waiting[0]!.answer()
    assert.equal((await first.whole()).body.toString(), '/first')
  })

  it('of a lost link are free once its applications have settled', async () => {
    const settle = Promise.withResolvers<void>()
    let runs = 0
    await using serving = await Serving.start(
      async (_, start) => {
        runs++
        // The application ignores its signal.
        await settle.promise
        start('200 OK', text)
        return []
      },
      ['--slots', '1'],
    )
    const lost = await serving.proxy()
    const call = lost.call()
    await until(() => runs === 1)
    lost.destroy()
    await assert.rejects(call)
    const next = await serving.proxy()
    assert.equal(next.caller.grant, 0)
    const queued = next.queue()
    settle.resolve()
    await queued
    assert.equal(runs, 2)
  })
})

describe('a container that drains', () => {
  it('finishes running requests of every protocol, accepts no new ones, and then closes', async () => {
    const unix = join(directory, 'drain')
    const holding = new Holding()
    await using serving = await Serving.start(holding.application, ['--listen', `unix:${unix}`])
    const client = await serving.http()
    const http = client.request({ target: '/http' })
    const uwsgi = await serving.socket()
    uwsgi.write(packet(nginxGet))
    const answered = whole(uwsgi)
    const proxy = await serving.proxy()
    const call = proxy.call('/frames')
    const idle = await serving.http()
    for (const { socket } of [client, idle]) socket.once('end', () => socket.destroy())
    await until(() => holding.waiting.length === 3)
    let done = false
    const drained = serving.container.drain().then(() => {
      done = true
    })
    await until(() => proxy.caller.state === 'draining')
    await until(() => idle.socket.readableEnded || idle.socket.destroyed)
    assert.equal(existsSync(unix), false)
    await assert.rejects(() => serving.socket(), { code: 'ENOENT' })
    await assert.rejects(() => proxy.call('/new'))
    assert.ok(holding.waiting.every(({ environ }) => environ.gantry.draining && !environ.gantry.signal.aborted))
    assert.equal(done, false)
    for (const held of [...holding.waiting]) held.answer('finished')
    const answer = await http.whole()
    assert.equal(answer.body.toString(), 'finished')
    assert.deepEqual(fields(answer, 'Connection'), ['close'])
    assert.match(await answered, /finished$/)
    assert.equal(await call, 'finished')
    await drained
    assert.equal(serving.log.messages('info').at(-1), 'drained')
    assert.equal(holding.all.length, 3)
  })

  it('is not ready during the drain delay, and serves every protocol; each response is the last of its connection', async () => {
    const clock = new FakeClock()
    const lane = join(directory, 'leaving')
    let draining = 0
    const serving = await Serving.start(
      (environ, start) => {
        if (environ.gantry.draining) draining++
        start('200 OK', text)
        return [bytes(String(environ.gantry.leaving))]
      },
      ['--listen', '127.0.0.1:0', '--health-listen', `unix:${lane}`, '--drain-delay', '5s'],
      { clock },
    )
    const health = async (): Promise<string> => {
      const probe = await HttpClient.connect({ path: lane })
      const { status, body } = await probe.fetch({ target: '/ready' })
      probe.destroy()
      return `${status} ${(JSON.parse(String(body)) as { draining: boolean }).draining}`
    }
    const [before, idle] = [await serving.http(), await serving.http()]
    assert.equal(String((await before.fetch({ target: '/' })).body), 'false')
    await idle.fetch({ target: '/' })
    assert.equal(await health(), '200 false')
    let notified = false
    const drained = serving.container.drain({ onDraining: () => (notified = true) })
    assert.equal(await health(), '503 true')
    const kept = await before.fetch({ method: 'POST', target: '/', body: 'on a kept connection' })
    const fresh = await (await serving.http()).fetch({ method: 'POST', target: '/', body: 'on a new one' })
    for (const answer of [kept, fresh]) {
      assert.deepEqual([answer.status, String(answer.body), fields(answer, 'Connection')], [200, 'true', ['close']])
    }
    const uwsgi = await serving.socket()
    uwsgi.write(packet(nginxGet))
    assert.match(await whole(uwsgi), / 200 OK[\s\S]*true$/)
    assert.deepEqual([notified, draining], [false, 0])
    clock.advance(5_000)
    await until(() => notified)
    await until(
      async () =>
        (await serving
          .socket()
          .then(() => 'accepted')
          .catch(() => 'refused')) === 'refused',
    )
    // One connection remains, which has been idle since.
    const late = await idle.fetch({ method: 'POST', target: '/', body: 'late' })
    assert.deepEqual([String(late.body), fields(late, 'Connection')], ['true', ['close']])
    assert.equal(draining, 1)
    for (const client of [before, idle]) client.destroy()
    await until(() => {
      clock.advance(100)
      return serving.log.messages('info').at(-1) === 'drained'
    })
    await drained
  })

  it('sends GOAWAY at once: requests already sent are served, and new ones are refused', async () => {
    const holding = new Holding()
    const clock = new FakeClock()
    const serving = await Serving.start(holding.application, ['--drain-delay', '5s'], { clock })
    const web = await serving.http()
    const held = web.request({ target: '/web' })
    const proxy = await serving.proxy()
    const call = proxy.call('/before')
    await until(() => holding.waiting.length === 2)
    const drained = serving.container.drain()
    await until(() => proxy.caller.state === 'draining')
    assert.match(serving.container.inspect(), /leaving/)
    await assert.rejects(() => proxy.call('/after'))
    for (const one of [...holding.waiting]) one.answer('served')
    assert.equal(await call, 'served')
    assert.deepEqual(fields(await held.whole(), 'Connection'), ['close'])
    clock.advance(5_000)
    web.destroy()
    await drained
    assert.equal(holding.all.length, 2)
  })

  it('skips the delay if only proxies have ever been connected', async () => {
    const unix = join(directory, 'links-alone')
    const clock = new FakeClock()
    const serving = await Serving.start(path, ['--listen', `unix:${unix}`, '--drain-delay', '5s'], { clock })
    const proxy = await serving.proxy()
    assert.equal(await proxy.call('/x'), '/x')
    // The clock need not advance.
    await serving.container.drain()
    assert.deepEqual(
      serving.log.messages('info').filter((line) => line.startsWith('leaving')),
      [],
    )
  })

  it('skips the delay at a second signal, before or during the delay', async () => {
    for (const when of ['before', 'during']) {
      const clock = new FakeClock()
      const serving = await Serving.start(path, ['--drain-delay', '5s', '--drain-timeout', '60s'], { clock })
      const client = await serving.http()
      await client.fetch({ target: '/' })
      client.socket.once('end', () => client.socket.destroy())
      const skipNotice = new AbortController()
      if (when === 'before') skipNotice.abort()
      const drained = serving.container.drain({ skipNotice: skipNotice.signal })
      if (when === 'during') {
        assert.match(serving.container.inspect(), /leaving/)
        skipNotice.abort()
      }
      await drained
    }
  })

  it('answers clients that connected before, although their connections were not accepted yet', async () => {
    const unix = join(directory, 'knock')
    const serving = await Serving.start(path, ['--listen', `unix:${unix}`])
    // The system has accepted the connection when this returns.
    const socket = connect({ path: unix })
    socket.write('GET /knocked HTTP/1.1\r\nHost: a\r\n\r\n')
    const answer = whole(socket)
    await serving.container.drain()
    assert.match(await answer, /^HTTP\/1\.1 200 [\s\S]*\/knocked$/)
  })

  it('sends GOAWAY before its listener closes: a refused connection would mark its link as dead', async () => {
    const unix = join(directory, 'goodbye')
    const serving = await Serving.start(path, ['--listen', `unix:${unix}`])
    const drained = serving.container.drain()
    // Connects in the same tick in which GOAWAY was written.
    const socket = connect({ path: unix })
    await once(socket, 'connect')
    socket.on('error', () => {})
    socket.resume()
    await drained
  })

  it('aborts running requests at the drain timeout, and aborts the application’s signal', async () => {
    const clock = new FakeClock()
    const holding = new Holding()
    const serving = await Serving.start(holding.application, ['--drain-timeout', '10s'], { clock })
    const client = await serving.http()
    const sent = client.request({ target: '/http' })
    const proxy = await serving.proxy()
    const call = proxy.call('/frames')
    await until(() => holding.waiting.length === 2)
    const timers = clock.pending
    const drained = serving.container.drain()
    await until(() => proxy.caller.state === 'draining' && clock.pending > timers)
    clock.advance(9_999)
    assert.equal(holding.waiting.length, 2)
    clock.advance(1)
    await assert.rejects(call)
    assert.equal((await sent.whole()).complete, false)
    // Nothing waits for it, so the clock need not advance.
    await drained
    const reasons = holding.all.map(({ environ }) => (environ.gantry.signal.reason as { code?: string }).code)
    assert.deepEqual(reasons, ['DRAIN_TIMEOUT', 'DRAIN_TIMEOUT'])
    assert.equal(serving.log.messages('warn').filter((line) => /drain timeout has passed/.test(line)).length, 1)
    client.socket.destroy()
  })

  it('does not wait forever for an application that ignores its abort', async () => {
    const clock = new FakeClock()
    let runs = 0
    const serving = await Serving.start(
      () => {
        runs++
        return new Promise(() => {})
      },
      ['--drain-timeout', '1s'],
      { clock },
    )
    const client = await serving.http()
    client.request({ target: '/' })
    await until(() => runs === 1)
    let done = false
    const drained = serving.container.drain().then(() => {
      done = true
    })
    await until(() => {
      clock.advance(100)
      return serving.log.messages('warn').length > 0
    }, 'the drain timeout')
    await until(() => client.socket.readableEnded || client.socket.destroyed)
    assert.equal(done, false)
    clock.advance(10_000)
    await drained
    client.socket.destroy()
  })

  it('logs how many upgraded streams of its port and its links the timeout aborts', async () => {
    await withDirectory(async (own) => {
      const application: Application = (environ, start) => {
        start('101 Switching Protocols', [['Upgrade', 'echo']])
        const raw = environ.gantry.upgrade()
        raw.pipe(raw)
        return []
      }
      const path = `unix:${join(own, 'app.sock')}`
      const serving = await Serving.start(application, ['--listen', path, '--drain-timeout', '50ms'])
      const { values } = parseOptions(proxyOptions, [
        '--listen',
        '127.0.0.1:0',
        '--upstream',
        path,
        '--drain-timeout',
        '50ms',
      ])
      const log = new RecordingLog()
      const proxy = await serveProxy(values, { log })
      const { port } = proxy.addresses[0] as TcpAddress
      const sockets = [await serving.socket(), connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
      for (const socket of sockets) {
        socket.on('error', () => {})
        socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
        assert.match((await once(socket, 'data')).toString(), /^HTTP\/1\.1 101 /)
      }
      const line = ({ lines }: RecordingLog) =>
        lines.find(({ message }) => /drain timeout has passed/.test(message))?.fields
      await serving.container.drain()
      assert.deepEqual(line(serving.log), { requests: 0, upgraded: 3, connections: 1, links: 1 })
      await proxy.drain()
      for (const socket of sockets) socket.destroy()
    })
  })

  it('closes connections without bytes within a moment, and then is closed', async () => {
    const clock = new FakeClock()
    const serving = await Serving.start(path, [], { clock })
    const silent = await serving.socket()
    const client = await serving.http()
    await client.fetch({ target: '/' })
    client.socket.once('end', () => client.socket.destroy())
    let closed: string | undefined
    void whole(silent).then((said) => {
      closed = said
    })
    const drained = serving.container.drain()
    // The delay begins when the listeners are closed.
    while (closed === undefined) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(1)
    }
    await drained
    assert.equal(closed, '')
  })

  it('drains once, however often drain() is called', async () => {
    const serving = await Serving.start(path)
    assert.equal(serving.container.drain(), serving.container.drain())
    await serving.container.drain()
    assert.equal(serving.log.messages('info').filter((line) => line === 'drained').length, 1)
  })
})

describe('a container that joins', () => {
  it('serves the proxy it dialled, rejoins it after a loss, and disconnects when it drains', async () => {
    const unix = join(directory, 'join')
    const proxies: TestProxy[] = []
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      proxies.push(new TestProxy(socket, { dialled: false }))
    }).listen(unix)
    await once(server, 'listening')
    const serving = await Serving.start(path, ['--join', `unix:${unix}`])
    assert.deepEqual(serving.container.addresses, [])
    await until(() => proxies.length === 1)
    await proxies[0]!.ready
    assert.equal(await proxies[0]!.call('/joined'), '/joined')
    proxies[0]!.destroy()
    await until(() => proxies.length === 2)
    await proxies[1]!.ready
    assert.equal(await proxies[1]!.call('/again'), '/again')
    await serving.container.drain()
    await until(() => proxies[1]!.closed !== null)
    assert.equal(proxies.length, 2)
    server.close()
  })
})
