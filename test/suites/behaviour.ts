/**
 * The behaviour suite: what a client sees of the contract, and what an application sees of a request, in sentences that hold on
 * every way between the two. An arrangement gives the way; a test that it cannot carry is skipped with the reason.
 *
 * The fixture applications run under lint. They are told and asked things by requests alone (`test/apps/journal.ts`), so that
 * it does not matter in which process they are. Nothing here sleeps: a test waits for an event, or for bytes.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { pattern } from '../apps/tools.ts'
import { type Answer, fields, type RequestOptions, type Sent } from '../support/client.ts'
import type { Arrangement, Feature, Running } from './arrangement.ts'

/** What an application that breaks the contract gives: a 500, a visible cut, or all the same a whole answer. */
type Verdict = 'error' | 'cut' | 'whole'

const bad: readonly (readonly [path: string, verdict: Verdict, sentence: string])[] = [
  ['throw', 'error', 'throws before it starts'],
  ['reject', 'error', 'rejects before it starts'],
  ['throw-undefined', 'error', 'throws undefined'],
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

export function behaviour(arrangement: Arrangement): void {
  const { without = {}, unavailable } = arrangement
  const skip = unavailable !== undefined && !process.env['CI'] ? unavailable : false
  describe(`behaviour over ${arrangement.name}`, { skip }, () => {
    let running: Running
    /** Journals that were as expected, and must still be so at the end: what happens exactly once is not happening later again. */
    const journals: [key: string, events: string[]][] = []
    let made = 0
    const fresh = (): string => `k${process.pid}-${made++}`

    before(async () => {
      assert.equal(unavailable, undefined)
      running = await arrangement.start()
    })
    after(async () => {
      if (!running) return
      try {
        for (const [key, events] of journals) assert.deepEqual(await eventsOf(key, 0), events)
        assert.deepEqual(await object({ target: '/lint' }), [], 'lint on the application')
        assert.deepEqual(running.broken?.() ?? [], [])
      } finally {
        await running.close()
      }
    })

    /** A sentence, and what it needs. */
    function holds(sentence: string, needs: Feature[], run: () => Promise<void>): void {
      const missing = needs.find((feature) => without[feature] !== undefined)
      const reason = missing === undefined ? false : `${missing}: ${without[missing]}`
      test(sentence, { skip: reason, timeout: 10_000 }, run)
    }

    const open = (options: RequestOptions): Promise<Sent> => running.open(options)
    const fetch = async (options: RequestOptions): Promise<Answer> => (await running.open(options)).whole()
    const get = (target: string, headers: RequestOptions['headers'] = []): Promise<Answer> => fetch({ target, headers })
    async function text(target: string, options: Partial<RequestOptions> = {}): Promise<string> {
      const answer = await fetch({ target, ...options })
      assert.ok(answer.complete, answer.error)
      assert.equal(answer.status, 200)
      return answer.body.toString('latin1')
    }
    async function object<T>(options: RequestOptions): Promise<T> {
      const answer = await fetch(options)
      assert.equal(answer.error, undefined)
      assert.equal(answer.status, 200, answer.body.toString())
      return JSON.parse(answer.body.toString()) as T
    }
    interface Seen {
      variables: Record<string, string | boolean>
      rawHeaders: [string, string][]
      requestId: string
    }
    const seen = (options: Partial<RequestOptions> = {}): Promise<Seen> => object({ target: '/environ', ...options })
    const variable = async (name: string, options: Partial<RequestOptions> = {}): Promise<unknown> =>
      (await seen(options)).variables[name]
    const release = (key: string, n: number = 1): Promise<Answer> => get(`/release?key=${key}&n=${n}`)
    const eventsOf = (key: string, count: number): Promise<string[]> =>
      object({ target: `/events?key=${key}&count=${count}` })
    /** The journal of `key` becomes these events, and stays so. */
    async function journalIs(key: string, events: string[]): Promise<void> {
      assert.deepEqual(await eventsOf(key, events.length), events)
      journals.push([key, events])
    }
    function isPattern(body: Buffer, length: number): void {
      assert.equal(body.length, length)
      assert.ok(body.equals(pattern(0, length)), 'the bytes are not the ones that were sent')
    }
    const length = (answer: Answer): string[] => fields(answer, 'content-length')

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
          // A length may be left out of a HEAD's response, not made up for it (RFC 9110 §8.6).
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
        const expected = readFileSync(new URL('../apps/good.ts', import.meta.url))
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

    describe('an environ', () => {
      holds('has the method, the script name and the protocol', [], async () => {
        const { variables } = await seen({ method: 'DELETE' })
        assert.equal(variables['REQUEST_METHOD'], 'DELETE')
        assert.equal(variables['SCRIPT_NAME'], '')
        assert.match(String(variables['SERVER_PROTOCOL']), /^HTTP\/1\.[01]$/)
        assert.equal(variables['GATEWAY_INTERFACE'], 'CGI/1.1')
        assert.equal(variables['wsgi.url_scheme'], 'http')
        assert.equal(variables['REQUEST_SCHEME'], 'http')
        assert.equal('HTTPS' in variables, false)
      })
      holds('tells who is asking whom', [], async () => {
        const { variables } = await seen()
        assert.match(String(variables['REMOTE_ADDR']), /^(127\.0\.0\.1|::1|unix:)?$/)
        assert.notEqual(variables['SERVER_NAME'], '')
        assert.match(String(variables['SERVER_PORT']), /^\d+$/)
      })
      holds('has methods that are known, and tokens that are not', ['any-method'], async () => {
        for (const method of ['PROPFIND', 'PATCH', 'QUERY', 'OPTIONS', 'PURGE']) {
          assert.equal(await variable('REQUEST_METHOD', { method }), method)
        }
      })
      holds('has the path percent-decoded once, as latin1', [], async () => {
        const { variables } = await seen({ target: '/environ/a%2541/%C3%A9%20b;c' })
        assert.equal(variables['PATH_INFO'], '/environ/a%41/\xc3\xa9 b;c')
      })
      holds('has the raw target beside it', ['raw-target'], async () => {
        const target = '/environ/./a//b/%7Eme/%2e%2e/x?q=%20%zz&&'
        const { variables } = await seen({ target })
        assert.equal(variables['REQUEST_URI'], target)
        assert.equal(variables['QUERY_STRING'], 'q=%20%zz&&')
        assert.equal(variables['PATH_INFO'], '/environ/./a//b/~me/../x')
      })
      holds('has the query as it was sent, empty when there was none', [], async () => {
        assert.equal(await variable('QUERY_STRING', { target: '/environ?a=%41&b=+%2B' }), 'a=%41&b=+%2B')
        assert.equal(await variable('QUERY_STRING', { target: '/environ?' }), '')
        assert.equal(await variable('QUERY_STRING'), '')
        assert.equal(await variable('QUERY_STRING', { target: '/environ?a?b' }), 'a?b')
      })
      for (const target of ['/environ/%', '/environ/%4', '/environ/%zz', '/environ/%00']) {
        holds(`is not made of ${target}: 400`, [], async () => {
          assert.equal((await get(target)).status, 400)
        })
      }
      holds("has an absolute target's path", ['absolute-form'], async () => {
        const { variables } = await seen({ target: 'http://other.test/environ/a?b' })
        assert.equal(variables['PATH_INFO'], '/environ/a')
        assert.equal(variables['QUERY_STRING'], 'b')
        assert.equal(variables['REQUEST_URI'], 'http://other.test/environ/a?b')
      })
      holds("has an empty path for the target '*'", ['star'], async () => {
        const answer = await fetch({ method: 'OPTIONS', target: '*' })
        assert.equal(answer.body.toString(), 'no fixture at \n')
      })
      holds('has repeated headers joined, cookies by semicolons', [], async () => {
        const { variables } = await seen({
          headers: [
            ['X-List', 'a'],
            ['Cookie', 'a=1'],
            ['x-list', 'b, c'],
            ['Cookie', 'b=2'],
            ['X-LIST', 'd'],
          ],
        })
        assert.equal(variables['HTTP_X_LIST'], 'a, b, c, d')
        assert.equal(variables['HTTP_COOKIE'], 'a=1; b=2')
      })
      holds('has header lines as they were sent', ['raw-headers'], async () => {
        const sent: [string, string][] = [
          ['hOst', 'gantry.test'],
          ['X-b', '1'],
          ['x-A', '2'],
          ['X-B', '3'],
        ]
        const { rawHeaders } = await seen({ headers: sent })
        // A proxy adds its own lines (X-Forwarded-For); what was sent keeps its order among them.
        assert.deepEqual(
          rawHeaders.filter(([name]) => /^(host|x-[ab])$/i.test(name)),
          sent,
        )
      })
      holds('has latin1 header values as they were sent', [], async () => {
        assert.equal(await variable('HTTP_X_LATIN', { headers: [['X-Latin', 'caf\xe9 \xff']] }), 'caf\xe9 \xff')
      })
      holds('has empty header values', ['empty-values'], async () => {
        assert.equal(await variable('HTTP_X_EMPTY', { headers: [['X-Empty', '']] }), '')
      })
      holds('drops headers whose name holds an underscore, and Proxy', [], async () => {
        const { variables, rawHeaders } = await seen({
          headers: [
            ['X-Real', 'dashed'],
            ['X_Real', 'shadow'],
            ['Proxy', 'http://evil.test'],
            ['__proto__', 'x'],
          ],
        })
        assert.equal(variables['HTTP_X_REAL'], 'dashed')
        assert.equal('HTTP_PROXY' in variables, false)
        assert.deepEqual(
          rawHeaders.filter(([name]) => /_|^proxy$/i.test(name)),
          [],
        )
      })
      holds('takes headers that are called like properties of objects as headers', [], async () => {
        const { variables } = await seen({
          headers: [
            ['Constructor', 'a'],
            ['toString', 'b'],
          ],
        })
        assert.equal(variables['HTTP_CONSTRUCTOR'], 'a')
        assert.equal(variables['HTTP_TOSTRING'], 'b')
      })
      holds('has no hop-by-hop headers', [], async () => {
        const { variables } = await seen({
          headers: [
            ['TE', 'trailers'],
            ['Keep-Alive', 'timeout=5'],
            ['Proxy-Connection', 'keep-alive'],
            ['X-Kept', 'yes'],
          ],
        })
        const names = Object.keys(variables).filter((name) =>
          /_(TE|KEEP_ALIVE|PROXY_CONNECTION|CONNECTION|TRANSFER_ENCODING)$/.test(name),
        )
        assert.deepEqual(names, [])
        assert.equal(variables['HTTP_X_KEPT'], 'yes')
      })
      holds('has no headers that Connection names', ['nominated'], async () => {
        const { variables } = await seen({
          headers: [
            ['Connection', 'X-Private, close'],
            ['X-Private', 'secret'],
          ],
        })
        assert.equal('HTTP_X_PRIVATE' in variables, false)
        assert.equal('HTTP_CONNECTION' in variables, false)
      })
      holds("has the content's type and length under their own names", [], async () => {
        const { variables } = await seen({ method: 'POST', body: 'hello', headers: [['Content-Type', 'text/plain']] })
        assert.equal(variables['CONTENT_TYPE'], 'text/plain')
        assert.equal(variables['CONTENT_LENGTH'], '5')
        assert.equal('HTTP_CONTENT_TYPE' in variables || 'HTTP_CONTENT_LENGTH' in variables, false)
      })
      holds('has neither where the client sent none', [], async () => {
        const { variables } = await seen()
        assert.equal('CONTENT_TYPE' in variables || 'CONTENT_LENGTH' in variables, false)
      })
      holds('has no length for a chunked upload, and no word of the coding', ['chunked-upload'], async () => {
        const { variables } = await seen({ method: 'POST', body: 'hello', chunked: true })
        assert.equal('CONTENT_LENGTH' in variables || 'HTTP_TRANSFER_ENCODING' in variables, false)
      })
      holds('has 48 KiB of headers', ['large-head'], async () => {
        const headers = Array.from({ length: 12 }, (_, at): [string, string] => [`X-Long-${at}`, 'v'.repeat(4096)])
        assert.equal(await variable('HTTP_X_LONG_11', { headers }), 'v'.repeat(4096))
      })
      holds('has an id for each request', [], async () => {
        const [one, two] = [await seen(), await seen()]
        assert.match(one.requestId, /^[\w.-]{1,128}$/)
        assert.notEqual(one.requestId, two.requestId)
      })
    })

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
        // In another order than they came: each gets its own answer.
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

    describe('a client that goes', () => {
      for (const how of ['end', 'reset'] as const) {
        for (const first of ['', '&first']) {
          const when = first ? 'in the middle of the body' : 'before the head'
          holds(
            `${when}, by ${how}, is told to the application, whose body is closed once`,
            first ? ['streaming'] : [],
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
      holds('while the application waits for something else is told to it', [], async () => {
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
        // The second read comes short of its 64 KiB and rejects: no third event.
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
      holds('does not stop an application that is deaf; its body is closed when it comes', [], async () => {
        const key = fresh()
        const sent = await open({ target: `/deaf?key=${key}` })
        assert.deepEqual(await eventsOf(key, 1), ['running'])
        sent.abort()
        assert.deepEqual(await eventsOf(key, 2), ['running', 'abort'])
        await release(key)
        // startResponse throws the abort at it.
        assert.equal(await text('/hello'), 'Hello world!\n')
      })
    })

    describe('an application that', () => {
      for (const [path, verdict, sentence] of bad) {
        const says = { error: 'gives a 500', cut: 'is visibly cut', whole: 'leaves a whole answer' }[verdict]
        holds(`${sentence} ${says}`, [], async () => {
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
            // Who has sent nothing on yet when the cut comes (a proxy) does better than a cut: it says so.
            const told = answer.complete && answer.status >= 500
            assert.ok(
              !answer.complete || told,
              `it looks whole: ${answer.status} ${JSON.stringify(body.slice(0, 100))}`,
            )
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
      holds('fails after a while is visibly cut, and what it gave until then had arrived', ['streaming'], async () => {
        const key = fresh()
        const sent = await open({ target: `/reject-late?key=${key}` })
        assert.equal((await sent.has(7)).toString(), 'partial')
        await release(key)
        assert.equal((await sent.whole()).complete, false)
      })
      holds('fails gets a page that fits what the client accepts', [], async () => {
        const html = await get('/throw', [['Accept', 'text/html']])
        assert.match(fields(html, 'content-type')[0] ?? '', /^text\/html/)
        const json = await get('/throw', [['Accept', 'application/json']])
        assert.match(fields(json, 'content-type')[0] ?? '', /^application\/json/)
        assert.equal(JSON.parse(json.body.toString()).status, 500)
      })
      holds('fails on HEAD gives a 500 without a body', [], async () => {
        const answer = await fetch({ method: 'HEAD', target: '/throw' })
        assert.equal(answer.status, 500)
        assert.equal(answer.complete, true)
        assert.equal(answer.body.length, 0)
      })
    })

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
        // Unframed from here on: `send` would chunk for an HTTP client with a body; without one it sends bytes as they are.
        await sent.send('hello')
        assert.equal((await sent.has(5)).toString(), 'HELLO')
        await sent.send(Buffer.alloc(300_000, 'a'))
        assert.equal((await sent.has(300_005)).toString(), `HELLO${'A'.repeat(300_000)}`)
        sent.abort()
        await journalIs(key, ['closed'])
      })
      holds('may be declined, and is then a request like others', ['upgrade'], async () => {
        const answer = await get('/no-upgrade', headers)
        assert.equal(answer.status, 200)
        assert.equal(answer.body.toString(), 'declined')
      })
      holds('is shown to the application as Upgrade and Connection', ['upgrade'], async () => {
        const { variables } = await seen({ headers })
        assert.equal(variables['HTTP_UPGRADE'], 'echo')
        assert.equal(variables['HTTP_CONNECTION'], 'Upgrade')
      })
    })

    describe('a connection', () => {
      holds('carries one request after the other', ['framing'], async () => {
        const client = await running.connect!()
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
        const client = await running.connect!()
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
        const client = await running.connect!()
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
        const client = await running.connect!()
        const answer = await client.fetch({ target: '/generator', minor: 0 })
        assert.equal(answer.framing, 'close')
        assert.equal(answer.complete, true)
        assert.equal(answer.body.toString(), 'one;two;')
        client.destroy()
      })
      holds('of HTTP/1.0 may be kept when the length is known', ['http10'], async () => {
        const client = await running.connect!()
        const options: RequestOptions = { target: '/hello', minor: 0, headers: [['Connection', 'keep-alive']] }
        assert.equal((await client.fetch(options)).body.toString(), 'Hello world!\n')
        assert.equal(client.reusable, true)
        assert.equal((await client.fetch(options)).body.toString(), 'Hello world!\n')
        client.destroy()
      })
      holds('of HTTP/1.0 is reset, not ended, when a body without length is cut', ['http10'], async () => {
        const client = await running.connect!()
        const answer = await client.fetch({ target: '/throw-mid', minor: 0 })
        assert.ok(!answer.complete || answer.status >= 500, 'it looks whole')
        client.destroy()
      })
      holds('of HTTP/1.0 never gets a 100 or a 103', ['http10'], async () => {
        const client = await running.connect!()
        const headers: [string, string][] = [['Expect', '100-continue']]
        const answer = await client.fetch({ method: 'POST', target: '/echo', minor: 0, headers, body: 'x' })
        assert.equal(answer.body.toString(), 'x')
        assert.deepEqual(answer.informational, [])
        client.destroy()
        assert.deepEqual((await fetch({ target: '/hints', minor: 0 })).informational, [])
      })
      holds('stays usable after a small body that nobody read', ['framing'], async () => {
        const client = await running.connect!()
        assert.equal((await client.fetch({ method: 'POST', target: '/unread', body: 'x'.repeat(10_000) })).status, 403)
        assert.equal(client.reusable, true)
        assert.equal((await client.fetch({ target: '/hello' })).body.toString(), 'Hello world!\n')
        client.destroy()
      })
      holds('is ended by a cut response, and by nothing that looks like its end', ['framing'], async () => {
        const client = await running.connect!()
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
  })
}
