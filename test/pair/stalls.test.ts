/** Clients that accept no bytes, from `--send-timeout` to the application, in every arrangement. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import type { Address } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { type RunningProxy, serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { keepAliveDue, skipKeepAlive } from '../support/keep-alive.ts'
import { RecordingLog } from '../support/log.ts'
import { temporary } from '../support/sockets.ts'

/** The record of the application about the request at /stall. */
interface Seen {
  requestId: string
  aborted: Promise<AbortError>
  /** The same of an upgraded stream. */
  closed: Promise<void>
}

class Arranged {
  readonly #seen = Promise.withResolvers<Seen>()
  readonly seen: Promise<Seen> = this.#seen.promise
  port = 0
  /** The log of the process that has the clients. */
  log: RecordingLog = new RecordingLog()
  readonly cleanups: (() => unknown)[] = []

  /** Sends endlessly at /stall, and responds elsewhere. */
  readonly application: Application = (environ, startResponse) => {
    if (environ.PATH_INFO !== '/stall') {
      startResponse('200 OK', [])
      return [Buffer.from('hello')]
    }
    const { gantry } = environ
    const closed = Promise.withResolvers<void>()
    const aborted = new Promise<AbortError>((resolve) => {
      gantry.signal.addEventListener('abort', () => resolve(gantry.signal.reason), { once: true })
    })
    const tell = (): void => this.#seen.resolve({ requestId: gantry.requestId, aborted, closed: closed.promise })
    if (environ['HTTP_UPGRADE'] === undefined) {
      startResponse('200 OK', [])
      return (async function* () {
        for (let sent = 0; ; sent++) {
          if (sent === 2) tell()
          yield Buffer.alloc(256 * 1024)
        }
      })()
    }
    startResponse('101 Switching Protocols', [['Upgrade', 'raw']])
    const stream = environ.gantry.upgrade()
    stream.on('error', () => {})
    stream.once('close', closed.resolve)
    const send = (): void => {
      while (stream.write(Buffer.alloc(64 * 1024)));
    }
    stream.on('drain', send)
    send()
    tell()
    return []
  }

  connect(): Socket {
    const socket = connect(this.port, '127.0.0.1')
    this.cleanups.push(() => socket.destroy())
    return socket
  }

  async get(): Promise<string> {
    return await (await fetch(`http://127.0.0.1:${this.port}/`, { headers: { Connection: 'close' } })).text()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cleanup of this.cleanups.reverse()) await cleanup()
  }
}

const CLIENT_OPTIONS = ['--send-timeout', '300ms', '--tcp-keep-alive', '40s', '--drain-timeout', '5s']
const portOf = (addresses: readonly Address[]): number =>
  addresses.flatMap((one) => ('port' in one ? [one.port] : []))[0]!

async function proxy(arranged: Arranged, argv: string[]): Promise<RunningProxy> {
  const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:0', ...CLIENT_OPTIONS, ...argv], {})
  const running = await serveProxy(values, { log: arranged.log })
  arranged.cleanups.push(() => running.drain())
  arranged.port = portOf(running.addresses)
  return running
}

async function path(arranged: Arranged): Promise<string> {
  const directory = await temporary()
  arranged.cleanups.push(() => rm(directory, { recursive: true, force: true }))
  return `unix:${join(directory, 'socket')}`
}

/** One slot: a request that keeps it blocks all others. */
async function container(arranged: Arranged, argv: string[]): Promise<Serving> {
  const serving = await Serving.start(arranged.application, ['--slots', '1', '--drain-timeout', '5s', ...argv])
  arranged.cleanups.push(() => serving[Symbol.asyncDispose]())
  return serving
}

const arrangements: Record<string, (arranged: Arranged) => Promise<void>> = {
  "a container's own port": async (arranged) => {
    const serving = await container(arranged, ['--listen', '127.0.0.1:0', ...CLIENT_OPTIONS])
    arranged.port = portOf(serving.container.addresses)
    arranged.log = serving.log
  },
  'a proxy and a container that it dials': async (arranged) => {
    const address = await path(arranged)
    await container(arranged, ['--listen', address])
    await proxy(arranged, ['--upstream', address])
  },
  'a proxy and a container that joins it': async (arranged) => {
    const address = await path(arranged)
    await proxy(arranged, ['--join-listen', address])
    await container(arranged, ['--join', address])
  },
  'a proxy and an HTTP server': async (arranged) => {
    const serving = await container(arranged, ['--listen', '127.0.0.1:0'])
    await proxy(arranged, ['--upstream', `http://127.0.0.1:${portOf(serving.container.addresses)}`])
  },
}

const upgrade = 'Connection: Upgrade\r\nUpgrade: raw\r\n'

for (const [name, arrange] of Object.entries(arrangements)) {
  describe(`over ${name}, a client that accepts no bytes`, () => {
    for (const upgraded of [false, true]) {
      it(`of ${upgraded ? 'an upgraded stream' : 'a response'} is reset, and its slot given back`, async () => {
        await using arranged = new Arranged()
        await arrange(arranged)
        const client = arranged.connect()
        client.pause()
        client.write(`GET /stall HTTP/1.1\r\nHost: a\r\n${upgraded ? upgrade : ''}\r\n`)
        const { requestId, aborted, closed } = await arranged.seen
        // Over HTTP nothing carries the reason why a connection ends.
        if (name !== 'a proxy and an HTTP server') assert.equal((await aborted).code, 'DEADLINE')
        else if (!upgraded) assert.equal((await aborted).code, 'CLIENT_GONE')
        if (upgraded) await closed
        const code = once(client, 'error').then(([one]) => (one as NodeJS.ErrnoException).code)
        client.resume()
        assert.equal(await code, 'ECONNRESET')
        const lines = arranged.log.lines.filter(({ message }) => message.startsWith('the client accepted no byte of'))
        assert.deepEqual(
          lines.map(({ level, fields }) => [level, fields['requestId']]),
          [['info', requestId]],
        )
        assert.equal(await arranged.get(), 'hello')
      })
    }

    it('is probed by TCP keep-alive', { skip: skipKeepAlive }, async () => {
      await using arranged = new Arranged()
      await arrange(arranged)
      const client = arranged.connect()
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await once(client, 'data')
      const due = keepAliveDue(arranged.port, client.localPort!)
      assert.ok(due !== undefined && due <= 40_100 && due > 20_000, `due in ${due} ms`)
    })
  })
}
