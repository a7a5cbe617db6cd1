import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { requestUrl } from '../../../interfaces/node/request-url.ts'
import type { Environ } from '../../../protocol/contract/application.ts'
import { makeEnviron } from '../../support/exchange.ts'

function url(target: string, changes: Partial<Environ> = {}, method: string = 'GET'): string {
  return requestUrl(Object.assign(makeEnviron({ target, method }), changes))
}

describe('requestUrl', () => {
  for (const target of ['/', '/a/../b//c', '/a%2Fb%e9?x=%zz', '/a?', '/a?b?c', 'http://h/a%20b?c']) {
    it(`is the raw target ${target} if nothing has changed it`, () => {
      assert.equal(url(target), target)
    })
  }

  it('is the target * of OPTIONS', () => {
    assert.equal(url('*', {}, 'OPTIONS'), '*')
  })

  for (const [target, script, path, expected] of [
    ['/app/x%2Fy?q', '/app', '/x/y', '/x%2Fy?q'],
    ['/%61pp/x', '/app', '/x', '/x'],
    ['/app', '/app', '', '/'],
    ['/app?q', '/app', '', '/?q'],
    ['/app/', '/app', '/', '/'],
    ['/app%2Fx%2fy?q', '/app', '/x/y', '/x%2fy?q'],
  ] as const) {
    it(`removes the mount ${script} from ${target}, and keeps the rest unchanged`, () => {
      assert.equal(url(target, { SCRIPT_NAME: script, PATH_INFO: path }), expected)
    })
  }

  it('follows a rewritten path, encoded again', () => {
    assert.equal(url('/old?q', { PATH_INFO: '/new path/\xc3\xa9%?#' }), '/new%20path/%C3%A9%25%3F%23?q')
  })

  it('follows a rewritten query', () => {
    assert.equal(url('/a%2Fb?old', { QUERY_STRING: 'new' }), '/a/b?new')
  })
})
