/** Upgrades to a raw connection. */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { fields } from '../../support/client.ts'
import type { Suite } from './suite.ts'

export function upgrades({ holds, open, get, seen, journalIs, fresh }: Suite): void {
  describe('an upgrade', () => {
    const headers: [string, string][] = [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'echo'],
    ]
    holds('gives the application the connection, both ways', ['upgrade'], async () => {
      const key = fresh()
      const sent = await open({ target: `/upgrade?key=${key}`, headers })
      const head = await sent.head()
      assert.equal(head.status, 101)
      assert.deepEqual(fields(head, 'upgrade'), ['echo'])
      assert.match(fields(head, 'connection').join(), /^upgrade$/i)
      // From here on the bytes have no framing. For an HTTP client with a body, `send` would write chunks; without a
      // body it sends the bytes unchanged.
      await sent.send('hello')
      assert.equal((await sent.has(5)).toString(), 'HELLO')
      await sent.send(Buffer.alloc(300_000, 'a'))
      assert.equal((await sent.has(300_005)).toString(), `HELLO${'A'.repeat(300_000)}`)
      sent.abort()
      await journalIs(key, ['closed'])
    })
    holds(
      'to WebSocket carries whatever the application sends, frames or not, also after a close frame',
      ['upgrade'],
      async () => {
        const key = fresh()
        const websocket: [string, string][] = [
          ['Connection', 'Upgrade'],
          ['Upgrade', 'websocket'],
        ]
        const sent = await open({ target: `/upgrade?key=${key}`, headers: websocket })
        assert.deepEqual(fields(await sent.head(), 'upgrade'), ['websocket'])
        const pieces = [
          // A frame, half of a frame, its rest with a close frame and with bytes that may not follow a close frame, and
          // bytes that are not frames.
          Buffer.from('\x81\x05HELLO', 'latin1'),
          Buffer.from('\x82\x7e\x00\x80AB', 'latin1'),
          Buffer.concat([Buffer.alloc(126, 'A'), Buffer.from('\x88\x02\x03\x81\x81\x01A', 'latin1')]),
          Buffer.alloc(100_000, 0x7f),
        ]
        let length = 0
        for (const piece of pieces) {
          await sent.send(piece)
          length += piece.length
          assert.ok((await sent.has(length)).equals(Buffer.concat(pieces).subarray(0, length)))
        }
        sent.abort()
        await journalIs(key, ['closed'])
      },
    )
    holds('may be declined, and is then a request like others', ['upgrade'], async () => {
      const answer = await get('/no-upgrade', headers)
      assert.equal(answer.status, 200)
      assert.equal(answer.body.toString(), 'declined')
    })
    holds('may be declined by a response with trailers, and no other request notices', ['upgrade'], async () => {
      const other = await open({ method: 'POST', target: '/echo', body: 'stream' })
      await other.send('before, ')
      for (let time = 0; time < 3; time++) {
        const answer = await get('/trailers?n=5', [...headers, ['TE', 'trailers']])
        assert.deepEqual([answer.status, answer.complete, answer.body.toString()], [200, true, '01234'])
      }
      await other.send('after')
      other.finish()
      assert.equal((await other.whole()).body.toString(), 'before, after')
    })
    holds('is shown to the application as Upgrade and Connection', ['upgrade'], async () => {
      const { variables } = await seen({ headers })
      assert.equal(variables['HTTP_UPGRADE'], 'echo')
      assert.equal(variables['HTTP_CONNECTION'], 'Upgrade')
    })
  })
}
