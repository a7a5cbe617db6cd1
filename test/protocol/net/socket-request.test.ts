import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application, Environ, Headers } from '../../../protocol/contract/application.ts'
import type { ClientView } from '../../../protocol/contract/client-view.ts'
import { Context } from '../../../protocol/contract/context.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { Http1Request, type Http1RequestConnection } from '../../../protocol/http1/request.ts'
import { systemClock } from '../../../protocol/net/clock.ts'
import { UwsgiRequest, type UwsgiRequestConnection } from '../../../protocol/uwsgi/request.ts'
import { bytes } from '../../apps/tools.ts'
import { RecordingLog } from '../../support/log.ts'
import { Serving, until } from '../http1/serving.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const slow = (): AbortError => new AbortError('SLOW_CLIENT', 'moved no byte')

/** A connection that records what is read of it or called on it, and has only what an exchange needs. */
function recording(): { connection: object; used: string[] } {
  const used: string[] = []
  const host: Record<string, unknown> = { clock: systemClock, log: new RecordingLog() }
  const connection = new Proxy(host, {
    get(target, name) {
      used.push(String(name))
      return target[String(name)]
    },
  })
  return { connection, used }
}

const kinds = {
  'HTTP/1.1': (connection: object, environ: Environ, application: Application) =>
    new Http1Request(connection as Http1RequestConnection, application, environ, true, undefined),
  uwsgi: (connection: object, environ: Environ, application: Application) =>
    new UwsgiRequest(connection as UwsgiRequestConnection, application, environ, true, undefined),
}

for (const [kind, make] of Object.entries(kinds)) {
  describe(`a request on ${kind} that has been detached from its connection`, () => {
    it('reaches the connection by none of its methods, and never asks its caller to wait', () => {
      const { connection, used } = recording()
      const environ = { REQUEST_METHOD: 'POST', gantry: new Context([]) } as unknown as Environ
      const request = make(connection, environ, () => [])
      request.detach()
      used.length = 0
      request.inform('103 Early Hints', [])
      assert.equal(request.head('200 OK', [], -1, bytes('x'), false), true)
      assert.equal(request.data(bytes('x'), true), true)
      request.end(undefined)
      request.flush()
      request.abort()
      assert.throws(() => request.upgrade(), { code: 'STREAM_OVER' })
      request.wanted()
      request.consumed()
      request.abortSlow(slow())
      assert.deepEqual(
        [request.waitsFor, request.delivered, request.accepted, request.arriving],
        ['nothing', 0, 0, false],
      )
      assert.deepEqual(used, [])
    })
  })
}

describe('the client of an earlier request on a connection', () => {
  it('cannot be used to end the request that the connection serves now', async () => {
    const [closing, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let client: ClientView | undefined
    await using serving = await Serving.start(async (environ, startResponse) => {
      if (environ.PATH_INFO === '/first') {
        client = (environ.gantry as Context).client
        startResponse('200 OK', [...text, ['Content-Length', '5']])
        // The response is complete, and the application is not done: its slot still watches the client.
        const body: Uint8Array[] & { close?: () => Promise<void> } = [bytes('first')]
        body.close = () => closing.promise
        return body
      }
      await second.promise
      startResponse('200 OK', text)
      return [bytes('second')]
    })
    const connection = await serving.client()
    assert.equal((await connection.fetch({ target: '/first' })).body.toString(), 'first')
    const response = connection.fetch({ target: '/second' })
    await until(() => serving.environs.length === 2)
    assert.equal(serving.settled, 0)
    client!.abortSlow(slow())
    assert.deepEqual([client!.delivered, client!.accepted, client!.arriving], [0, 0, false])
    second.resolve()
    assert.equal((await response).body.toString(), 'second')
    closing.resolve()
    await until(() => serving.settled === 2)
  })
})
