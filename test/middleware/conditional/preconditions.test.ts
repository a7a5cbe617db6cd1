import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { httpDate, parseHttpDate, precondition, rangeHolds } from '../../../middleware/conditional/preconditions.ts'
import { makeEnviron } from '../../support/exchange.ts'

const OLD = 'Sat, 01 Jan 2000 00:00:00 GMT'
const CHANGED = 'Sun, 02 Jan 2000 00:00:00 GMT'
const LATER = 'Mon, 03 Jan 2000 00:00:00 GMT'
const validators = { etag: '"a"', lastModified: Date.parse(CHANGED) + 123 }

type Fields = Readonly<Record<string, string>>

describe('preconditions', () => {
  const cases: readonly [method: string, fields: Fields, expected: string][] = [
    ['GET', {}, 'proceed'],
    ['GET', { 'If-Match': '"a"' }, 'proceed'],
    ['GET', { 'If-Match': '"b", "a"' }, 'proceed'],
    ['GET', { 'If-Match': '*' }, 'proceed'],
    ['GET', { 'If-Match': '"b"' }, 'failed'],
    ['GET', { 'If-Match': 'W/"a"' }, 'failed'],
    ['GET', { 'If-Unmodified-Since': CHANGED }, 'proceed'],
    ['GET', { 'If-Unmodified-Since': OLD }, 'failed'],
    ['GET', { 'If-Unmodified-Since': 'yesterday' }, 'proceed'],
    // If-Match precedes If-Unmodified-Since, whose date would fail.
    ['GET', { 'If-Match': '"a"', 'If-Unmodified-Since': OLD }, 'proceed'],
    ['GET', { 'If-None-Match': '"a"' }, 'unchanged'],
    ['HEAD', { 'If-None-Match': '"a"' }, 'unchanged'],
    ['GET', { 'If-None-Match': 'W/"a"' }, 'unchanged'],
    ['GET', { 'If-None-Match': '"x,y", W/"a"' }, 'unchanged'],
    ['GET', { 'If-None-Match': '"x, \\"a"' }, 'proceed'],
    ['GET', { 'If-None-Match': '*' }, 'unchanged'],
    ['PUT', { 'If-None-Match': '*' }, 'failed'],
    ['GET', { 'If-None-Match': '"b"' }, 'proceed'],
    ['GET', { 'If-Modified-Since': CHANGED }, 'unchanged'],
    ['GET', { 'If-Modified-Since': LATER }, 'unchanged'],
    ['GET', { 'If-Modified-Since': OLD }, 'proceed'],
    ['GET', { 'If-Modified-Since': `${CHANGED}, ${CHANGED}` }, 'proceed'],
    ['POST', { 'If-Modified-Since': LATER }, 'proceed'],
    // If-None-Match precedes If-Modified-Since, whose date would match.
    ['GET', { 'If-None-Match': '"b"', 'If-Modified-Since': LATER }, 'proceed'],
    // If-Match is evaluated first.
    ['GET', { 'If-Match': '"b"', 'If-None-Match': '"a"' }, 'failed'],
    ['GET', { 'If-Match': '"a"', 'If-None-Match': '"a"' }, 'unchanged'],
  ]
  for (const [method, fields, expected] of cases) {
    it(`${method} with ${JSON.stringify(fields)}: ${expected}`, () => {
      assert.equal(precondition(makeEnviron({ method, headers: Object.entries(fields).flat() }), validators), expected)
    })
  }

  it('do not hold or fail without a validator, except that * matches', () => {
    const environ = makeEnviron({ headers: ['If-Modified-Since', LATER, 'If-Unmodified-Since', OLD] })
    assert.equal(precondition(environ, {}), 'proceed')
    assert.equal(precondition(makeEnviron({ headers: ['If-None-Match', '*'] }), {}), 'unchanged')
  })
})

describe('If-Range', () => {
  const now = Date.parse(LATER)
  const cases: readonly [field: string | undefined, etag: string, now: number, holds: boolean][] = [
    [undefined, '"a"', now, true],
    ['"a"', '"a"', now, true],
    ['"b"', '"a"', now, false],
    ['W/"a"', '"a"', now, false],
    ['W/"a"', 'W/"a"', now, false],
    ['"a"', 'W/"a"', now, false],
    [CHANGED, '"a"', now, true],
    [LATER, '"a"', now, false],
    // The representation may have changed again within the same second.
    [CHANGED, '"a"', Date.parse(CHANGED) + 500, false],
    ['nonsense', '"a"', now, false],
  ]
  for (const [field, etag, at, holds] of cases) {
    it(`${field} against ${etag}${at === now ? '' : ', just changed'}: ${holds}`, () => {
      const headers = ['Range', 'bytes=0-1', ...(field === undefined ? [] : ['If-Range', field])]
      assert.equal(rangeHolds(makeEnviron({ headers }), { ...validators, etag }, at), holds)
    })
  }

  it('and Range apply to GET alone', () => {
    assert.equal(rangeHolds(makeEnviron({ method: 'HEAD', headers: ['Range', 'bytes=0-1'] }), validators, now), false)
    assert.equal(rangeHolds(makeEnviron(), validators, now), false)
  })
})

describe('an HTTP date', () => {
  it('is parsed in its three forms', () => {
    const time = Date.UTC(1994, 10, 6, 8, 49, 37)
    assert.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT'), time)
    assert.equal(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT'), time)
    assert.equal(parseHttpDate('Sun Nov  6 08:49:37 1994'), time)
  })

  it('has no other form', () => {
    for (const text of [
      '',
      '0',
      '1994',
      '1994-11-06',
      'Sun, 06 Nov 1994 08:49:37 CET',
      'Sun, 32 Nov 1994 08:49:37 GMT',
      'Sun, 06 Foo 1994 08:49:37 GMT',
    ])
      assert.equal(parseHttpDate(text), undefined, text)
  })

  it('is parsed as it is written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e9 }), (second) => {
        assert.equal(parseHttpDate(httpDate(second * 1000)), second * 1000)
      }),
    )
  })

  it('does not throw for any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        precondition(
          makeEnviron({ headers: ['If-None-Match', text.replace(/[^ -~]/g, ''), 'If-Match', '*'] }),
          validators,
        )
      }),
    )
  })
})
