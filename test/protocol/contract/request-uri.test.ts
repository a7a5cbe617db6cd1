/**
 * The cases of CPython's test_wsgiref.UtilityTests for paths and URLs (testSimpleShifts, testNormalizedShifts,
 * testGuessScheme, testAppURIs, testReqURIs, testHopByHop), and additional cases.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHopByHop } from '../../../protocol/contract/hop-by-hop.ts'
import { applicationUri, guessScheme, requestUri, shiftPathInfo } from '../../../protocol/contract/request-uri.ts'
import { makeEnviron } from '../../support/exchange.ts'

function shifted(SCRIPT_NAME: string, PATH_INFO: string): [string | undefined, string, string] {
  const environ = { SCRIPT_NAME, PATH_INFO }
  const name = shiftPathInfo(environ)
  return [name, environ.SCRIPT_NAME, environ.PATH_INFO]
}

describe('shiftPathInfo', () => {
  for (const [script, path, name, scriptAfter, pathAfter] of [
    // testSimpleShifts
    ['', '/', '', '/', ''],
    ['', '/x', 'x', '/x', ''],
    ['/', '', undefined, '/', ''],
    ['/a', '/x/y', 'x', '/a/x', '/y'],
    ['/a', '/x/', 'x', '/a/x', '/'],
    // testNormalizedShifts
    ['/a/b', '/../y', '..', '/a', '/y'],
    ['', '/../y', '..', '', '/y'],
    ['/a/b', '//y', 'y', '/a/b/y', ''],
    ['/a/b', '//y/', 'y', '/a/b/y', '/'],
    ['/a/b', '/./y', 'y', '/a/b/y', ''],
    ['/a/b', '/./y/', 'y', '/a/b/y', '/'],
    ['/a/b', '///./..//y/.//', '..', '/a', '/y/'],
    ['/a/b', '///', '', '/a/b/', ''],
    ['/a/b', '/.//', '', '/a/b/', ''],
    ['/a/b', '/x//', 'x', '/a/b/x', '/'],
    ['/a/b', '/.', undefined, '/a/b', ''],
    // Additional cases: bytes are kept, and a value that is not a path is not changed.
    ['', '/\xe9%2F/y', '\xe9%2F', '/\xe9%2F', '/y'],
    ['/a', 'x/y', undefined, '/a', 'x/y'],
  ] as const) {
    it(`moves ${JSON.stringify(name) ?? 'nothing'} from ${JSON.stringify(path)} to ${JSON.stringify(script)}`, () => {
      assert.deepEqual(shifted(script, path), [name, scriptAfter, pathAfter])
    })
  }

  it('never makes a SCRIPT_NAME that a redirect would read as a host', () => {
    assert.deepEqual(shifted('/', '/evil.example'), ['evil.example', '/evil.example', ''])
    assert.deepEqual(shifted('', '//evil.example/'), ['evil.example', '/evil.example', '/'])
  })

  it('moves all segments of a path, one by one', () => {
    const environ = makeEnviron({ target: '/one/two/' })
    const names: (string | undefined)[] = []
    for (let round = 0; round < 4; round += 1) names.push(shiftPathInfo(environ))
    assert.deepEqual(names, ['one', 'two', '', undefined])
    assert.equal(environ.SCRIPT_NAME, '/one/two/')
    assert.equal(environ.PATH_INFO, '')
  })
})

describe('guessScheme', () => {
  for (const [HTTPS, scheme] of [
    [undefined, 'http'],
    ['foo', 'http'],
    ['off', 'http'],
    ['on', 'https'],
    ['yes', 'https'],
    ['1', 'https'],
  ] as const) {
    it(`is ${scheme} for HTTPS ${HTTPS ?? 'absent'}`, () => assert.equal(guessScheme({ HTTPS }), scheme))
  }
})

/** setup_testing_defaults of wsgiref with the variables of a case; `HTTPS` sets scheme and port. */
function environ(given: Record<string, string | undefined> = {}) {
  const scheme = guessScheme(given)
  return {
    SERVER_NAME: '127.0.0.1',
    HTTP_HOST: given['SERVER_NAME'] ?? '127.0.0.1',
    SCRIPT_NAME: '',
    PATH_INFO: given['SCRIPT_NAME'] === undefined ? '/' : '',
    QUERY_STRING: '',
    SERVER_PORT: scheme === 'https' ? '443' : '80',
    'wsgi.url_scheme': scheme,
    ...given,
  } as { [variable: string]: unknown } & Parameters<typeof requestUri>[0]
}

