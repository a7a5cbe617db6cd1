/** The methods of an adopted server: the container listens and drains in its place. */

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { AdoptedServer } from '../../../container/application/adopted-server.ts'

describe('an adopted server', () => {
  it('resolves its disposal once the drain is over', async () => {
    const server = createServer()
    const adopted = new AdoptedServer(server)
    adopted.listenCalled({ port: 3000, host: undefined, path: undefined })
    adopted.listening([])
    let closing = 0
    adopted.closed = () => closing++
    let disposed = false
    const done = server[Symbol.asyncDispose]().then(() => (disposed = true))
    await turn()
    assert.equal(disposed, false)
    assert.equal(closing, 1)
    adopted.drained()
    await done
    assert.equal(server.listening, false)
  })

  it('has no idle connections to close, and continues', () => {
    const server = createServer()
    const adopted = new AdoptedServer(server)
    adopted.listenCalled({ port: 3000, host: undefined, path: undefined })
    adopted.listening([])
    server.closeIdleConnections()
    assert.equal(server.listening, true)
  })
})
