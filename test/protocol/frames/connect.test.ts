import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { describe, test } from 'node:test'
import type { Application, Environ } from '../../../protocol/contract/application.ts'
import { connect } from '../../../protocol/frames/connect.ts'
import { fixedSlots, type ServerLink, type SlotSource, serveFrames } from '../../../protocol/frames/server.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { AddressError } from '../../../protocol/net/address.ts'
import { systemClock } from '../../../protocol/net/clock.ts'
import { FakeClock } from '../../support/clock.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'
import { startRelay } from '../../support/relay.ts'
import { listening, listeningOnPath } from '../../support/sockets.ts'
import { bytesOf, environ, TestInput, until } from './link-support.ts'
import { identity } from './support.ts'

const hello: Application = (given, startResponse) => {
  startResponse('200 OK', [])
  return [Buffer.from(`hello ${given.PATH_INFO}`)]
}

/** A container that counts its links. */
class Container {
  readonly links: ServerLink[] = []
  readonly server: Server

  constructor(application: Application, slots: SlotSource = fixedSlots(10)) {
    this.server = createServer((socket) => {
      this.links.push(
        serveFrames(socket, application, {
          clock: systemClock,
          log: silent,
          host: new MemoryHost(),
          process: facts,
          identity: identity('c1'),
          slots,
        }),
      )
    })
  }
}

async function get(application: Application, request: Environ = environ('/x')): Promise<string> {
  return bytesOf(await application(request, () => async () => {}))
}

describe('connect()', () => {
  test('calls an application over a Unix socket', async () => {
    const { address, stop } = await listeningOnPath(new Container(hello).server)
    const remote = connect(`unix:${address.path}`)
    assert.equal(await get(remote), 'hello /x')
    await remote.close()
    await stop()
  })

  test('calls an application over TCP, with one link for many calls', async () => {
    const container = new Container(hello)
    const { address, stop } = await listening(container.server)
    const remote = connect(`tcp:127.0.0.1:${address.port}`)
    const all = await Promise.all(Array.from({ length: 50 }, (_, at) => get(remote, environ(`/${at}`))))
    assert.deepEqual(
      all,
      Array.from({ length: 50 }, (_, at) => `hello /${at}`),
    )
    assert.equal(container.links.length, 1)
    await remote.close()
    await stop()
  })

  test('never has more requests in flight than slots, and serves all in order', async () => {
    let running = 0
    let most = 0
    const slow: Application = async (given, startResponse) => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      return hello(given, startResponse)
    }
    const { address, stop } = await listeningOnPath(new Container(slow, fixedSlots(2)).server)
    const remote = connect(`unix:${address.path}`)
    await Promise.all(Array.from({ length: 20 }, () => get(remote)))
    assert.equal(most, 2)
    await remote.close()
    await stop()
  })

  test('dials again after a link was lost, and retries only requests that may be retried', async () => {
    const runs: string[] = []
    const container = new Container((given, startResponse) => {
      runs.push(given.REQUEST_METHOD)
      if (runs.filter((method) => method === given.REQUEST_METHOD).length > 1) return hello(given, startResponse)
      container.links.at(-1)?.destroy()
      return new Promise(() => {})
    })
    const { address, stop } = await listeningOnPath(container.server)
    const remote = connect(`unix:${address.path}`)
    assert.equal(await get(remote, environ('/x', 'GET')), 'hello /x')
    await assert.rejects(get(remote, environ('/x', 'POST')), { status: 502, code: 'UPSTREAM_LOST' })
    assert.deepEqual(runs, ['GET', 'GET', 'POST'])
    assert.equal(await get(remote, environ('/x', 'POST')), 'hello /x')
    await remote.close()
    await stop()
  })

  test('dials another link while a link drains, and the requests of the old link finish', async () => {
    const gate = Promise.withResolvers<void>()
    let first = true
    const container = new Container(async (given, startResponse) => {
      if (first) {
        first = false
        await gate.promise
      }
      return hello(given, startResponse)
    })
    const { address, stop } = await listeningOnPath(container.server)
    const remote = connect(`unix:${address.path}`)
    const slow = get(remote, environ('/slow'))
    await until(() => !first)
    container.links[0]?.drain()
    assert.equal(await get(remote, environ('/next')), 'hello /next')
    assert.equal(container.links.length, 2)
    gate.resolve()
    assert.equal(await slow, 'hello /slow')
    await remote.close()
    await stop()
  })

  test('responds 503 with Retry-After when the container is not reached in time', async () => {
    const remote = connect('unix:/nowhere/at/all.sock', { timeout: 150 })
    await assert.rejects(get(remote), { status: 503, headers: [['Retry-After', '1']] })
    await remote.close()
  })

  test('responds 503 when no slot is free in time', async () => {
    const { address, stop } = await listeningOnPath(new Container(hello, fixedSlots(0)).server)
    const remote = connect(`unix:${address.path}`, { timeout: 50 })
    await assert.rejects(get(remote), { status: 503, code: 'UPSTREAM_UNAVAILABLE' })
    await remote.close()
    await stop()
  })

  test('responds 503 after close()', async () => {
    const remote = connect('unix:/nowhere/at/all.sock')
    await remote.close()
    await assert.rejects(get(remote), { status: 503 })
  })

  test('responds 431 when the head is longer than the container accepts', async () => {
    const { address, stop } = await listeningOnPath(new Container(hello).server)
    const remote = connect(`unix:${address.path}`)
    await assert.rejects(get(remote, environ(`/${'a'.repeat(200_000)}`)), { status: 431 })
    await remote.close()
    await stop()
  })

  test('passes on an error of the request itself', async () => {
    const { address, stop } = await listeningOnPath(new Container(hello).server)
    const remote = connect(`unix:${address.path}`)
    const request = environ('/x', 'POST')
    const input = new TestInput()
    request['wsgi.input'] = input
    const error = new Error('the client has gone')
    input.fail(error)
    await assert.rejects(get(remote, request), error)
    await remote.close()
    await stop()
  })

  test('dials another link when its link is silent, and retries a GET that was lost there', async () => {
    let held = 0
    const container = new Container((given, startResponse) => {
      if (given.PATH_INFO === '/held' && ++held === 1) return new Promise(() => {})
      return hello(given, startResponse)
    })
    const { address, stop } = await listening(container.server)
    const relay = await startRelay(address.port)
    const clock = new FakeClock()
    const remote = connect(`tcp:127.0.0.1:${relay.port}`, { clock })
    let answered: string | undefined
    void get(remote, environ('/held')).then((text) => (answered = text))
    await until(() => held === 1)
    relay.forget()
    while (answered === undefined) {
      clock.advance(20)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    assert.deepEqual([answered, held, container.links.length], ['hello /held', 2, 2])
    await remote.close()
    await relay.stop()
    await stop()
  })

  test('refuses addresses of other kinds', () => {
    assert.throws(() => connect('http://a/'), TypeError)
    assert.throws(() => connect('nonsense'), AddressError)
  })
})
