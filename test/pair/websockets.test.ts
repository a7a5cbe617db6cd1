/**
 * WebSockets through the pair of processes, to a server of the application's own: `ws`, and socket.io by each of its
 * transports.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { repositoryFile, TestChild } from '../support/child.ts'

describe('WebSockets through gantry up', () => {
  let child: TestChild
  let origin = ''

  before(async () => {
    const module = repositoryFile('test/apps/listening/sockets.ts')
    const argv = [repositoryFile('cli/gantry.ts'), 'up', module, '--listen', '127.0.0.1:0']
    child = new TestChild(argv)
    const served = /is served at (http:\/\/[\d.:]+)\//
    await child.until(() => served.test(child.stderr))
    origin = served.exec(child.stderr)![1]!
  })
  after(async () => {
    child.process.kill('SIGTERM')
    assert.equal((await child.exited).code, 0)
  })

  it('carry messages of ws, also large and binary ones, and its close code', async () => {
    const client = new WebSocket(`${origin.replace('http', 'ws')}/ws`)
    await once(client, 'open')
    for (const sent of ['hello', Buffer.alloc(1_000_000, 7)]) {
      client.send(sent)
      const [data] = (await once(client, 'message')) as [Buffer]
      assert.ok(data.equals(Buffer.from(sent)))
    }
    client.close(4000, 'done')
    const [code, reason] = (await once(client, 'close')) as [number, Buffer]
    assert.deepEqual([code, String(reason)], [4000, 'done'])
    // The access line counts what was sent to the client: `hello` and the million bytes in frames with heads of 2 and
    // 10 bytes, and the close frame.
    const isLine = (line: Record<string, unknown>): boolean => line['msg'] === 'request' && line['url'] === '/ws'
    await child.until(() => child.log.some(isLine))
    assert.deepEqual(
      child.log.filter(isLine).map((line) => [line['status'], line['bytes']]),
      [[101, 2 + 5 + 10 + 1_000_000 + 2 + 2 + 4]],
    )
  })

  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']] as const) {
    it(`carry socket.io by ${transports.join(', then ')}`, async () => {
      const client = io(origin, { transports: [...transports], forceNew: true, reconnection: false })
      try {
        const connected = Promise.withResolvers<void>()
        const upgraded = Promise.withResolvers<void>()
        client.on('connect', () => connected.resolve())
        // Registered before the connection is established, because either event may be first.
        client.io.engine.on('upgrade', () => upgraded.resolve())
        client.on('connect_error', (error) => connected.reject(error))
        await connected.promise
        if (transports.length > 1) await upgraded.promise
        assert.equal(client.io.engine.transport.name, transports.at(-1))
        assert.equal(await client.emitWithAck('shout', 'hello'), 'HELLO')
      } finally {
        client.close()
      }
    })
  }

  it('answer requests beside them', async () => {
    assert.equal(await (await fetch(origin)).text(), 'hello')
  })
})
