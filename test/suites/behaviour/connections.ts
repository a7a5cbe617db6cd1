/** How HTTP/1.1 connections are kept and closed, in arrangements whose client speaks to Gantry's own gateway. */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { fields, type RequestOptions } from '../../support/client.ts'
import { length, type Suite } from './suite.ts'

export function connections({ holds, fetch, get, release, eventsOf, fresh, connect }: Suite): void {
  describe('a connection', () => {
    holds('carries one request after the other', ['framing'], async () => {
      const client = await connect()
      for (const target of ['/hello', '/generator', '/chunks?n=3', '/empty', '/no-content', '/throw']) {
        const answer = await client.fetch({ target })
        assert.equal(answer.error, undefined)
        assert.equal(client.reusable, true, `after ${target}`)
      }
      assert.equal((await client.fetch({ method: 'HEAD', target: '/hello' })).body.length, 0)
      assert.equal(
        (await client.fetch({ method: 'POST', target: '/echo', body: 'x'.repeat(100_000) })).body.length,
        100_000,
      )
      assert.equal(client.reusable, true)
      client.destroy()
    })
    holds('carries pipelined requests in order, also when the first takes long', ['framing'], async () => {
      const client = await connect()
      const key = fresh()
      const slow = client.request({ target: `/gated-head?key=${key}` })
      const echo = client.request({ method: 'POST', target: '/echo', body: 'body' })
      const quick = client.request({ target: '/generator' })
      assert.deepEqual(await eventsOf(key, 1), ['running'])
      await release(key)
      assert.equal((await slow.whole()).body.toString(), 'released')
      assert.equal((await echo.whole()).body.toString(), 'body')
      assert.equal((await quick.whole()).body.toString(), 'one;two;')
      client.destroy()
    })
    holds('is closed after a response to Connection: close', ['framing'], async () => {
      const client = await connect()
      const answer = await client.fetch({ target: '/hello', headers: [['Connection', 'close']] })
      assert.equal(answer.complete, true)
      assert.deepEqual(fields(answer, 'connection'), ['close'])
      assert.equal(await client.whenEnded(), 'fin')
      client.destroy()
    })
    holds('carries a body of unknown length in chunks', ['framing'], async () => {
      const answer = await get('/generator')
      assert.equal(answer.framing, 'chunked')
      assert.deepEqual(length(answer), [])
    })
    holds('of HTTP/1.0 gets no chunks, and ends with the body', ['http10'], async () => {
      const client = await connect()
      const answer = await client.fetch({ target: '/generator', minor: 0 })
      assert.equal(answer.framing, 'close')
      assert.equal(answer.complete, true)
      assert.equal(answer.body.toString(), 'one;two;')
      client.destroy()
    })
    holds('of HTTP/1.0 may be kept when the length is known', ['http10'], async () => {
      const client = await connect()
      const options: RequestOptions = { target: '/hello', minor: 0, headers: [['Connection', 'keep-alive']] }
      assert.equal((await client.fetch(options)).body.toString(), 'Hello world!\n')
      assert.equal(client.reusable, true)
      assert.equal((await client.fetch(options)).body.toString(), 'Hello world!\n')
      client.destroy()
    })
    holds('of HTTP/1.0 is reset, not ended, when a body without length is cut', ['http10'], async () => {
      const client = await connect()
      const answer = await client.fetch({ target: '/throw-mid', minor: 0 })
      assert.ok(!answer.complete || answer.status >= 500, 'it looks whole')
      client.destroy()
    })
    holds('of HTTP/1.0 never gets a 100 or a 103', ['http10'], async () => {
      const client = await connect()
      const headers: [string, string][] = [['Expect', '100-continue']]
      const answer = await client.fetch({ method: 'POST', target: '/echo', minor: 0, headers, body: 'x' })
      assert.equal(answer.body.toString(), 'x')
      assert.deepEqual(answer.informational, [])
      client.destroy()
      assert.deepEqual((await fetch({ target: '/hints', minor: 0 })).informational, [])
    })
    holds('stays usable after a small body that nobody read', ['framing'], async () => {
      const client = await connect()
      assert.equal((await client.fetch({ method: 'POST', target: '/unread', body: 'x'.repeat(10_000) })).status, 403)
      assert.equal(client.reusable, true)
      assert.equal((await client.fetch({ target: '/hello' })).body.toString(), 'Hello world!\n')
      client.destroy()
    })
    holds('is ended by a cut response, and by nothing that looks like its end', ['framing'], async () => {
      const client = await connect()
      const key = fresh()
      const sent = client.request({ target: `/reject-late?key=${key}` })
      await sent.has(7)
      await release(key)
      assert.equal((await sent.whole()).complete, false)
      await client.whenEnded()
      assert.equal(client.raw.includes('\r\n0\r\n'), false)
      client.destroy()
    })
  })
}
