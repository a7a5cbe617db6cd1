/** What a client sees of a response. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe } from 'node:test'
import { fields } from '../../support/client.ts'
import { isPattern, length, type Suite } from './suite.ts'

export function responses({ holds, open, fetch, get, text, release, journalIs, fresh }: Suite): void {
  describe('a response', () => {
    holds('of one array arrives whole, with a length', [], async () => {
      const answer = await get('/hello')
      assert.equal(answer.complete, true)
      assert.equal(answer.status, 200)
      assert.equal(answer.reason, 'OK')
      assert.equal(answer.body.toString(), 'Hello world!\n')
      assert.deepEqual(length(answer), ['13'])
      assert.deepEqual(fields(answer, 'content-type'), ['text/plain; charset=utf-8'])
    })
    holds('of a generator arrives in order, without its empty chunks', [], async () => {
      assert.equal(await text('/generator'), 'one;two;')
    })
    holds('of an async generator arrives in order', [], async () => {
      isPattern((await get('/chunks?n=50&size=7')).body, 350)
    })
    holds("of a class's instance arrives, and is closed once", [], async () => {
      const key = fresh()
      assert.equal(await text(`/class?key=${key}`), '1;2;3;')
      await journalIs(key, ['close'])
    })
    holds('of a promise arrives', [], async () => {
      assert.equal(await text('/promise'), 'late')
    })
    holds('has what was written before what is iterated', [], async () => {
      assert.equal(await text('/write'), 'written;twice;returned;')
    })
    holds('with a declared length arrives with it', [], async () => {
      const answer = await get('/length')
      assert.equal(answer.body.toString(), 'hello')
      assert.deepEqual(length(answer), ['5'])
    })
    holds('without chunks is empty and whole', [], async () => {
      const answer = await get('/empty')
      assert.equal(answer.complete, true)
      assert.equal(answer.body.length, 0)
      assert.deepEqual(length(answer), ['0'])
    })
    holds('of empty chunks is empty and whole', [], async () => {
      const answer = await get('/empty-chunks')
      assert.equal(answer.complete, true)
      assert.equal(answer.body.length, 0)
    })
    for (const status of ['204 No Content', '304 Not Modified']) {
      holds(`with ${status} has no body and no made-up length, whatever is yielded`, [], async () => {
        const answer = await get(`/no-content-body?status=${encodeURIComponent(status)}`)
        assert.equal(answer.complete, true)
        assert.equal(answer.status, Number(status.slice(0, 3)))
        assert.equal(answer.body.length, 0)
        assert.deepEqual(length(answer), [])
        assert.deepEqual(fields(answer, 'x-why'), ['nothing'])
      })
    }
    holds('with 205 has no body, whatever is yielded', [], async () => {
      const answer = await get('/no-content-body?status=205+Reset+Content')
      assert.equal(answer.complete, true)
      assert.equal(answer.status, 205)
      assert.equal(answer.body.length, 0)
    })
    holds('to HEAD has the head of the GET and no body', [], async () => {
      for (const target of ['/hello', '/length', '/generator', '/big?bytes=3000000&length', '/write']) {
        const got = await get(target)
        const answer = await fetch({ method: 'HEAD', target })
        assert.equal(answer.complete, true, `${target}: ${answer.error}`)
        assert.equal(answer.status, 200)
        assert.equal(answer.body.length, 0)
        assert.deepEqual(fields(answer, 'content-type'), fields(got, 'content-type'))
        // A response to HEAD may omit the length, but must not have a wrong one (RFC 9110 §8.6).
        for (const value of length(answer)) assert.deepEqual([value], length(got), target)
      }
    })
    holds('to HEAD closes the body once', [], async () => {
      const key = fresh()
      await fetch({ method: 'HEAD', target: `/class?key=${key}` })
      await journalIs(key, ['close'])
    })
    for (const target of ['/big?bytes=5000001', '/big?bytes=5000001&length', '/big-write?bytes=5000001']) {
      holds(`of 5 MB from ${target} arrives byte for byte`, [], async () => {
        const answer = await get(target)
        assert.equal(answer.complete, true)
        isPattern(answer.body, 5_000_001)
      })
    }
    holds('of 5 MB in one array arrives byte for byte, with a length', [], async () => {
      const answer = await get('/big-array?bytes=5000001')
      isPattern(answer.body, 5_000_001)
      assert.deepEqual(length(answer), ['5000001'])
    })
    holds('of exactly 64 KiB, one less and one more arrives', [], async () => {
      for (const bytes of [65_535, 65_536, 65_537]) isPattern((await get(`/big?bytes=${bytes}`)).body, bytes)
    })
    holds('of a file arrives through wsgi.file_wrapper', [], async () => {
      const expected = readFileSync(new URL('../../apps/good.ts', import.meta.url))
      assert.ok((await get('/file')).body.equals(expected))
    })
    holds('keeps its status', [], async () => {
      for (const status of [201, 301, 404, 418, 451, 500, 503, 599]) {
        const answer = await get(`/respond?status=${status}+Some+Reason&header=Content-Type:text/plain&body=x`)
        assert.equal(answer.status, status)
        assert.equal(answer.body.toString(), 'x')
      }
    })
    holds('keeps its reason and the order and case of its headers', ['exact-head'], async () => {
      const headers = ['Content-Type:text/plain', 'X-B:1', 'x-a:2', 'X-B:3'].map((line) => `&header=${line}`).join('')
      const answer = await get(`/respond?status=299+An+Odd+One${headers}`)
      assert.equal(answer.reason, 'An Odd One')
      assert.deepEqual(
        answer.headers.filter(([name]) => /^(x-|content-type)/i.test(name)),
        [
          ['Content-Type', 'text/plain'],
          ['X-B', '1'],
          ['x-a', '2'],
          ['X-B', '3'],
        ],
      )
    })
    holds('keeps Set-Cookie apart', [], async () => {
      const answer = await get(
        '/respond?header=Content-Type:text/plain&header=Set-Cookie:a%3D1&header=Set-Cookie:b%3D2',
      )
      assert.deepEqual(fields(answer, 'set-cookie'), ['a=1', 'b=2'])
    })
    holds('keeps latin1 and empty header values', [], async () => {
      const answer = await get(
        '/respond?header=Content-Type:text/plain&header=X-Latin:caf%C3%A9%20%C3%BF&header=X-Empty:',
      )
      assert.deepEqual(fields(answer, 'x-latin'), ['caf\xe9 \xff'])
      assert.deepEqual(fields(answer, 'x-empty'), [''])
    })
    holds('has 30 KB of headers', ['large-head'], async () => {
      const answer = await get(
        `/respond?header=Content-Type:text/plain${'&header=X-Long:'.concat('v'.repeat(1000)).repeat(6)}`,
      )
      assert.deepEqual(fields(answer, 'x-long'), Array(6).fill('v'.repeat(1000)))
    })
    holds('has a Date and a Server, once each', ['date'], async () => {
      const answer = await get('/hello')
      assert.equal(fields(answer, 'date').length, 1)
      assert.match(fields(answer, 'date')[0]!, /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/)
      assert.equal(fields(answer, 'server').length, 1)
    })
    holds("keeps the application's own Date and Server", ['date', 'framing'], async () => {
      const date = 'Tue, 15 Nov 1994 08:12:31 GMT'
      const answer = await get(
        `/respond?header=Content-Type:a/b&header=Server:mine&header=Date:${encodeURIComponent(date)}`,
      )
      assert.deepEqual(fields(answer, 'date'), [date])
      assert.deepEqual(fields(answer, 'server'), ['mine'])
    })
    holds('has nothing that the application did not say, but Date, Server and framing', ['framing'], async () => {
      const names = (await get('/hello')).headers.map(([name]) => name.toLowerCase()).sort()
      assert.deepEqual(
        names.filter((name) => name !== 'connection' && name !== 'keep-alive'),
        ['content-length', 'content-type', 'date', 'server'],
      )
    })
    holds('may be replaced with excInfo before its head was sent', [], async () => {
      const answer = await get('/exc-info')
      assert.equal(answer.status, 503)
      assert.deepEqual(fields(answer, 'x-first'), [])
      assert.deepEqual(fields(answer, 'x-second'), ['yes'])
      assert.equal(answer.body.toString(), 'replaced')
    })
    holds('is not disturbed by lines to wsgi.errors', [], async () => {
      assert.equal(await text('/errors'), 'logged')
    })
    holds('has trailers, computed when its body has ended', ['response-trailers'], async () => {
      const answer = await get('/trailers?n=5', [['TE', 'trailers']])
      assert.equal(answer.complete, true)
      assert.equal(answer.body.toString(), '01234')
      assert.deepEqual(answer.trailers, [
        ['X-Sum', '10'],
        ['X-Last', 'yes'],
      ])
    })
    holds('has trailers after an empty body too', ['response-trailers'], async () => {
      const answer = await get('/trailers?n=0', [['TE', 'trailers']])
      assert.equal(answer.body.length, 0)
      assert.deepEqual(answer.trailers[0], ['X-Sum', '0'])
    })
    holds('has early hints before its head, each when it is given', ['hints'], async () => {
      const key = fresh()
      const sent = await open({ target: `/hints?key=${key}` })
      const [first] = await sent.informed(1)
      assert.equal(first?.status, 103)
      assert.deepEqual(fields(first, 'link'), ['</style.css>; rel=preload'])
      await release(key)
      const answer = await sent.whole()
      assert.equal(answer.body.toString(), 'hinted')
      assert.deepEqual(
        answer.informational.map((head) => fields(head, 'link')[0]),
        ['</style.css>; rel=preload', '</script.js>; rel=preload'],
      )
      assert.deepEqual(fields(answer, 'link'), [])
    })
  })
}
