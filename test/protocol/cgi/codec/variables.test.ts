import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { programVariables, requestVariables } from '../../../../protocol/cgi/codec/variables.ts'
import { environFromVariables } from '../../../../protocol/contract/environ.ts'
import { RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import { makeEnviron } from '../../../support/exchange.ts'

const FACTS = { multithread: false, multiprocess: true, runOnce: true }

function environ(environment: Record<string, string>, further: string[] = []) {
  const { variables, length } = requestVariables(Object.entries(environment).flat(), further)
  return { environ: environFromVariables(variables, FACTS), length }
}

describe('the request in a process’s environment', () => {
  const request = { REQUEST_METHOD: 'GET', SCRIPT_NAME: '/app', PATH_INFO: '/x', SERVER_NAME: 'h', SERVER_PORT: '80' }

  it('has the variables of CGI, Apache and mod_ssl and the headers, and nothing else of the process', () => {
    const { environ: made } = environ({
      ...request,
      PATH: '/bin',
      HOME: '/root',
      API_KEY: 's3cret',
      HTTP_ACCEPT: '*/*',
      DOCUMENT_ROOT: '/srv',
      SSL_PROTOCOL: 'TLSv1.3',
      'HTTP_X y': 'no header',
    })
    assert.deepEqual(
      [made['HTTP_ACCEPT'], made['DOCUMENT_ROOT'], made['SSL_PROTOCOL'], made.SCRIPT_NAME, made.PATH_INFO],
      ['*/*', '/srv', 'TLSv1.3', '/app', '/x'],
    )
    for (const name of ['PATH', 'HOME', 'API_KEY', 'HTTP_X y']) assert.ok(!Object.hasOwn(made, name), name)
  })

  it('has further variables that were asked for', () => {
    assert.equal(environ({ ...request, TENANT: 'a' }, ['TENANT']).environ['TENANT'], 'a')
  })

  it('has no Proxy header, and no connection to upgrade', () => {
    const { environ: made } = environ({
      ...request,
      HTTP_PROXY: 'x',
      HTTP_UPGRADE: 'websocket',
      HTTP_CONNECTION: 'Upgrade',
    })
    for (const name of ['HTTP_PROXY', 'HTTP_UPGRADE', 'HTTP_CONNECTION']) assert.ok(!Object.hasOwn(made, name), name)
  })

  it('has the path / if there is neither script nor path', () => {
    const { environ: made } = environ({})
    assert.deepEqual([made.REQUEST_METHOD, made.SCRIPT_NAME, made.PATH_INFO], ['GET', '', '/'])
    assert.equal(environ({ SCRIPT_NAME: '/app' }).environ.PATH_INFO, '')
  })

  for (const [what, given, length] of [
    ['none', {}, 0],
    ['an empty length', { CONTENT_LENGTH: '' }, 0],
    ['a length', { CONTENT_LENGTH: '12' }, 12],
    ['a chunked one, to the end of the input', { HTTP_TRANSFER_ENCODING: 'chunked' }, -1],
    ['a chunked one that the server held', { HTTP_TRANSFER_ENCODING: 'chunked', CONTENT_LENGTH: '3' }, 3],
  ] as [string, Record<string, string>, number][]) {
    it(`has a body: ${what}`, () => assert.equal(environ(given).length, length))
  }

  it('is refused if its length is invalid', () => {
    assert.throws(
      () => environ({ CONTENT_LENGTH: '-1' }),
      (error) => error instanceof RemoteProtocolError && error.status === 400,
    )
  })
})

describe('the environment of a program', () => {
  const facts = { program: '/srv/a.cgi', documentRoot: undefined, authorization: false, chunked: false }
  const headers = ['Host', 'h', 'Authorization', 'Basic x', 'X-A', 'b', 'Proxy', 'p']

  it('has the variables of the request, and neither credentials nor Proxy nor variables of the application', () => {
    const made = makeEnviron({ target: '/x?y', headers })
    made['HTTP_PROXY'] = 'http://evil'
    made['LD_PRELOAD'] = '/evil.so'
    made['PATH_TRANSLATED'] = '/etc/passwd'
    const variables = programVariables(made, facts)
    assert.deepEqual(
      ['PATH_INFO', 'QUERY_STRING', 'HTTP_X_A', 'GATEWAY_INTERFACE', 'SCRIPT_FILENAME'].map((name) =>
        variables.get(name),
      ),
      ['/x', 'y', 'b', 'CGI/1.1', '/srv/a.cgi'],
    )
    for (const name of variables.keys()) {
      assert.doesNotMatch(name, /^(?:wsgi|gantry|LD_|HTTP_PROXY$|HTTP_AUTHORIZATION$|PATH_TRANSLATED$)/)
    }
  })

  it('has the credentials if the option allows it', () => {
    const variables = programVariables(makeEnviron({ headers }), { ...facts, authorization: true })
    assert.equal(variables.get('HTTP_AUTHORIZATION'), 'Basic x')
  })

  it('has HTTP_TRANSFER_ENCODING for a body of unknown length, as in Apache', () => {
    const variables = programVariables(makeEnviron(), { ...facts, chunked: true })
    assert.equal(variables.get('HTTP_TRANSFER_ENCODING'), 'chunked')
  })

  for (const [path, translated] of [
    ['/a/b', '/srv/www/a/b'],
    ['/a/', '/srv/www/a/'],
    ['/', '/srv/www/'],
    ['/../../etc/passwd', '/srv/www/etc/passwd'],
    ['/a/..//./b', '/srv/www/b'],
  ] as const) {
    it(`translates ${path} below the document root`, () => {
      const variables = programVariables(makeEnviron({ target: path }), { ...facts, documentRoot: '/srv/www' })
      assert.equal(variables.get('PATH_TRANSLATED'), translated)
    })
  }
})
