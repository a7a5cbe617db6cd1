import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  addVary,
  hasContent,
  headerOf,
  mediaTypeOf,
  namesFile,
  withHeader,
  withoutHeaders,
} from '../../../middleware/shared/response-fields.ts'
import type { Headers } from '../../../protocol/contract/application.ts'

const given: Headers = Object.freeze([
  Object.freeze(['Set-Cookie', 'a']),
  Object.freeze(['X-One', '1']),
  Object.freeze(['set-cookie', 'b']),
]) as unknown as Headers

describe('response fields', () => {
  it('are found in any case, joined', () => {
    assert.equal(headerOf(given, 'SET-COOKIE'), 'a, b')
    assert.equal(headerOf(given, 'x-two'), undefined)
  })

  it('are changed in a copy: the first at its place, others removed', () => {
    assert.deepEqual(withHeader(given, 'set-cookie', 'c'), [
      ['Set-Cookie', 'c'],
      ['X-One', '1'],
    ])
    assert.deepEqual(withHeader(given, 'X-Two', '2').at(-1), ['X-Two', '2'])
    assert.deepEqual(withoutHeaders(given, 'SET-COOKIE', 'x-two'), [['X-One', '1']])
  })

  it('have each member of Vary once, and nothing besides *', () => {
    const varied = (vary: string): string | undefined => headerOf(addVary([['Vary', vary]], 'Accept-Encoding'), 'vary')
    assert.equal(varied('Cookie'), 'Cookie, Accept-Encoding')
    assert.equal(varied('cookie ,accept-encoding'), 'cookie ,accept-encoding')
    assert.equal(varied('*'), '*')
    assert.equal(varied(''), 'Accept-Encoding')
    assert.deepEqual(addVary([], 'Accept'), [['Vary', 'Accept']])
  })

  it('may name a file, whose bytes are sent instead', () => {
    assert.ok(namesFile([['x-sendfile', '/a']]))
    assert.ok(namesFile([['X-Accel-Redirect', '/a']]))
    assert.ok(!namesFile([['X-Sendfile-Type', 'X-Accel-Redirect']]))
  })

  it('have a media type without its parameters', () => {
    assert.equal(mediaTypeOf([['content-type', 'Text/HTML ; charset=utf-8']]), 'text/html')
    assert.equal(mediaTypeOf([]), undefined)
  })

  it('belong to content, depending on method and status', () => {
    assert.ok(hasContent('GET', '200 OK'))
    for (const status of ['101 X', '204 X', '205 X', '304 X']) assert.ok(!hasContent('GET', status))
    assert.ok(!hasContent('HEAD', '200 OK'))
  })
})
