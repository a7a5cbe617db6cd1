/** What Node publishes about a request (`node:diagnostics_channel`), as Sentry and OpenTelemetry subscribe to it. */

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fromNode } from '../../../interfaces/node/from-node.ts'
import { run } from '../../support/exchange.ts'
import { both, get } from '../../support/two-servers.ts'
import { until } from '../../support/until.ts'

const UPGRADE = { upgrade: true, headers: ['Host', 'x', 'Connection', 'Upgrade', 'Upgrade', 'echo'] }

describe('what node publishes about a request', () => {
  it('includes its start, the creation of its response and its end, in node’s order and with node’s messages', async () => {
    const [native, ours] = await both(
      () => createServer(),
      async (port, server) => {
        const events: string[] = []
        const names = ['http.server.request.start', 'http.server.response.created', 'http.server.response.finish']
        const subscribers = names.map((name) => {
          const told = (message: unknown): void => {
            const {
              request: req,
              response: res,
              socket,
              server: of,
            } = message as Record<string, never> & {
              request: IncomingMessage
              response: ServerResponse
            }
            events.push(
              [
                name,
                Object.keys(message as object),
                req.url,
                res.socket === null,
                socket === undefined ? 'no socket' : socket === req.socket,
                of === undefined ? 'no server' : of === server,
                res.headersSent,
                res.writableFinished,
                res.statusCode,
              ].join(' '),
            )
          }
          subscribe(name, told)
          return told
        })
        server.on('request', (req, res) => {
          events.push('listener')
          res.on('finish', () => events.push('finish'))
          res.on('close', () => events.push('close'))
          res.writeHead(201).end(req.url)
        })
        assert.equal(await get(port, '/a'), '/a')
        await until(() => events.includes('close'))
        for (const [at, name] of names.entries()) unsubscribe(name, subscribers[at]!)
        return events
      },
    )
    assert.deepEqual(ours, native)
    assert.equal((ours as string[]).length, 6)
  })

  it('includes a server that a subscriber can instrument, even for a listener without one', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    // As Sentry does: it instruments `emit` of the server at the first request, before the listener is called.
    const instrumented: Set<Server> = new Set()
    const told = (message: unknown): void => {
      const { server } = message as { server: Server }
      if (instrumented.has(server)) return
      instrumented.add(server)
      const { emit } = server
      server.emit = function emitted(this: Server, event: string, ...given: unknown[]) {
        if (event !== 'request') return (emit as (...all: unknown[]) => boolean).call(this, event, ...given)
        const [req] = given as [IncomingMessage]
        return storage.run(req.url!, () => (emit as (...all: unknown[]) => boolean).call(this, event, ...given))
      } as typeof server.emit
    }
    subscribe('http.server.request.start', told)
    try {
      const application = fromNode(async (req, res) => {
        seen.push([req.url, storage.getStore()])
        await turn()
        seen.push([req.url, storage.getStore()])
        res.end()
      })
      const runs = ['/one', '/two'].map((target) => run(application, { target }))
      for (const { whenSettled } of runs) await whenSettled
    } finally {
      unsubscribe('http.server.request.start', told)
    }
    assert.equal(instrumented.size, 1)
    assert.deepEqual(seen, [
      ['/one', '/one'],
      ['/two', '/two'],
      ['/one', '/one'],
      ['/two', '/two'],
    ])
  })

  it('is published in an async context that a subscriber can enter, without running bound stores, as on node', async () => {
    const entered = new AsyncLocalStorage<string>()
    const bound = new AsyncLocalStorage<string>()
    const start = channel('http.server.request.start')
    const enter = (message: unknown): void => {
      const { url } = (message as { request: IncomingMessage }).request
      if (url !== '/none') entered.enterWith(url!)
    }
    const [native, ours] = await both(
      () =>
        createServer((_req, res) => res.end(JSON.stringify([entered.getStore() ?? null, bound.getStore() ?? null]))),
      async (port) => {
        subscribe('http.server.request.start', enter)
        start.bindStore(bound, () => 'bound')
        const seen = [await get(port, '/a'), await get(port, '/none')]
        start.unbindStore(bound)
        unsubscribe('http.server.request.start', enter)
        return seen
      },
    )
    assert.deepEqual(ours, native)
    assert.deepEqual(ours, ['["/a",null]', '[null,null]'])
  })

  it('does not include an upgrade that a listener handles, as on node', async () => {
    let told = 0
    const count = (): void => void told++
    subscribe('http.server.request.start', count)
    const { whenSettled } = run(
      fromNode((_req, res) => res.end(), { onUpgrade: (_req, socket) => socket.end('HTTP/1.1 400 No\r\n\r\n') }),
      UPGRADE,
    )
    await whenSettled
    unsubscribe('http.server.request.start', count)
    assert.equal(told, 0)
  })
})
