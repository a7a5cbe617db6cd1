/** Clients that disconnect: the application is notified, and its body is closed once. */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { pattern } from '../../apps/tools.ts'
import type { Suite } from './suite.ts'

export function clientsThatGo({ holds, open, text, release, eventsOf, journalIs, fresh }: Suite): void {
  describe('a client that goes', () => {
    for (const how of ['end', 'reset'] as const) {
      for (const first of ['', '&first']) {
        const when = first ? 'in the middle of the body' : 'before the head'
        holds(
          `${when}, by ${how}, is told to the application, whose body is closed once`,
          first ? ['streaming', 'departure'] : ['departure'],
          async () => {
            const key = fresh()
            const sent = await open({ target: `/wait?key=${key}${first}` })
            assert.deepEqual(await eventsOf(key, 1), ['running'])
            if (first) await sent.has(6)
            sent.abort(how)
            assert.equal((await sent.whole()).complete, false)
            await journalIs(key, ['running', 'abort CLIENT_GONE', 'finally', 'close'])
          },
        )
      }
    }
    holds('while the application waits for something else is told to it', ['departure'], async () => {
      const key = fresh()
      const sent = await open({ target: `/never?key=${key}` })
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      sent.abort()
      await journalIs(key, ['running', 'abort'])
    })
    holds("in its upload makes the application's read reject", ['streamed-upload'], async () => {
      const key = fresh()
      const sent = await open({
        method: 'POST',
        target: `/gated-read?key=${key}&n=2`,
        body: 'stream',
        headers: [['Content-Length', '1000000']],
      })
      await sent.send(pattern(0, 65_536))
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      await release(key, 2)
      assert.deepEqual(await eventsOf(key, 2), ['running', 'read 65536'])
      sent.abort()
      await sent.whole()
      // The second read gets fewer than 64 KiB and rejects, so there is no third event.
      assert.equal(await text('/hello'), 'Hello world!\n')
      await journalIs(key, ['running', 'read 65536'])
    })
    holds('from an endless response stops it, and closes it once', [], async () => {
      const key = fresh()
      const sent = await open({ target: `/endless?key=${key}` })
      await sent.has(200_000)
      sent.abort()
      await journalIs(key, ['return', 'close'])
    })
    holds('does not stop an application that is deaf; its body is closed when it comes', ['departure'], async () => {
      const key = fresh()
      const sent = await open({ target: `/deaf?key=${key}` })
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      sent.abort()
      assert.deepEqual(await eventsOf(key, 2), ['running', 'abort'])
      await release(key)
      // startResponse throws the AbortError.
      assert.equal(await text('/hello'), 'Hello world!\n')
    })
  })
}
