import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Environ } from '../../../protocol/contract/application.ts'
import { environFromHttp, environFromVariables } from '../../../protocol/contract/environ.ts'
import { RemoteProtocolError } from '../../../protocol/contract/errors.ts'
import { setHeader } from '../../../protocol/contract/request-headers.ts'
import { environFromWire, variablesForWire } from '../../../protocol/frames/environ-wire.ts'
import { makeEnviron } from '../../support/exchange.ts'

const PROCESS = { multithread: true, multiprocess: false, runOnce: false }

/** Sends an environ to the other process. */
function across(environ: Environ): Environ {
  const { variables, rawHeaders } = variablesForWire(environ)
  return environFromWire(variables, rawHeaders, PROCESS)
}

function strings(environ: Environ): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environ).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

describe('an environ', () => {
  it('decodes the path once, and keeps the query and the target as received', () => {
    const environ = makeEnviron({ target: '/a%2541/%C3%A9?q=%41' })
    assert.equal(environ.PATH_INFO, '/a%41/\xc3\xa9')
    assert.equal(environ.QUERY_STRING, 'q=%41')
    assert.equal(environ.REQUEST_URI, '/a%2541/%C3%A9?q=%41')
    assert.equal(environ.SCRIPT_NAME, '')
  })

  for (const [target, path, query, method] of [
    ['*', '', '', 'OPTIONS'],
    ['http://example.org', '/', '', 'GET'],
    ['http://example.org?x', '/', 'x', 'GET'],
    ['http://example.org/a?x', '/a', 'x', 'GET'],
    ['http://example.org', '', '', 'OPTIONS'],
    ['//two', '//two', '', 'GET'],
    ['/?', '/', '', 'GET'],
  ] as const) {
    it(`has PATH_INFO ${JSON.stringify(path)} for ${method} ${target}`, () => {
      const environ = makeEnviron({ target, method })
      assert.equal(environ.PATH_INFO, path)
      assert.equal(environ.QUERY_STRING, query)
    })
  }

  for (const target of ['/%', '/%4', '/%zz', '/%00', '/a%2']) {
    it(`refuses the target ${target}`, () => {
      assert.throws(
        () => makeEnviron({ target }),
        (error) => error instanceof RemoteProtocolError && error.status === 400,
      )
    })
  }

  it('joins repeated headers with a comma, and cookies with a semicolon', () => {
    const environ = makeEnviron({ headers: ['Host', 'h', 'X-A', '1', 'Cookie', 'a=1', 'x-a', '2', 'cookie', 'b=2'] })
    assert.equal(environ['HTTP_X_A'], '1, 2')
    assert.equal(environ['HTTP_COOKIE'], 'a=1; b=2')
  })

  it('drops names with an underscore, Proxy, hop-by-hop fields, and fields that Connection names', () => {
    const environ = makeEnviron({
      headers: [
        'Host',
        'h',
        'X_A',
        '1',
        'Proxy',
        'p',
        'TE',
        'trailers',
        'Connection',
        'keep-alive, X-Hop',
        'X-Hop',
        '1',
        'Keep-Alive',
        '5',
        'X-End',
        '2',
      ],
    })
    assert.deepEqual(
      Object.keys(environ).filter((key) => key.startsWith('HTTP_')),
      ['HTTP_HOST', 'HTTP_X_END'],
    )
    assert.deepEqual(environ.gantry.rawHeaders, [
      ['Host', 'h'],
      ['X-End', '2'],
    ])
  })

  it('keeps Host and Content-Length if Connection names them', () => {
    const environ = makeEnviron({ headers: ['Host', 'h', 'Connection', 'Host, Content-Length', 'Content-Length', '3'] })
    assert.equal(environ['HTTP_HOST'], 'h')
    assert.equal(environ.CONTENT_LENGTH, '3')
  })

  it('has no HTTP_CONTENT_TYPE and no HTTP_CONTENT_LENGTH', () => {
    const environ = makeEnviron({ headers: ['Host', 'h', 'content-type', 'a/b', 'CONTENT-LENGTH', '0'] })
    assert.equal(environ.CONTENT_TYPE, 'a/b')
    assert.equal(environ.CONTENT_LENGTH, '0')
    assert.equal(environ['HTTP_CONTENT_TYPE'], undefined)
    assert.equal(environ['HTTP_CONTENT_LENGTH'], undefined)
  })

  it('has two variables for an upgrade request', () => {
    const environ = makeEnviron({
      upgrade: true,
      headers: ['Host', 'h', 'Connection', 'keep-alive, Upgrade', 'Upgrade', 'websocket'],
    })
    assert.equal(environ['HTTP_UPGRADE'], 'websocket')
    assert.equal(environ['HTTP_CONNECTION'], 'Upgrade')
  })

  it('accepts __proto__ and constructor as names of variables', () => {
    const environ = environFromVariables(['REQUEST_METHOD', 'GET', '__proto__', 'x', 'constructor', 'y'], PROCESS)
    assert.equal(Object.getOwnPropertyDescriptor(environ, '__proto__')?.value, 'x')
    assert.equal(environ['constructor'], 'y')
    assert.equal(({} as Record<string, unknown>)['x'], undefined)
    assert.equal(environ['toString'], undefined)
  })

  for (const name of ['wsgi.input', 'wsgi.x', 'gantry', 'gantry.x']) {
    it(`refuses ${name} from a peer`, () => {
      assert.throws(() => environFromVariables([name, 'x'], PROCESS), RemoteProtocolError)
      assert.throws(() => environFromWire([name, 'x'], [], PROCESS), RemoteProtocolError)
    })
  }

  it('has the scheme https only if the connection uses TLS', () => {
    const head = {
      method: 'GET',
      target: '/',
      minor: 1 as const,
      headers: ['Host', 'h', 'Https', 'on'],
      upgrade: false,
    }
    const facts = { remoteAddress: '', remotePort: '', serverName: 's', serverPort: '443' }
    const plain = environFromHttp(head, { ...facts, scheme: 'http' }, PROCESS)
    assert.equal(plain.HTTPS, undefined)
    assert.equal(plain['HTTP_HTTPS'], 'on')
    const secure = environFromHttp(head, { ...facts, scheme: 'https' }, PROCESS)
    assert.equal(secure.HTTPS, 'on')
    assert.equal(secure['wsgi.url_scheme'], 'https')
  })
})

