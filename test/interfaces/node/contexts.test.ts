/** The async context of a response's listeners and callbacks, compared with node: loggers find their request there. */

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { both, get } from '../../support/two-servers.ts'

/** More than the capacity of a socket's buffers. */
const MUCH = Buffer.alloc(8 * 1024 * 1024)

const listeners: Record<string, (res: ServerResponse, note: (event: string) => () => void) => void> = {
  'whole at once': (res, note) => void res.end('x', note('end callback')),
  'ended later': (res, note) => void setImmediate(() => res.end('x', note('end callback'))),
  'in pieces': (res, note) => {
    res.write('x', note('write callback'))
    setImmediate(() => res.end('y', note('end callback')))
  },
  'under backpressure': (res, note) => {
    res.write(MUCH, note('write callback'))
    res.once('drain', () => res.end('x', note('end callback')))
  },
}

describe('listeners of a response run in the async context of its request', () => {
  for (const [how, listener] of Object.entries(listeners)) {
    it(`if it is ${how}, as on node`, async () => {
      const [native, ours] = await both(createServer, async (port, server) => {
        const storage = new AsyncLocalStorage<string>()
        const seen: Record<string, string | undefined> = {}
        const closed = Promise.withResolvers<void>()
        server.on('request', (_req, res) => {
          const note = (event: string) => (): void => void (seen[event] = storage.getStore())
          storage.run('its own', () => {
            for (const event of ['finish', 'close', 'drain']) res.on(event, note(event))
            res.on('close', () => closed.resolve())
            listener(res, note)
          })
        })
        await get(port)
        await closed.promise
        return seen
      })
      assert.deepEqual(ours, native)
      assert.deepEqual(new Set(Object.values(ours as object)), new Set(['its own']))
    })
  }

  it('if its client has disconnected, as on node', async () => {
    const [native, ours] = await both(createServer, async (port, server) => {
      const storage = new AsyncLocalStorage<string>()
      const writes: Promise<string | undefined>[] = []
      const closed = Promise.withResolvers<void>()
      server.on('request', (_req, res) => {
        storage.run('its own', () => {
          const { promise, resolve } = Promise.withResolvers<string | undefined>()
          writes.push(promise)
          res.on('close', () => closed.resolve())
          res.write(MUCH, () => resolve(storage.getStore()))
        })
      })
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await once(socket, 'data')
      socket.resetAndDestroy()
      await closed.promise
      return Promise.all(writes)
    })
    assert.deepEqual(ours, native)
    assert.deepEqual(ours, ['its own'])
  })
})
