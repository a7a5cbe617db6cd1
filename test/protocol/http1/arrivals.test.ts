/** Requests that come in a turn in which others come too wait for its end; nothing else may be different for them. */

import assert from 'node:assert/strict'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import type { Application } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { serveHttp1 } from '../../../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../../../protocol/http1/options.ts'
import { bytes, octets } from '../../apps/tools.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'
import { busyTurn, sameTurn, turnEnd } from '../../support/turns.ts'

interface Client {
  readonly stream: Duplex
  /** The server's end of it. */
  readonly there: Duplex
  readonly connection: Http1Connection
  /** What it was sent so far. */
  readonly got: () => string
}

/** A server in whose last turn several were answered. */
async function busy(
  application: Application,
  options: Partial<Http1Options> = {},
): Promise<{ host: MemoryHost; connect(): Client }> {
  const clock = new FakeClock()
  const host = new MemoryHost(new RecordingLog(), clock)
  await busyTurn(clock)
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

/** Says the paths that it was called with, and answers with them. */
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

/** Takes the connection over, when it may, and echoes. */
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

describe('requests that come in one busy turn', () => {
  it('are begun together at its end', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const clients = [connect(), connect(), connect()]
    for (const [at, { stream }] of clients.entries()) stream.write(get(`/${at}`))
    await sameTurn()
    assert.deepEqual(called, [])
    await turnEnd()
    assert.deepEqual(called, ['/0', '/1', '/2'])
    await turnEnd()
    for (const [at, { got }] of clients.entries()) {
      assert.ok(got().startsWith('HTTP/1.1 200 OK\r\n'))
      assert.ok(got().endsWith(`\r\n\r\n/${at}`))
    }
  })

  it('are whole, and in order, when they come in pieces', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const { stream, got } = connect()
    const whole = get('/a') + get('/b')
    for (let at = 0; at < whole.length; at += 9) {
      stream.write(whole.slice(at, at + 9))
      await sameTurn()
    }
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, ['/a', '/b'])
    assert.match(got(), /\/aHTTP[\s\S]*\/b$/)
  })

  it('are not overtaken by their client’s FIN', async () => {
    for (const halfClose of ['serve', 'abort'] as const) {
      const { called, application } = paths()
      const { connect } = await busy(application, { halfClose })
      const { stream, got } = connect()
      stream.end(get('/last'))
      await turnEnd()
      await turnEnd()
      assert.deepEqual(called, ['/last'], halfClose)
      if (halfClose === 'serve') assert.match(got(), /\/last$/)
    }
  })

  it('are answered by a server that begins to drain meanwhile', async () => {
    const { called, application } = paths()
    const { host, connect } = await busy(application)
    const { stream, connection, got } = connect()
    stream.write(get('/late'))
    await sameTurn()
    Object.assign(host, { draining: true })
    connection.drain()
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, ['/late'])
    assert.match(got(), /\r\nConnection: close\r\n[\s\S]*\/late$/i)
  })

  it('do not wait when they are large', async () => {
    let length = 0
    const { connect } = await busy(async (environ, startResponse) => {
      for await (const chunk of environ['wsgi.input']) length += chunk.length
      startResponse('200 OK', [...octets])
      return []
    })
    const { stream } = connect()
    const body = Buffer.alloc(20_000)
    stream.write(
      Buffer.concat([Buffer.from(`POST / HTTP/1.1\r\nHost: host\r\nContent-Length: ${body.length}\r\n\r\n`), body]),
    )
    await sameTurn()
    assert.equal(length, body.length)
  })

  it('are all parsed before the first is begun, and refused in their place', async () => {
    const { called, application } = paths()
    const { host, connect } = await busy(application)
    const clients = [connect(), connect(), connect()]
    for (const [at, { stream }] of clients.entries())
      stream.write(at === 1 ? 'GET /bad HTTP/1.1\r\n\r\n' : get(`/${at}`))
    const order: string[] = []
    const { info } = host.log
    host.log.info = (line, message) => {
      order.push(`refused after ${called.length}`)
      info.call(host.log, line, message)
    }
    await sameTurn()
    await turnEnd()
    await turnEnd()
    assert.deepEqual(order, ['refused after 0'])
    assert.deepEqual(called, ['/0', '/2'])
    assert.match(clients[1]!.got(), /^HTTP\/1.1 400 /)
    assert.match(clients[2]!.got(), /\/2$/)
  })

  it('are not begun when one that was begun before has ended their connection', async () => {
    const { called, application } = paths()
    const victims: Http1Connection[] = []
    const { connect } = await busy((environ, startResponse) => {
      for (const victim of victims.splice(0)) victim.abort(new AbortError('DRAIN_TIMEOUT', 'the server had to stop'))
      return application(environ, startResponse)
    })
    const [first, second] = [connect(), connect()]
    victims.push(second.connection)
    first.stream.write(get('/first'))
    second.stream.write(get('/second'))
    await sameTurn()
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, ['/first'])
    assert.match(first.got(), /\/first$/)
    assert.equal(second.got(), '')
  })

  it('are answered when one that was begun before has asked the server to drain', async () => {
    const { called, application } = paths()
    const drained: Http1Connection[] = []
    const { connect } = await busy((environ, startResponse) => {
      for (const connection of drained.splice(0)) {
        assert.equal(connection.idle, false)
        assert.equal(connection.busy, true)
        connection.drain()
      }
      return application(environ, startResponse)
    })
    const clients = [connect(), connect()]
    drained.push(clients[1]!.connection)
    for (const [at, { stream }] of clients.entries()) stream.write(get(`/${at}`))
    await sameTurn()
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, ['/0', '/1'])
    assert.match(clients[1]!.got(), /\r\nConnection: close\r\n[\s\S]*\/1$/i)
  })

  it('are not begun when their client has gone meanwhile', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const { stream, there } = connect()
    stream.write(get('/gone'))
    await sameTurn()
    there.destroy(new Error('read ECONNRESET'))
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, [])
  })

  it('are not begun when their connection was given up meanwhile', async () => {
    const { called, application } = paths()
    const { connect } = await busy(application)
    const { stream, connection } = connect()
    stream.write(get('/gone'))
    await sameTurn()
    connection.abort(new AbortError('DRAIN_TIMEOUT', 'the server had to stop'))
    await turnEnd()
    await turnEnd()
    assert.deepEqual(called, [])
  })
})

describe('bytes that come after an upgrade’s request in one busy turn', () => {
  it('reach who takes over at once', async () => {
    const { connect } = await busy(upgrading())
    const { stream, got } = connect()
    stream.write(upgrade)
    await sameTurn()
    stream.write('early')
    for (let turns = 0; turns < 5; turns++) await turnEnd()
    assert.match(got(), /^HTTP\/1.1 101 [\s\S]*\r\n\r\nearly$/)
    stream.destroy()
  })

  it('reach who takes over while they wait', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { connect } = await busy(upgrading(promise))
    const { stream, got } = connect()
    const other = connect()
    // Two that leave keep the turns busy.
    for (const one of [other, connect()]) one.stream.write('GET / HTTP/1.0\r\nBad\r\n\r\n')
    stream.write(upgrade)
    await sameTurn()
    await turnEnd()
    stream.write('early')
    await sameTurn()
    resolve()
    for (let turns = 0; turns < 5; turns++) await turnEnd()
    assert.match(got(), /^HTTP\/1.1 101 [\s\S]*\r\n\r\nearly$/)
    stream.destroy()
  })
})