describe('variables of a CGI-like peer', () => {
  it('fill in required variables, ignore duplicates, and keep variables of the peer', () => {
    const environ = environFromVariables(
      [
        'REQUEST_METHOD',
        'GET',
        'CONTENT_LENGTH',
        '',
        'SERVER_NAME',
        '',
        'HTTP_CONTENT_TYPE',
        'x',
        'HTTP_TRANSFER_ENCODING',
        'chunked',
        'HTTP_X_A',
        '1',
        'HTTP_X_A',
        '2',
        'MY_OWN',
        'v',
        'HTTPS',
        'on',
      ],
      PROCESS,
    )
    assert.equal(environ.CONTENT_LENGTH, undefined)
    assert.equal(environ.SERVER_NAME, 'localhost')
    assert.equal(environ['HTTP_CONTENT_TYPE'], undefined)
    assert.equal(environ['HTTP_TRANSFER_ENCODING'], undefined)
    assert.equal(environ['HTTP_X_A'], '1, 2')
    assert.equal(environ['MY_OWN'], 'v')
    assert.equal(environ['wsgi.url_scheme'], 'https')
    assert.deepEqual(environ.gantry.rawHeaders, [
      ['x-a', '1'],
      ['x-a', '2'],
    ])
  })
})

describe('an environ across processes', () => {
  it('keeps the order, case and repetition of header lines', () => {
    const headers = ['hOsT', 'h', 'X-A', '1', 'Accept', '*/*', 'x-a', '2', 'Content-Length', '4']
    const there = across(makeEnviron({ headers, target: '/p%20q?r' }))
    assert.deepEqual(there.gantry.rawHeaders.flat(), headers)
    assert.equal(there['HTTP_X_A'], '1, 2')
    assert.equal(there.PATH_INFO, '/p q')
  })

  it('sends a variable that middleware has set instead of its header lines', () => {
    const environ = makeEnviron({ headers: ['Host', 'h', 'X-A', '1', 'X-A', '2', 'X-B', '3'] })
    environ['HTTP_X_A'] = 'mine'
    environ['HTTP_NEW'] = 'new'
    delete environ['HTTP_X_B']
    const there = across(environ)
    assert.deepEqual(strings(there), { ...strings(environ) })
    assert.deepEqual(there.gantry.rawHeaders, [['Host', 'h']])
  })

  it('sends all its lines if its variables were set in another order', () => {
    const headers = ['Host', 'h', 'X-A', '1', 'X-B', '2']
    const environ = makeEnviron({ headers })
    delete environ['HTTP_X_A']
    environ['HTTP_X_A'] = '1'
    const { variables, rawHeaders } = variablesForWire(environ)
    assert.deepEqual(rawHeaders, headers)
    assert.ok(!variables.some((text) => text.startsWith('HTTP_')))
  })

  it('does not send the variables of its own process', () => {
    const environ = makeEnviron()
    const sent = (): string[] => variablesForWire(environ).variables.filter((_, at) => at % 2 === 0)
    assert.ok(!sent().includes('SERVER_SOFTWARE') && !sent().includes('GATEWAY_INTERFACE'))
    environ.GATEWAY_INTERFACE = 'CGI/1.2'
    assert.ok(sent().includes('GATEWAY_INTERFACE'))
    const there = across(environ)
    assert.deepEqual(strings(there), strings(environ))
  })

  it('names the variable that cannot be sent', () => {
    const environ = makeEnviron()
    environ['my.session'] = { user: 1 }
    assert.throws(() => variablesForWire(environ), /my\.session.*object/)
    const nameless = makeEnviron()
    nameless[''] = 'what a frame cannot carry'
    assert.throws(() => variablesForWire(nameless), /a variable needs a name/)
  })

  it('is the same in the other process, for any headers', () => {
    const name = fc.stringMatching(/^[A-Za-z-]{1,12}$/)
    const value = fc.stringMatching(/^[\x20-\x7e\x80-\xff]{0,12}$/)
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), fc.boolean(), (fields, upgrade) => {
        const environ = makeEnviron({ headers: [...fields.flat(), 'Upgrade', 'x'], upgrade })
        const there = across(environ)
        assert.deepEqual(strings(there), strings(environ))
        assert.deepEqual(there.gantry.rawHeaders, environ.gantry.rawHeaders)
        const { rawHeaders } = variablesForWire(there)
        assert.deepEqual(rawHeaders, environ.gantry.rawHeaders.flat())
      }),
    )
  })
})

describe('setHeader', () => {
  it('changes variables and header lines together', () => {
    const environ = makeEnviron({ headers: ['Host', 'h', 'X-A', '1', 'x-a', '2'] })
    setHeader(environ, 'X-A', '3')
    assert.equal(environ['HTTP_X_A'], '3')
    assert.deepEqual(environ.gantry.rawHeaders, [
      ['Host', 'h'],
      ['X-A', '3'],
    ])
    setHeader(environ, 'x-a', undefined)
    assert.equal(environ['HTTP_X_A'], undefined)
    assert.deepEqual(environ.gantry.rawHeaders, [['Host', 'h']])
  })

  for (const [name, value] of [
    ['X_A', 'v'],
    ['X A', 'v'],
    ['X-A', 'a\r\nb'],
    ['X-A', '€'],
  ] as const) {
    it(`refuses ${JSON.stringify(name)}: ${JSON.stringify(value)}`, () => {
      assert.throws(() => setHeader(makeEnviron(), name, value), TypeError)
    })
  }
})
