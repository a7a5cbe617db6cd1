import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { fromNode } from '../../../interfaces/node/from-node.ts'
import { type MountOptions, mount } from '../../../middleware/routing/mount.ts'
import { MountTable } from '../../../middleware/routing/mount-table.ts'
import { PrefixTree } from '../../../middleware/routing/prefix-tree.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../../protocol/contract/call.ts'
import { run } from '../../support/exchange.ts'
import { places } from '../../support/places.ts'

/** Answers with its name, and with its SCRIPT_NAME and PATH_INFO. */
function at(name: string): Application {
  return (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return [Buffer.from(`${name} [${environ.SCRIPT_NAME}] [${environ.PATH_INFO}]`, 'latin1')]
  }
}

/** A mount of applications that are named like their keys. */
function mounted(keys: readonly string[], options?: MountOptions): Application {
  return mount(Object.fromEntries(keys.map((key) => [key, at(key)])), options)
}

async function asked(application: Application, path: string, host?: string, more: CallRequest = {}): Promise<string> {
  const headers = host === undefined ? {} : { Host: host }
  const { status, body, header } = await call(application, { path, headers, ...more })
  const location = header('location')
  return location === undefined ? (status === 200 ? body.toString('latin1') : String(status)) : `${status} ${location}`
}

describe('mount', () => {
  const site = mounted(['/', '/static', '/static/images', '/stat', '/docs/', '/a b', '/caf\u00e9'])
  for (const [path, expected] of [
    ['/', '/ [] [/]'],
    ['/static', '/static [/static] []'],
    ['/static/', '/static [/static] [/]'],
    ['/static/x', '/static [/static] [/x]'],
    ['/staticx', '/ [] [/staticx]'],
    ['/stat', '/stat [/stat] []'],
    ['/stati', '/ [] [/stati]'],
    ['/st', '/ [] [/st]'],
    ['/static/images/a', '/static/images [/static/images] [/a]'],
    ['/static/imagesa', '/static [/static] [/imagesa]'],
    ['/Static', '/ [] [/Static]'],
    ['/static?/docs', '/static [/static] []'],
    // Paths are compared decoded: the application sees what was compared.
    ['/%73tatic/x', '/static [/static] [/x]'],
    ['/static%2Fx', '/static [/static] [/x]'],
    ['/static%2Fimages%2Fa%2Fb', '/static/images [/static/images] [/a/b]'],
    ['/static%252Fx', '/ [] [/static%2Fx]'],
    ['/a%20b/c', '/a b [/a b] [/c]'],
    ['/caf%C3%A9/x', '/caf\u00e9 [/caf\u00c3\u00a9] [/x]'],
    // Repeated slashes do not lead to another application.
    ['//static/x', '/static [/static] [/x]'],
    ['///static//images///x', '/static/images [/static/images] [///x]'],
    ['/static//x', '/static [/static] [//x]'],
    ['/static//', '/static [/static] [//]'],
    ['/x//static', '/ [] [/x//static]'],
    ['//', '/ [] [//]'],
    ['/%2Fstatic/x', '/static [/static] [/x]'],
    // Dots do not either.
    ['/x/../static', '400'],
    ['/static/..', '400'],
    ['/./static', '400'],
    ['/static/%2E%2e/x', '400'],
    ['/static/..%2Fx', '400'],
    ['/.', '400'],
    ['/static/.hidden', '/static [/static] [/.hidden]'],
    ['/...', '/ [] [/...]'],
    ['/x..', '/ [] [/x..]'],
    // A directory.
    ['/docs', '308 /docs/'],
    ['/docs?a=b', '308 /docs/?a=b'],
    ['//docs', '308 /docs/'],
    ['/docs/', '/docs/ [/docs] [/]'],
    ['/docs/x', '/docs/ [/docs] [/x]'],
  ] as const) {
    it(`sends ${path} to ${expected}`, async () => {
      assert.equal(await asked(site, path), expected)
    })
  }

  it('answers 404, or with the notFound application, where nothing is mounted', async () => {
    assert.equal(await asked(mounted(['/a']), '/b'), '404')
    assert.equal(await asked(mounted(['/a']), '/'), '404')
    assert.equal(await asked(mounted(['/a'], { notFound: at('else') }), '/b'), 'else [] [/b]')
    assert.equal(await asked(mounted(['/a']), '*', undefined, { method: 'OPTIONS' }), '404')
  })

  it('passes OPTIONS * to the application at the root', async () => {
    assert.equal(await asked(mounted(['/', '/a']), '*', undefined, { method: 'OPTIONS' }), '/ [] []')
  })

  it('can be mounted, and removes a prefix at each level', async () => {
    const inner = mounted(['/', '/deep/er', '/dir/'])
    const outer = mount({ '/a': inner, '/b': mount({ '/c': inner }), '/d/': inner })
    assert.equal(await asked(outer, '/a'), '/ [/a] []')
    assert.equal(await asked(outer, '/a/x'), '/ [/a] [/x]')
    assert.equal(await asked(outer, '/b/c/deep/er/x'), '/deep/er [/b/c/deep/er] [/x]')
    assert.equal(await asked(outer, '/b/c/dir?q'), '308 /b/c/dir/?q')
    assert.equal(await asked(outer, '/b'), '404')
    assert.equal(await asked(outer, '/d'), '308 /d/')
  })

  it('redirects a directory with its path encoded, and never to another host', async () => {
    const directory = mounted(['/a b/', '/caf\u00e9/'])
    assert.equal(await asked(directory, '/a%20b'), '308 /a%20b/')
    assert.equal(await asked(directory, '/caf%c3%a9'), '308 /caf%C3%A9/')
    const environ = { SCRIPT_NAME: '//evil.example\r\nX: y' }
    assert.equal(await asked(directory, '/a%20b', undefined, { environ }), '308 /evil.example%0D%0AX:%20y/a%20b/')
  })

  it('keeps a POST to a directory a POST, and closes the unread body', async () => {
    const { status, header } = await call(mounted(['/d/']), { method: 'POST', path: '/d', body: 'unread' })
    assert.deepEqual([status, header('location')], [308, '/d/'])
  })

  describe('by host', () => {
    const hosts = mounted([
      '/',
      '/any',
      'Admin.example.com/',
      '*.example.com/api',
      '*.b.example.com/api',
      'example.com./x',
      '[0:0::1]/six',
      'b\u00fccher.example/',
      '127.0.0.1/four',
      'my_service/compose',
    ])
    for (const [path, host, expected] of [
      ['/x', 'admin.example.com', 'Admin.example.com/ [] [/x]'],
      ['/any', 'admin.example.com', 'Admin.example.com/ [] [/any]'],
      ['/api', 'admin.example.com', 'Admin.example.com/ [] [/api]'],
      ['/x', 'ADMIN.Example.COM:8443', 'Admin.example.com/ [] [/x]'],
      ['/x', 'admin.example.com.', 'Admin.example.com/ [] [/x]'],
      ['/x', 'admin.example.com.:80', 'Admin.example.com/ [] [/x]'],
      ['/x', 'notadmin.example.com', '/ [] [/x]'],
      ['/x', 'admin.example.com.evil.test', '/ [] [/x]'],
      ['/api/v1', 'www.example.com', '*.example.com/api [/api] [/v1]'],
      ['/api/v1', 'a.b.example.com', '*.b.example.com/api [/api] [/v1]'],
      ['/api/v1', 'b.example.com', '*.example.com/api [/api] [/v1]'],
      ['/api/v1', 'example.com', '/ [] [/api/v1]'],
      ['/any/v1', 'www.example.com', '/any [/any] [/v1]'],
      ['/x', 'example.com', 'example.com./x [/x] []'],
      ['/any', 'example.com', '/any [/any] []'],
      ['/six', '[::1]:8080', '[0:0::1]/six [/six] []'],
      ['/six', '[0::0001]', '[0:0::1]/six [/six] []'],
      ['/six', '[::2]', '/ [] [/six]'],
      ['/x', 'xn--bcher-kva.example', 'b\u00fccher.example/ [] [/x]'],
      ['/four/x', '127.0.0.1:8000', '127.0.0.1/four [/four] [/x]'],
      ['/compose', 'my_service:8000', 'my_service/compose [/compose] []'],
      ['/x', 'unknown.test', '/ [] [/x]'],
      ['http://admin.example.com/x', 'www.example.com', '/ [] [/x]'],
    ] as const) {
      it(`sends ${path} of ${host} to ${expected}`, async () => {
        assert.equal(await asked(hosts, path, host), expected)
      })
    }

    it('uses SERVER_NAME without Host, and answers 404 for an unknown host', async () => {
      const only = mounted(['localhost/'])
      assert.equal(await asked(only, '/', undefined, { environ: { HTTP_HOST: undefined } }), 'localhost/ [] [/]')
      assert.equal(await asked(only, '/', 'elsewhere'), '404')
      assert.equal(await asked(only, '/', ''), '404')
    })

    it('caches a limited number of hosts, and no overlong host', () => {
      const mounts = new MountTable<string>()
      mounts.add('*.example.com/', 'named')
      mounts.add('/', 'any')
      let most = 0
      for (let count = 0; count < 2_500; count++) {
        assert.equal(mounts.find(`h${count}.example.com`, '/')?.value, 'named')
        most = Math.max(most, mounts.cachedHosts)
      }
      assert.equal(most, 1_000)
      const before = mounts.cachedHosts
      assert.equal(mounts.find(`${'a'.repeat(300)}.example.com`, '/')?.value, 'any')
      assert.equal(mounts.cachedHosts, before)
    })
  })

  it('shows a Node listener its own part of the path, as it was sent', async () => {
    const application = mount({ '/node': fromNode((req, res) => void res.end(req.url)) })
    for (const [path, url] of [
      ['/node', '/'],
      ['/node?q=%2F', '/?q=%2F'],
      ['/node/a%2Fb?q', '/a%2Fb?q'],
      ['/node%2Fa', '/a'],
      ['//node//a', '//a'],
    ] as const) {
      assert.equal((await call(application, { path })).text, url, path)
    }
  })

  it('does not change REQUEST_URI and the rest of the environ', async () => {
    let before: object = {}
    let after: object = {}
    const note: Application = (environ, startResponse) => {
      after = { ...environ }
      startResponse('200 OK', [])
      return []
    }
    const application = mount({ '/a': note })
    await call(
      (environ, startResponse) => {
        before = { ...environ }
        return application(environ, startResponse)
      },
      { path: '/a/%62?c=d' },
    )
    assert.deepEqual(after, { ...before, SCRIPT_NAME: '/a', PATH_INFO: '/b' })
  })

  it("returns the application's own body object, so that an array is sent in one piece", () => {
    const { sink } = run(mount({ '/': at('x') }))
    assert.deepEqual(sink.calls, ['head 200 8 end'])
  })

  it('passes an abort to the application, and closes its body once', async () => {
    let closed = 0
    const client = new AbortController()
    const application = mount({
      '/a': (environ, startResponse) => {
        startResponse('200 OK', [])
        return {
          async *[Symbol.asyncIterator]() {
            yield Buffer.from('x')
            client.abort()
            assert.equal(environ.gantry.signal.aborted, true)
          },
          close: () => void closed++,
        }
      },
    })
    const { aborted } = await call(application, { path: '/a', signal: client.signal })
    assert.equal(aborted?.code, 'CLIENT_GONE')
    assert.equal(closed, 1)
  })

  it('answers 500 for an application that throws or rejects', async () => {
    const application = mount({
      '/throws': () => {
        throw new Error('broken')
      },
      '/rejects': () => Promise.reject(new Error('broken')),
    })
    assert.equal(await asked(application, '/throws'), '500')
    assert.equal(await asked(application, '/rejects'), '500')
  })

  it('refuses a table with an invalid entry', () => {
    const refused = (table: unknown): (() => unknown) => {
      return () => mount(table as Record<string, Application>)
    }
    const app = at('x')
    assert.throws(refused({}), /empty table/)
    assert.throws(refused(undefined), /expects an object of applications by key/)
    assert.throws(refused([app]), /expects an object of applications by key/)
    assert.throws(
      refused({ static: app }),
      /"static" is not a valid mount key: .* a path begins with one \("\/static"\)/,
    )
    assert.throws(refused({ '/a': app, '/a/': app }), /"\/a\/" is not a valid mount key: another key is equivalent/)
    assert.throws(refused({ 'A.example/': app, 'a.example./': app }), /another key is equivalent/)
    assert.throws(refused({ '/': undefined }), /the application mounted at "\/" is undefined, expected a function/)
    assert.throws(refused({ '/': Promise.resolve(app) }), /a promise: await it first/)
    assert.throws(refused({ '/a//b': app }), /an empty segment/)
    assert.throws(refused({ '//': app }), /an empty segment/)
    assert.throws(refused({ '/a/../b': app }), /an empty segment, "\." or "\.\."/)
    assert.throws(refused({ '/a%20b': app }), /write it without escapes/)
    assert.throws(refused({ '/a?b': app }), /"\?" and "#"/)
    assert.throws(refused({ 'example.com:80/': app }), /has a scheme or a port/)
    assert.throws(refused({ 'https://example.com/': app }), /has a scheme or a port/)
    assert.throws(refused({ 'a.*.com/': app }), /"\*" stands only for the first labels/)
    assert.throws(refused({ '*/': app }), /a key for any host is a path alone/)
    assert.throws(refused({ '[::x]/': app }), /not an IPv6 address/)
    assert.throws(refused({ 'a b/': app }), /not a host name/)
    assert.throws(
      () => mount({ '/': app }, { notFound: 404 as unknown as Application }),
      /the option notFound is 404, expected an application/,
    )
  })

  for (const place of places) {
    it(`finds, redirects and refuses ${place.name}`, async () => {
      await using placed = await place.put(
        (application) => mount({ '/a': application, '/d/': application, 'h.test/': application }),
        at('it'),
      )
      assert.equal(await asked(placed.application, '/a/b'), 'it [/a] [/b]')
      assert.equal(await asked(placed.application, '/d'), '308 /d/')
      assert.equal(await asked(placed.application, '/x'), '404')
      assert.equal(await asked(placed.application, '/x', 'h.test'), 'it [] [/x]')
      assert.equal(await asked(placed.application, '/a/../d'), '400')
      assert.equal((await call(placed.application, { method: 'HEAD', path: '/a' })).text, '')
    })
  }
})

describe('the prefix tree', () => {
  const segment = fc.constantFrom('a', 'b', 'ab', 'abc', 'ba', 'c')
  const prefix = fc.array(segment, { maxLength: 4 }).map((parts) => parts.map((part) => `/${part}`).join(''))

  it('finds the same as a search from the longest prefix to the shortest', () => {
    fc.assert(
      fc.property(fc.uniqueArray(prefix, { maxLength: 30 }), fc.array(prefix, { maxLength: 20 }), (prefixes, paths) => {
        const tree = new PrefixTree<string>()
        for (const one of prefixes) assert.equal(tree.add(one, one), true)
        for (const one of prefixes) assert.equal(tree.add(one, one), false)
        const longestFirst = prefixes.toSorted((one, other) => other.length - one.length)
        for (const path of [...paths, ...paths.map((one) => `${one}/`), 'a', '*']) {
          const expected = longestFirst.find((one) => path === one || path.startsWith(`${one}/`))
          assert.equal(tree.find(path), expected, path)
        }
      }),
    )
  })
})
