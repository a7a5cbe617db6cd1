/** Responses in progress: each chunk is sent immediately, and no response delays another. */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { pattern } from '../../apps/tools.ts'
import { isPattern, type Suite } from './suite.ts'

export function streams({ holds, open, fetch, get, text, release, eventsOf, journalIs, fresh }: Suite): void {
  describe('a stream', () => {
    holds('is not delayed: each chunk is here before the next is made', ['streaming'], async () => {
      const key = fresh()
      const sent = await open({ target: `/gated?key=${key}&n=4` })
      let expected = ''
      for (let at = 0; at < 4; at++) {
        expected += `chunk${at};`
        assert.equal((await sent.has(expected.length)).toString(), expected)
        await release(key)
      }
      assert.equal((await sent.whole()).complete, true)
      await journalIs(key, ['finally'])
    })
    holds('that is written sends its head with an empty write, and each chunk at once', ['streaming'], async () => {
      const key = fresh()
      const sent = await open({ target: `/gated-write?key=${key}&n=3` })
      assert.equal((await sent.head()).status, 200)
      let expected = ''
      for (let at = 0; at < 3; at++) {
        await release(key)
        expected += `chunk${at};`
        assert.equal((await sent.has(expected.length)).toString(), expected)
      }
      assert.equal((await sent.whole()).complete, true)
    })
    holds('that waits does not hold others up', [], async () => {
      const keys = Array.from({ length: 20 }, fresh)
      const waiting = await Promise.all(keys.map((key) => open({ target: `/gated-head?key=${key}` })))
      for (const key of keys) assert.deepEqual(await eventsOf(key, 1), ['running'])
      assert.equal(await text('/hello'), 'Hello world!\n')
      // Released in another order than the requests: each client gets its own response.
      for (const [at, key] of keys.entries()) if (at % 2) await release(key)
      for (const [at, key] of keys.entries()) if (at % 2 === 0) await release(key)
      for (const sent of waiting) assert.equal((await sent.whole()).body.toString(), 'released')
    })
    holds('that is not read does not hold others up', [], async () => {
      const key = fresh()
      const stalled = await open({ target: `/endless?key=${key}` })
      await stalled.has(1)
      stalled.pause()
      isPattern((await get('/big?bytes=1000000')).body, 1_000_000)
      stalled.abort()
      await stalled.whole()
      await journalIs(key, ['return', 'close'])
    })
    holds('never mixes with another: forty at once, each its own bytes', [], async () => {
      const sizes = Array.from({ length: 40 }, (_, at) => 1 + at * 7001)
      const answers = await Promise.all(
        sizes.map((size) => fetch({ method: 'POST', target: '/echo-stream', body: pattern(size, size) })),
      )
      for (const [at, answer] of answers.entries()) {
        assert.ok(answer.body.equals(pattern(sizes[at]!, sizes[at]!)), `response ${at} is not the one of its request`)
      }
    })
  })
}
