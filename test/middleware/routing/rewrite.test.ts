import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fromNode } from '../../../interfaces/node/from-node.ts'
import { compose } from '../../../middleware/compose.ts'
import { mount } from '../../../middleware/routing/mount.ts'
import { rewrite } from '../../../middleware/routing/rewrite.ts'
import type { Application, Middleware } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { places } from '../../support/places.ts'

/** Answers with its SCRIPT_NAME, PATH_INFO and QUERY_STRING. */
const where: Application = (environ, startResponse) => {
  const { SCRIPT_NAME, PATH_INFO, QUERY_STRING, REQUEST_URI } = environ
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from(`${SCRIPT_NAME}|${PATH_INFO}|${QUERY_STRING}|${REQUEST_URI}`, 'latin1')]
}

async function rewritten(middleware: Middleware, path: string): Promise<string> {
  return (await call(middleware(where), { path })).body.toString('latin1')
}

describe('rewrite', () => {
  for (const [from, to, path, expected] of [
    ['/old', '/new', '/old', '|/new||/old'],
    ['/old', '/new', '/old/x', '|/old/x||/old/x'],
    ['/old/*', '/new/$1', '/old/a/b?q=1', '|/new/a/b|q=1|/old/a/b?q=1'],
    ['/old/*', '/new/$1', '/old', '|/old||/old'],
    ['/*', '/index.php?path=$1', '/a%20b%26c', '|/index.php|path=a%20b%26c|/a%20b%26c'],
    ['/*', '/index.php?path=$1', '/a?b=c', '|/index.php|path=a&b=c|/a?b=c'],
    [/^\/users\/(?<id>\d+)$/, '/user?id=$<id>', '/users/7', '|/user|id=7|/users/7'],
    [/^\/(.)(.)/, '/$2$1$$', '/abc', '|/ba$||/abc'],
    [/\/x\//, '/y', '/a/x/b', '|/y||/a/x/b'],
    ['/a.b', '/no', '/axb', '|/axb||/axb'],
    ['/caf\u00e9', '/th\u00e9', '/caf%C3%A9', '|/th\u00c3\u00a9||/caf%C3%A9'],
    // A question mark from a path does not begin the query.
    ['/old/*', '/new/$1', '/old/a%3Fb', '|/new/a?b||/old/a%3Fb'],
    ['/*', '$1', '/x', '|/x||/x'],
    ['/q', '/r?was=$query', '/q?a=1', '|/r|was=a=1|/q?a=1'],
  ] as const) {
    it(`rewrites ${path} by ${from} → ${to}`, async () => {
      assert.equal(await rewritten(rewrite(from, to), path), expected)
    })
  }

  it("drops the request's query if the option says so", async () => {
    assert.equal(await rewritten(rewrite('/old', '/new?a=1', { query: 'drop' }), '/old?b=2'), '|/new|a=1|/old?b=2')
    assert.equal(await rewritten(rewrite('/old', '/new', { query: 'drop' }), '/old?b=2'), '|/new||/old?b=2')
  })

  it('calls a function, which may leave the request unchanged', async () => {
    const middleware = rewrite(({ PATH_INFO }) =>
      PATH_INFO === '/keep' ? undefined : { path: PATH_INFO.toUpperCase(), query: 'x=1' },
    )
    assert.equal(await rewritten(middleware, '/keep?q'), '|/keep|q|/keep?q')
    assert.equal(await rewritten(middleware, '/abc?q'), '|/ABC|x=1|/abc?q')
  })

  it('refuses an invalid path from a function', async () => {
    for (const path of ['relative', '/\u0416', '/a\0b']) {
      assert.equal((await call(rewrite(() => ({ path }))(where))).status, 500, path)
    }
  })

  it('strips a prefix in whole segments, and does not change SCRIPT_NAME', async () => {
    const middleware = rewrite.stripPrefix('/api')
    assert.equal(await rewritten(middleware, '/api/x'), '|/x||/api/x')
    assert.equal(await rewritten(middleware, '/api'), '|/||/api')
    assert.equal(await rewritten(middleware, '/apix'), '|/apix||/apix')
  })

  it('keeps no state between requests although the expression is global', async () => {
    const middleware = rewrite(/\/a/g, '/b')
    for (let time = 0; time < 3; time++) assert.equal(await rewritten(middleware, '/a'), '|/b||/a')
  })

  it('is visible to a Node listener in req.url, encoded', async () => {
    const application = fromNode((req, res) => res.end(req.url))
    const middleware = rewrite('/old/*', '/new/$1')
    assert.equal((await call(middleware(application), { path: '/old/a%20b%3F?q=%2F' })).text, '/new/a%20b%3F?q=%2F')
  })

  it('rewrites the path below a mount', async () => {
    const application = mount({ '/app': compose(rewrite('/old', '/new'), where) })
    assert.equal((await call(application, { path: '/app/old' })).text, '/app|/new||/app/old')
  })

  it('refuses invalid patterns, templates and options', () => {
    const loose = rewrite as (...given: unknown[]) => Middleware
    assert.throws(() => loose('old', '/new'), /the pattern is "old", expected a path/)
    assert.throws(() => loose('/a*b', '/new'), /"\*" before its end/)
    assert.throws(() => loose('/a%20b', '/new'), /write it without escapes/)
    assert.throws(() => loose('/old', 'new'), /expected one that begins with "\/"/)
    assert.throws(() => loose('/old', '/$uri'), /names \$uri, which does not exist; expected \$0 to \$9/)
    assert.throws(() => loose('/old', '/$request_uri'), /cannot be used in a path/)
    assert.throws(() => loose('/old', '/new', { query: 'no' }), /the option query is "no", expected 'keep' or 'drop'/)
    assert.throws(() => rewrite.stripPrefix('/api/'), /without a slash at its end/)
    assert.throws(() => rewrite.stripPrefix('api'), /expected a decoded path without a slash at its end, got /)
  })

  for (const place of places) {
    it(`rewrites ${place.name}`, async () => {
      await using placed = await place.put(rewrite('/old/*', '/new/$1?a=1'), where)
      const { text } = await call(placed.application, { path: '/old/x?b=2' })
      assert.equal(text, '|/new/x|a=1&b=2|/old/x?b=2')
    })
  }
})
