/**
 * No request sees the AsyncLocalStorage store of another request, wherever the application is called: many concurrent
 * requests, over HTTP and over a link, with bodies that are sent and received in pieces.
 */

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import { fromNode } from '../../interfaces/node/from-node.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { ReplayableBody } from '../../protocol/frames/caller.ts'
import { fixedSlots, serveFrames } from '../../protocol/frames/server.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { bytes, octets, pattern, query } from '../apps/tools.ts'
import { FakeClock } from '../support/clock.ts'
import { HttpClient } from '../support/http-client.ts'
import { linked } from '../support/linked.ts'
import { RecordingLog } from '../support/log.ts'
import { facts, MemoryHost } from '../support/memory-client.ts'
import { listening } from '../support/sockets.ts'

/**
 * Enters the id of each request as its store wherever its code runs, and records every other id that it found there.
 */
class Stores {
  readonly strangers: string[] = []
  readonly #store: AsyncLocalStorage<string> = new AsyncLocalStorage()

  enter(id: string, where: string): void {
    const found = this.#store.getStore()
    if (found !== undefined && found !== id) this.strangers.push(`${id} found ${found} ${where}`)
    this.#store.enterWith(id)
  }
}

const CHUNK = pattern(0, 40_000)
/** Sizes of bodies: some arrive with their heads, some in many reads. */
const SIZES = [0, 10, 700, 20_000, 60_000]

const plain =
  (stores: Stores): Application =>
  (environ, startResponse) => {
    stores.enter(query(environ).get('id')!, 'when it was called')
    startResponse('200 OK', [...octets])
    return [bytes('done')]
  }

const generator = (stores: Stores): Application =>
  function* (environ, startResponse) {
    const id = query(environ).get('id')!
    stores.enter(id, 'when it was called')
    startResponse('200 OK', [...octets])
    for (let at = 0; at < 6; at++) {
      stores.enter(id, 'when it was asked for more')
      yield CHUNK
    }
  }

const readsAndWrites =
  (stores: Stores): Application =>
  async (environ, startResponse) => {
    const id = query(environ).get('id')!
    stores.enter(id, 'when it was called')
    environ.gantry.signal.addEventListener('abort', () => stores.enter(id, 'when it was aborted'))
    const write = startResponse('200 OK', [...octets])
    for await (const chunk of environ['wsgi.input']) {
      stores.enter(id, 'when it had read')
      await write(chunk)
      stores.enter(id, 'when it had written')
    }
    return []
  }

const listener = (stores: Stores): Application =>
  fromNode((request: IncomingMessage, response: ServerResponse) => {
    const id = new URL(request.url!, 'http://host').searchParams.get('id')!
    stores.enter(id, 'when it was called')
    let length = 0
    request.on('data', (chunk: Buffer) => {
      stores.enter(id, 'at data')
      length += chunk.length
    })
    request.on('end', () => {
      stores.enter(id, 'at the end of the body')
      response.write(CHUNK)
      response.end(String(length))
    })
    for (const event of ['close', 'finish', 'drain']) response.on(event, () => stores.enter(id, `at ${event}`))
  })

/** Applications that enter their stores at each of their steps, and whether they read the body. */
const applications = [
  { name: 'a plain application', make: plain, reads: false },
  { name: 'a generator', make: generator, reads: false },
  { name: 'an application that reads and writes', make: readsAndWrites, reads: true },
  { name: 'a Node listener', make: listener, reads: true },
]

/** An application over an in-memory link. */
async function overLink(
  application: Application,
): Promise<{ application: Application; host: MemoryHost; end(): void }> {
  const [here, there] = duplexPair()
  const host = new MemoryHost()
  const identity = { id: 'apart', worker: 0, workers: 1, slots: 1000, limits: {} }
  const admitting: Application = (environ, startResponse) => {
    host.admit()
    return application(environ, startResponse)
  }
  const { clock, log } = host
  serveFrames(there, admitting, { clock, log, host, process: facts, identity, slots: fixedSlots(1000), window: 16_384 })
  const caller = await linked(here)
  return {
    application: (environ, startResponse) =>
      caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])),
    host,
    end: () => caller.destroy(),
  }
}

const ways = { 'over HTTP': false, 'over HTTP and a link': true }

for (const { name, make, reads } of applications) {
  for (const [way, links] of Object.entries(ways)) {
    test(`${name} ${way} finds no other's store`, { timeout: 60_000 }, async () => {
      const stores = new Stores()
      const link = links ? await overLink(make(stores)) : undefined
      const host = new MemoryHost()
      const application = link?.application ?? make(stores)
      const server = await listening(
        createServer({ allowHalfOpen: true }, (socket) => {
          serveHttp1(socket, application, { host, facts, admit: () => host.admit() })
        }),
      )
      const connect = () => HttpClient.connect({ ...server.address, host: '127.0.0.1' })
      const clients = await Promise.all(Array.from({ length: 24 }, connect))
      try {
        for (let wave = 0; wave < 4; wave++) {
          const answers = clients.flatMap((client, at) =>
            // Two requests of each kind on one connection, the second before the response to the first.
            [0, 1].map((turn) => {
              const target = `/?id=${wave}-${at}-${turn}`
              if (!reads) return client.fetch({ target })
              return client.fetch({
                method: 'POST',
                target,
                body: pattern(0, SIZES[(at + wave + turn) % SIZES.length]!),
              })
            }),
          )
          for (const { status, complete } of await Promise.all(answers))
            assert.deepEqual([status, complete], [200, true])
        }
      } finally {
        for (const client of clients) client.destroy()
        await server.stop()
      }
      await host.idle()
      link?.end()
      await link?.host.idle()
      assert.deepEqual(stores.strangers.slice(0, 5), [])
    })
  }
}

test('applications that are given up at one deadline find no other’s store', async () => {
  const stores = new Stores()
  const clock = new FakeClock()
  const host = new MemoryHost(new RecordingLog(), clock)
  const application = readsAndWrites(stores)
  const server = await listening(
    createServer({ allowHalfOpen: true }, (socket) => {
      serveHttp1(socket, application, { host, facts, timeouts: { body: 1_000 } })
    }),
  )
  const clients = await Promise.all(
    Array.from({ length: 8 }, () => HttpClient.connect({ ...server.address, host: '127.0.0.1' })),
  )
  // Each client has sent half of its body, and received it back.
  const sent = clients.map((client, at) =>
    client.request({ method: 'POST', target: `/?id=${at}`, headers: [['Content-Length', '10']] }),
  )
  await Promise.all(clients.map((client) => client.write('half-')))
  await Promise.all(sent.map((one) => one.has(5)))
  clock.advance(2_000)
  await Promise.all(clients.map((client) => client.whenEnded()))
  for (const client of clients) client.destroy()
  await server.stop()
  assert.deepEqual(stores.strangers, [])
})