describe('applicationUri', () => {
  for (const [uri, given] of [
    // testAppURIs
    ['http://127.0.0.1/', {}],
    ['http://127.0.0.1/spam', { SCRIPT_NAME: '/spam' }],
    ['http://127.0.0.1/sp%E4m', { SCRIPT_NAME: '/sp\xe4m' }],
    ['http://spam.example.com:2071/', { HTTP_HOST: 'spam.example.com:2071', SERVER_PORT: '2071' }],
    ['http://spam.example.com/', { SERVER_NAME: 'spam.example.com' }],
    ['http://127.0.0.1/', { HTTP_HOST: '127.0.0.1', SERVER_NAME: 'spam.example.com' }],
    ['https://127.0.0.1/', { HTTPS: 'on' }],
    ['http://127.0.0.1:8000/', { SERVER_PORT: '8000', HTTP_HOST: undefined }],
    // Additional cases
    ['https://127.0.0.1:8443/', { HTTPS: 'on', SERVER_PORT: '8443', HTTP_HOST: '' }],
    ['http://127.0.0.1:443/', { SERVER_PORT: '443', HTTP_HOST: '' }],
    ['http://[::1]:8000/', { SERVER_NAME: '::1', SERVER_PORT: '8000', HTTP_HOST: '' }],
    ['http://[::1]/', { SERVER_NAME: '[::1]', HTTP_HOST: '' }],
    ['http://127.0.0.1/a%20b%25%3F%23%0A%FF~._-', { SCRIPT_NAME: '/a b%?#\n\xff~._-' }],
    ['http://127.0.0.1/a%3Bb', { SCRIPT_NAME: '/a;b' }],
  ] as [string, Record<string, string | undefined>][]) {
    it(`is ${uri} for ${JSON.stringify(given)}`, () => assert.equal(applicationUri(environ(given)), uri))
  }

  it('refuses a path that is not a native string', () => {
    assert.throws(() => applicationUri(environ({ SCRIPT_NAME: '/\u0442' })), /TypeError.*latin1/)
  })
})

describe('requestUri', () => {
  const spam = { SCRIPT_NAME: '/spammity' }
  for (const [uri, given] of [
    // testReqURIs
    ['http://127.0.0.1/', {}],
    ['http://127.0.0.1/spam', { SCRIPT_NAME: '/spam' }],
    ['http://127.0.0.1/sp%E4m', { SCRIPT_NAME: '/sp\xe4m' }],
    ['http://127.0.0.1/spammity/spam', { ...spam, PATH_INFO: '/spam' }],
    ['http://127.0.0.1/spammity/sp%E4m', { ...spam, PATH_INFO: '/sp\xe4m' }],
    ['http://127.0.0.1/spammity/spam;ham', { ...spam, PATH_INFO: '/spam;ham' }],
    ['http://127.0.0.1/spammity/spam;cookie=1234,5678', { ...spam, PATH_INFO: '/spam;cookie=1234,5678' }],
    ['http://127.0.0.1/spammity/spam?say=ni', { ...spam, PATH_INFO: '/spam', QUERY_STRING: 'say=ni' }],
    ['http://127.0.0.1/spammity/spam?s%E4y=ni', { ...spam, PATH_INFO: '/spam', QUERY_STRING: 's%E4y=ni' }],
    // Additional cases
    ['http://127.0.0.1/a%2541/%C3%A9', { PATH_INFO: '/a%41/\xc3\xa9' }],
    ['http://127.0.0.1//two', { PATH_INFO: '//two' }],
    ['http://127.0.0.1/', { PATH_INFO: '' }],
  ] as [string, Record<string, string | undefined>][]) {
    it(`is ${uri} for ${JSON.stringify(given)}`, () => assert.equal(requestUri(environ(given)), uri))
  }

  it('omits the query if includeQuery is false', () => {
    const given = environ({ ...spam, PATH_INFO: '/spam', QUERY_STRING: 'say=ni' })
    assert.equal(requestUri(given, false), 'http://127.0.0.1/spammity/spam')
  })

  it('accepts the environ of a gateway', () => {
    const made = makeEnviron({ target: '/a%20b?c=%20', headers: ['Host', 'example.org:81'] })
    assert.equal(requestUri(made), 'http://example.org:81/a%20b?c=%20')
  })
})

describe('isHopByHop', () => {
  const spellings = (name: string): string[] => [name, name.toUpperCase(), name.toLowerCase()]
  const hops = 'Connection Keep-Alive Proxy-Authenticate Proxy-Authorization TE Trailers Transfer-Encoding Upgrade'
  for (const name of hops.split(' ')) {
    it(`is true for ${name}`, () => assert.deepEqual(spellings(name).map(isHopByHop), [true, true, true]))
  }
  for (const name of 'Accept Cache-Control Date Pragma Trailer Via Warning'.split(' ')) {
    it(`is false for ${name}`, () => assert.deepEqual(spellings(name).map(isHopByHop), [false, false, false]))
  }
})
