/**
 * Requests that arrive in an event-loop iteration with others: their responses are batched, and nothing else differs.
 */

import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import type { Application } from '../../../protocol/contract/application.ts'
import { serveHttp1 } from '../../../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../../../protocol/http1/options.ts'
import { bytes, octets } from '../../apps/tools.ts'
import { FakeClock } from '../../support/clock.ts'
import { afterTicks, busyIteration, iterationEnd } from '../../support/event-loop.ts'
import { RecordingLog } from '../../support/log.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'

interface Client {
  readonly stream: Duplex
  /** The server's end of the stream. */
  readonly there: Duplex
  readonly connection: Http1Connection
  /** The text that the client has received. */
  readonly got: () => string
}

/** A server that has just answered several connections in one iteration. */
async function busy(
  application: Application,
  options: Partial<Http1Options> = {},
): Promise<{ host: MemoryHost; connect(): Client }> {
  const clock = new FakeClock()
  const host = new MemoryHost(new RecordingLog(), clock)
  await busyIteration(clock)
  return {
    host,
    connect() {
      const [stream, there] = duplexPair()
      let got = ''
      stream.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')))
      stream.on('error', () => {})
      const connection = serveHttp1(there, application, { host, facts, admit: () => host.admit(), ...options })
      return { stream, there, connection, got: () => got }
    },
  }
}

/** An application that records the paths of its requests, and answers with the path. */
function paths(): { called: string[]; application: Application } {
  const called: string[] = []
  return {
    called,
    application: (environ, startResponse) => {
      called.push(environ.PATH_INFO)
      startResponse('200 OK', [...octets])
      return [bytes(environ.PATH_INFO)]
    },
  }
}

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: host\r\n${more}\r\n`
const upgrade = get('/up', 'Connection: Upgrade\r\nUpgrade: echo\r\n')

/** An application that upgrades the connection, once `may` has resolved, and echoes. */
function upgrading(may?: Promise<void>): Application {
  const take: Application = (environ, startResponse) => {
    startResponse('101 Switching Protocols', [
      ['Upgrade', 'echo'],
      ['Connection', 'Upgrade'],
    ])
    const socket = environ.gantry.upgrade()
    socket.on('error', () => {})
    socket.pipe(socket)
    return []
  }
  return may === undefined ? take : (environ, startResponse) => may.then(() => take(environ, startResponse))
}

describe('requests that arrive in one busy event-loop iteration', () => {
  it('are started when they are read, and their responses are sent together at the end of the iteration', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const clients = [connect(), connect(), connect()]
    for (const [at, { stream }] of clients.entries()) stream.write(get(`/${at}`))
    await afterTicks()
    assert.deepEqual(called, ['/0', '/1', '/2'])
    assert.deepEqual(
      clients.map(({ got }) => got()),
      ['', '', ''],
    )
    await iterationEnd()
    await iterationEnd()
    for (const [at, { got }] of clients.entries()) {
      assert.ok(got().startsWith('HTTP/1.1 200 OK\r\n'))
      assert.ok(got().endsWith(`\r\n\r\n/${at}`))
    }
  })

  it('are complete and in order when they arrive in pieces', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const { stream, got } = connect()
    const whole = get('/a') + get('/b')
    for (let at = 0; at < whole.length; at += 9) {
      stream.write(whole.slice(at, at + 9))
      await afterTicks()
    }
    await iterationEnd()
    await iterationEnd()
    assert.deepEqual(called, ['/a', '/b'])
    assert.match(got(), /\/aHTTP[\s\S]*\/b$/)
  })

  it('are served before the FIN that follows them', async () => {
    for (const halfClose of ['serve', 'abort'] as const) {
      const { called, application } = paths()
      const { connect } = await busy(application, { halfClose })
      const { stream, got } = connect()
      stream.end(get('/last'))
      await iterationEnd()
      await iterationEnd()
      assert.deepEqual(called, ['/last'], halfClose)
      if (halfClose === 'serve') assert.match(got(), /\/last$/)
    }
  })

  it('are answered when the server begins to drain in the same iteration', async () => {
    const { called, application } = paths()
    const { host, connect } = await busy(application)
    const { stream, connection, got } = connect()
    stream.write(get('/late'))
    await afterTicks()
    Object.assign(host, { draining: true })
    connection.drain()
    await iterationEnd()
    await iterationEnd()
    assert.deepEqual(called, ['/late'])
    await iterationEnd()
    assert.match(got(), /\/late$/)
    assert.equal(stream.readableEnded, true)
  })
})

describe('bytes that arrive after an upgrade request in one busy event-loop iteration', () => {
  it('reach the upgraded stream', async () => {
    const { connect } = await busy(upgrading())
    const { stream, got } = connect()
    stream.write(upgrade)
    await afterTicks()
    stream.write('early')
    for (let iterations = 0; iterations < 5; iterations++) await iterationEnd()
    assert.match(got(), /^HTTP\/1.1 101 [\s\S]*\r\n\r\nearly$/)
    stream.destroy()
  })

  it('reach the upgraded stream if the application upgrades later', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { connect } = await busy(upgrading(promise))
    const { stream, got } = connect()
    const other = connect()
    // Two other responses keep the iterations busy.
    for (const one of [other, connect()]) one.stream.write('GET / HTTP/1.0\r\nBad\r\n\r\n')
    stream.write(upgrade)
    await afterTicks()
    await iterationEnd()
    stream.write('early')
    await afterTicks()
    resolve()
    for (let iterations = 0; iterations < 5; iterations++) await iterationEnd()
    assert.match(got(), /^HTTP\/1.1 101 [\s\S]*\r\n\r\nearly$/)
    stream.destroy()
  })
})
