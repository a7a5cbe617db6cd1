/**
 * Node listeners: a response that was ended arrives, whatever the listener does next; late calls for a disconnected
 * client are harmless.
 */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { endings, lateAnswers } from '../../apps/node.ts'
import type { Suite } from './suite.ts'

/** How an upgrade is refused, and the body its client gets; undefined: visibly truncated or an error. */
const refusals: readonly (readonly [way: string, body: string | undefined, sentence: string])[] = [
  ['destroy', '', 'a head, and destroys the socket'],
  ['end', '', 'a head, and ends the socket'],
  ['end-destroy', '', 'a head, ends the socket and destroys it'],
  ['until-end', 'not you', 'a body without a length in several writes, and destroys the socket'],
  ['length', 'not you', 'a body with a length in several writes, and destroys the socket'],
  ['chunked', 'not you', 'a body in chunks, and destroys the socket'],
  ['later', '', 'a head later, and destroys the socket'],
  ['slowly', 'not you', 'a body in chunks, one after the other, and destroys the socket'],
  ['corked', 'not you', 'a corked head and body, and destroys the socket'],
  ['short-length', undefined, 'less than its Content-Length, and destroys the socket'],
  ['short-chunk', undefined, 'less than a chunk, and destroys the socket'],
  ['short-error', undefined, 'a body without a length, and destroys the socket with an error'],
  ['half-head', undefined, 'half of a head, and destroys the socket'],
  ['nothing', undefined, 'nothing, and destroys the socket'],
]

export function nodeListeners({ holds, open, get, text, fetch, eventsOf, journalIs, fresh, object }: Suite): void {
  describe('a Node listener', () => {
    for (const how of endings) {
      holds(`that ends its response and then itself (${how}) has answered`, [], async () => {
        const answer = await get(`/node-ended?way=${how}`)
        assert.equal(answer.complete, true, answer.error)
        assert.equal(answer.status, 413)
        assert.equal(answer.body.toString(), 'too big')
      })
      holds(`that does so (${how}) beside an upload has answered`, ['early'], async () => {
        const answer = await fetch({ method: 'POST', target: `/node-ended?way=${how}`, body: 'x'.repeat(1000) })
        assert.equal(answer.complete, true, answer.error)
        assert.equal(answer.body.toString(), 'too big')
      })
    }
    for (const how of lateAnswers) {
      holds(`that answers a client that has gone (${how}) goes on`, ['departure'], async () => {
        const key = fresh()
        const sent = await open({ target: `/node-late?way=${how}&key=${key}` })
        assert.deepEqual(await eventsOf(key, 1), ['running'])
        sent.abort()
        await sent.whole()
        await journalIs(key, ['running', 'answered true false'])
        assert.equal(await text('/hello'), 'Hello world!\n')
      })
    }
    holds('that does not read sees its body arrive', [], async () => {
      const seen = await object({ method: 'POST', target: '/node-unread', body: 'hello' })
      assert.deepEqual(seen, { length: 5, ended: false, coding: null, body: 'hello' })
    })
    holds('that does not read sees a body without a length arrive', ['chunked-upload'], async () => {
      const sent = await open({ method: 'POST', target: '/node-unread', body: 'stream' })
      await sent.send('hel')
      await sent.send('lo')
      sent.finish()
      const { body } = await sent.whole()
      assert.deepEqual(JSON.parse(body.toString()), { length: 5, ended: false, coding: 'chunked', body: 'hello' })
    })
    holds('sees that an empty body without a length was sent', ['chunked-upload'], async () => {
      const sent = await open({ method: 'POST', target: '/node-unread', body: 'stream' })
      sent.finish()
      const { body } = await sent.whole()
      assert.deepEqual(JSON.parse(body.toString()), { length: 0, ended: false, coding: 'chunked', body: '' })
    })
    holds('finds its request where it listens for the end of its response', [], async () => {
      const key = fresh()
      assert.equal(await text(`/node-context?key=${key}`), 'found')
      await journalIs(key, ['finish true', 'close true'])
    })
    for (const [how, body, sentence] of refusals) {
      const says = body === undefined ? 'gives no whole answer' : 'has refused'
      holds(`that answers an upgrade with ${sentence} ${says}`, ['upgrade'], async () => {
        const answer = await get(`/node-refuses?way=${how}`, [
          ['Connection', 'Upgrade'],
          ['Upgrade', 'echo'],
        ])
        if (body === undefined) {
          assert.ok(!answer.complete || answer.status >= 500, `it looks whole: ${answer.status} ${answer.body}`)
          return
        }
        assert.equal(answer.complete, true, answer.error)
        assert.equal(answer.status, 401)
        assert.equal(answer.body.toString(), body)
      })
    }
  })
}
