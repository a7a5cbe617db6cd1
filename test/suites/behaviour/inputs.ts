/** What an application reads of a request's body. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe } from 'node:test'
import { pattern } from '../../apps/tools.ts'
import { isPattern, type Suite } from './suite.ts'

export function inputs({ holds, open, fetch, text, object, release, eventsOf, journalIs, fresh }: Suite): void {
  describe('an input', () => {
    holds('of no body is at its end at once', [], async () => {
      assert.equal(await text('/echo'), '')
      assert.equal(await text('/echo', { method: 'POST', body: '' }), '')
    })
    holds('of a length arrives, and is at its end after it', [], async () => {
      assert.equal(await text('/echo', { method: 'POST', body: 'hello' }), 'hello')
    })
    holds('of chunks arrives as plain bytes', [], async () => {
      const sent = await open({ method: 'POST', target: '/echo', body: 'stream' })
      for (const chunk of ['hel', 'l', 'o']) await sent.send(chunk)
      sent.finish()
      assert.equal((await sent.whole()).body.toString(), 'hello')
    })
    holds('of all byte values arrives as they are', [], async () => {
      const body = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
      const answer = await fetch({ method: 'PUT', target: '/echo', body })
      assert.ok(answer.body.equals(body))
    })
    holds('is read by sizes, by lines and to its end', [], async () => {
      const ways = 'read:3,readline,read:0,read1:2,readline:2,readlines,read,readline'
      const body = 'abcdef\nghij\nk\n\nlast'
      assert.deepEqual(await object({ method: 'POST', target: `/reads?ways=${ways}`, body }), [
        'abc',
        'def\n',
        '',
        'gh',
        'ij',
        ['\n', 'k\n', '\n', 'last'],
        '',
        '',
      ])
    })
    for (const chunked of [false, true]) {
      holds(`of 8 MB ${chunked ? 'in chunks' : 'with a length'} arrives byte for byte`, [], async () => {
        const body = pattern(0, 8_000_001)
        const answer = await object({ method: 'POST', target: '/digest', body, chunked })
        assert.deepEqual(answer, { length: 8_000_001, sha256: createHash('sha256').update(body).digest('hex') })
      })
    }
    holds('of 8 MB may come back while it comes', ['duplex', 'bulk-duplex'], async () => {
      const sent = await open({ method: 'POST', target: '/echo-stream', body: 'stream' })
      for (let at = 0; at < 8_000_000; at += 100_000) void sent.send(pattern(at, 100_000))
      sent.finish()
      isPattern((await sent.whole()).body, 8_000_000)
    })
    holds('is given on chunk by chunk, before the next is sent', ['duplex'], async () => {
      const sent = await open({ method: 'POST', target: '/echo-stream', body: 'stream' })
      let expected = ''
      for (const chunk of ['one;', 'two;', 'three;']) {
        await sent.send(chunk)
        expected += chunk
        assert.equal((await sent.has(expected.length)).toString(), expected)
      }
      sent.finish()
      assert.equal((await sent.whole()).complete, true)
    })
    holds('that is read late and slowly arrives whole', [], async () => {
      const key = fresh()
      const body = pattern(0, 4_000_000)
      const sent = await open({ method: 'POST', target: `/gated-read?key=${key}&n=3`, body })
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      await release(key, 3)
      assert.equal((await sent.whole()).body.toString(), '4000000')
      await journalIs(key, ['running', 'read 65536', 'read 131072', 'read 196608'])
    })
    holds('has trailers', ['request-trailers'], async () => {
      const sent = await open({
        method: 'POST',
        target: '/request-trailers',
        body: 'stream',
        headers: [['Trailer', 'X-Sum']],
      })
      await sent.send('hello')
      sent.finish([['X-Sum', '5']])
      assert.deepEqual(JSON.parse((await sent.whole()).body.toString()), {
        body: 'hello',
        trailers: [['X-Sum', '5']],
      })
    })
    holds('has no trailers that say who the client is', ['request-trailers'], async () => {
      const sent = await open({ method: 'POST', target: '/request-trailers', body: 'stream' })
      await sent.send('hello')
      const names = ['X-Forwarded-For', 'x-forwarded-proto', 'X_Forwarded_Host', 'Forwarded', 'X-Real-IP']
      sent.finish([...names.map((name): [string, string] => [name, '6.6.6.6']), ['X-Sum', '5']])
      assert.deepEqual(JSON.parse((await sent.whole()).body.toString()), { body: 'hello', trailers: [['X-Sum', '5']] })
    })
    holds('without trailers says so', [], async () => {
      const answer = await object({ method: 'POST', target: '/request-trailers', body: 'hello' })
      assert.deepEqual(answer, { body: 'hello', trailers: [] })
    })
    holds('that is expected is asked for with 100 when it is first read', ['expect'], async () => {
      const key = fresh()
      const headers: [string, string][] = [
        ['Expect', '100-continue'],
        ['Content-Length', '5'],
      ]
      const sent = await open({ method: 'POST', target: `/gated-read?key=${key}`, headers, body: 'stream' })
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      await release(key)
      const [first] = await sent.informed(1)
      assert.equal(first?.status, 100)
      await sent.send('hello')
      const answer = await sent.whole()
      assert.equal(answer.body.toString(), '5')
      assert.equal(answer.informational.length, 1)
    })
    holds('that is expected and not read is not asked for', ['expect'], async () => {
      const headers: [string, string][] = [
        ['Expect', '100-continue'],
        ['Content-Length', '5'],
      ]
      const sent = await open({ method: 'POST', target: '/unread', headers, body: 'stream' })
      await sent.head()
      const answer = await sent.whole()
      assert.equal(answer.status, 403)
      assert.deepEqual(answer.informational, [])
    })
    for (const size of [10_000, 3_000_000]) {
      holds(`of ${size} bytes that nobody reads does not hide the answer`, ['early'], async () => {
        const answer = await fetch({ method: 'POST', target: '/unread', body: pattern(0, size) })
        assert.equal(answer.error, undefined)
        assert.equal(answer.status, 403)
        assert.equal(answer.body.toString(), 'not read')
      })
    }
  })
}
