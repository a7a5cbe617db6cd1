/**
 * Applications that break the contract: the client gets an error or a visibly truncated response, and never a truncated
 * response that looks complete.
 */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { fields } from '../../support/client.ts'
import type { Suite } from './suite.ts'

/**
 * The response of an application that breaks the contract: a 500, a visibly truncated response, or a complete response.
 */
type Verdict = 'error' | 'cut' | 'whole'

const bad: readonly (readonly [path: string, verdict: Verdict, sentence: string])[] = [
  ['throw', 'error', 'throws before it starts'],
  ['reject', 'error', 'rejects before it starts'],
  ['throw-undefined', 'error', 'throws undefined'],
  ['throw-frozen', 'error', 'throws a frozen error'],
  ['throw-bare', 'error', 'throws an object without a prototype'],
  ['throw-after-start', 'error', 'throws after startResponse, before the head was sent'],
  ['throw-first', 'error', 'throws after an empty chunk'],
  ['throw-mid', 'cut', 'throws in the middle of its body'],
  ['throw-mid-length', 'cut', 'throws in the middle of a body with a length'],
  ['throw-write', 'cut', 'throws after a write'],
  ['throw-trailers', 'cut', 'throws in its trailers'],
  ['no-start', 'error', 'gives a body and never starts'],
  ['no-start-empty', 'error', 'gives an empty body and never starts'],
  ['no-start-write', 'error', 'gives an empty generator and never starts'],
  ['too-long', 'whole', 'gives more than its Content-Length in an array'],
  ['too-long-stream', 'whole', 'gives more than its Content-Length chunk by chunk'],
  ['too-long-write', 'whole', 'writes more than its Content-Length'],
  ['too-short', 'cut', 'gives less than its Content-Length'],
  ['too-short-array', 'cut', 'gives less than its Content-Length in an array'],
  ['too-short-write', 'cut', 'writes less than its Content-Length'],
  ['too-short-empty', 'error', 'gives nothing of its Content-Length'],
  ['headers-object', 'error', 'gives its headers as an object'],
  ['header-number', 'error', "gives a header's value as a number"],
  ['header-name', 'error', 'gives a header whose name is no token'],
  ['header-snowman', 'error', 'gives a header beyond latin1'],
  ['header-inject', 'error', "splits the response in a header's value"],
  ['name-inject', 'error', "splits the response in a header's name"],
  ['status-inject', 'error', 'splits the response in its status'],
  ['status-number', 'error', 'gives its status as a number'],
  ['status-100', 'error', 'answers 100'],
  ['status-101', 'error', 'answers 101 to who did not ask'],
  ['length-twice', 'error', 'gives two lengths'],
  ['length-text', 'error', 'gives a length that is no number'],
  ['hop-by-hop', 'error', 'sends Connection'],
  ['transfer-encoding', 'error', 'sends Transfer-Encoding'],
  ['string-body', 'error', 'returns a string'],
  ['no-body', 'error', 'returns nothing'],
  ['string-chunk', 'error', 'gives a string as its first chunk'],
  ['string-chunk-mid', 'cut', 'gives a string as its second chunk'],
  ['string-write', 'error', 'writes a string'],
  ['start-twice', 'error', 'calls startResponse twice'],
  ['exc-info-late', 'cut', 'calls startResponse with excInfo when its head was sent'],
  ['exc-info-swallowed', 'cut', 'does that, and catches what it throws'],
  ['close-throws', 'whole', 'throws in close()'],
  ['close-rejects', 'whole', 'rejects in close()'],
  ['finally-throws', 'cut', 'throws in the finally of its generator'],
  ['unawaited', 'cut', 'writes more than 1 MiB that it does not wait for'],
  ['late-write', 'whole', 'writes when its response is over'],
  ['trailers-inject', 'cut', 'splits the response in its trailers'],
  ['hints-inject', 'error', 'splits the response in its early hints'],
]

export function badApplications({ holds, open, fetch, get, text, release, journalIs, fresh }: Suite): void {
  describe('an application that', () => {
    for (const [path, verdict, sentence] of bad) {
      const says = { error: 'gives a 500', cut: 'is visibly cut', whole: 'leaves a whole answer' }[verdict]
      holds(`${sentence} ${says}`, verdict === 'cut' ? ['cut'] : [], async () => {
        const key = fresh()
        const answer = await get(`/${path}?key=${key}`)
        const body = answer.body.toString('latin1')
        assert.doesNotMatch(body, /secret|never seen|error page into/)
        for (const [name, value] of answer.headers)
          assert.doesNotMatch(`${name}: ${value}`, /secret|X-Never|Set-Cookie|stolen/)
        if (verdict === 'error') {
          assert.equal(answer.complete, true, answer.error)
          assert.equal(answer.status, 500)
        } else if (verdict === 'cut') {
          // A proxy that has forwarded nothing when the response is aborted answers with an error, which is better than
          // a truncated response.
          const told = answer.complete && answer.status >= 500
          assert.ok(!answer.complete || told, `it looks whole: ${answer.status} ${JSON.stringify(body.slice(0, 100))}`)
        } else {
          assert.equal(answer.complete, true, answer.error)
          assert.equal(answer.status, 200)
          assert.equal(body, path.startsWith('too-long') ? 'hello' : 'whole')
        }
        if (path === 'throw-first' || path === 'throw-mid') await journalIs(key, ['close'])
        if (path === 'late-write') await journalIs(key, ['refused'])
        assert.equal(await text('/hello'), 'Hello world!\n')
      })
    }
    holds(
      'fails after a while is visibly cut, and what it gave until then had arrived',
      ['streaming', 'cut'],
      async () => {
        const key = fresh()
        const sent = await open({ target: `/reject-late?key=${key}` })
        assert.equal((await sent.has(7)).toString(), 'partial')
        await release(key)
        assert.equal((await sent.whole()).complete, false)
      },
    )
    holds('fails gets a page that fits what the client accepts', [], async () => {
      const html = await get('/throw', [['Accept', 'text/html']])
      assert.match(fields(html, 'content-type')[0] ?? '', /^text\/html/)
      const json = await get('/throw', [['Accept', 'application/json']])
      assert.match(fields(json, 'content-type')[0] ?? '', /^application\/json/)
      assert.equal(JSON.parse(json.body.toString()).status, 500)
    })
    holds('fails tells the id of its request in a field, and in the page', [], async () => {
      const answer = await get('/throw', [['Accept', 'application/json']])
      const { requestId } = JSON.parse(answer.body.toString())
      assert.deepEqual(fields(answer, 'x-request-id'), [requestId])
      assert.match(requestId, /^[\w.-]+$/)
    })
    holds('fails on HEAD gives a 500 without a body', [], async () => {
      const answer = await fetch({ method: 'HEAD', target: '/throw' })
      assert.equal(answer.status, 500)
      assert.equal(answer.complete, true)
      assert.equal(answer.body.length, 0)
    })
  })
}
