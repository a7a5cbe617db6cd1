import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { accessLog } from '../../middleware/access-log/access-log.ts'
import { requestId } from '../../middleware/request-id.ts'
import { TrustedPeers } from '../../protocol/client/peers.ts'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const trustedPeers = new TrustedPeers(['loopback'])

/** Answers with the id as the application sees it. */
const named: Application = (environ, start) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from(`${environ.gantry.requestId} ${String(environ['HTTP_X_REQUEST_ID'])}`)]
}

const sent = (id: string): { headers: Record<string, string> } => ({ headers: { 'X-Request-Id': id } })

describe('the id of a request', () => {
  it('is the same in the log, for the application and for the client', async () => {
    const log = new RecordingLog()
    const { text, header } = await call(accessLog({ log })(requestId()(named)))
    const id = header('x-request-id')
    assert.match(id!, /^[\w.-]+$/)
    assert.equal(text, `${id} ${id}`)
    assert.equal(log.lines[0]?.fields['requestId'], id)
  })

  it('is that of a trusted peer, if it sent one', async () => {
    const log = new RecordingLog()
    const { text, header } = await call(accessLog({ log })(requestId({ trustedPeers })(named)), sent('edge-1'))
    assert.equal(text, 'edge-1 edge-1')
    assert.equal(header('x-request-id'), 'edge-1')
    assert.equal(log.lines[0]?.fields['requestId'], 'edge-1')
  })

  it('is not that of an untrusted client, and contains only characters that are safe in a log', async () => {
    const stranger = { ...sent('mine'), remoteAddress: '192.0.2.1' }
    for (const request of [stranger, sent('a b'), sent('x'.repeat(129)), sent('a, b')]) {
      const { text, header } = await call(requestId({ trustedPeers })(named), request)
      assert.equal(text, `${header('x-request-id')} ${header('x-request-id')}`)
      assert.ok(!text.includes(request.headers['X-Request-Id']!))
    }
    assert.notEqual((await call(requestId()(named), sent('mine'))).header('x-request-id'), 'mine')
  })

  it('does not change after its first use', async () => {
    let used = ''
    const { text } = await call((environ: Environ, start) => {
      used = environ.gantry.requestId
      return requestId({ trustedPeers })(named)(environ, start)
    }, sent('edge-1'))
    assert.equal(text, `${used} ${used}`)
  })

  it("replaces the application's field, and does not change the application's list", async () => {
    const headers: [string, string][] = [
      ['Content-Type', 'text/plain'],
      ['x-request-ID', 'own'],
    ]
    const application: Application = (_, start) => {
      start('200 OK', headers)
      return []
    }
    const { header } = await call(requestId({ trustedPeers })(application), sent('edge-1'))
    assert.equal(header('x-request-id'), 'edge-1')
    assert.equal(headers.length, 2)
  })
})

for (const place of places) {
  it(`is set ${place.name}`, async () => {
    await using placed = await place.put(requestId(), named)
    const { text, header } = await call(placed.application)
    assert.equal(text, `${header('x-request-id')} ${header('x-request-id')}`)
  })
}
