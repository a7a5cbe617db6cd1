import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { mount } from '../../../middleware/routing/mount.ts'
import { type Redirect, redirect } from '../../../middleware/routing/redirect.ts'
import type { Application, Middleware } from '../../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../../protocol/contract/call.ts'
import { places } from '../../support/places.ts'

const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

/** Status and Location. */
async function answer(application: Application, path: string, request: CallRequest = {}): Promise<string> {
  const { status, header } = await call(application, { ...request, path })
  return `${status} ${header('location') ?? ''}`.trim()
}

describe('redirect', () => {
  for (const [from, to, path, expected] of [
    ['/old', '/new', '/old', '307 /new'],
    ['/old', '/new', '/other', '200'],
    ['/old/*', '/new/$1', '/old/a%20b', '307 /new/a%20b'],
    ['/old/*', 'https://www.example.com/$1', '/old/x?q=1', '307 https://www.example.com/x?q=1'],
    ['/old', '/new?a=1#part', '/old?b=2', '307 /new?a=1&b=2#part'],
    ['/find/*', '/search?q=$1', '/find/a%26b%3Dc%23d', '307 /search?q=a%26b%3Dc%23d'],
    ['/*', 'https://$host$request_uri', '/a%2Fb?q', '307 https://localhost/a%2Fb?q'],
    ['/*', '$scheme://www.$host$path', '/a%20b?q', '307 http://www.localhost/a%20b?q'],
    [/^\/u\/(?<id>\d+)$/, '/users/$<id>', '/u/7', '307 /users/7'],
    ['/old', '/caf\u00e9 bar', '/old', '307 /caf%C3%A9%20bar'],
    ['/was', '/now?query=$query', '/was?a=b', '307 /now?query=a=b'],
  ] as const) {
    it(`answers ${path} by ${from} → ${to}`, async () => {
      assert.equal(await answer(redirect(from, to)(hello), path), expected)
    })
  }

  it('has the status of its option, for any method', async () => {
    for (const status of [301, 302, 303, 307, 308] as const) {
      const application = redirect('/old', '/new', { status })(hello)
      assert.equal(await answer(application, '/old', { method: 'POST', body: 'x' }), `${status} /new`)
    }
  })

  it('drops the query if the option says so', async () => {
    assert.equal(await answer(redirect('/old', '/new', { query: 'drop' })(hello), '/old?a'), '307 /new')
  })

  it('calls a function, which may let the request pass', async () => {
    const application = redirect(/^\/(.*)/, ([, name]) => (name === 'keep' ? undefined : `https://${name}.example/`))(
      hello,
    )
    assert.equal(await answer(application, '/keep'), '200')
    assert.equal(await answer(application, '/de'), '307 https://de.example/')
  })

  it('has an application form for a mount', async () => {
    const application = mount({ '/old': redirect.to('/new$path', { status: 301 }), '/': hello })
    assert.equal(await answer(application, '/old/a?b'), '301 /new/a?b')
    assert.equal(await answer(application, '/older'), '200')
  })

  it('sends a body with the address, and none for HEAD', async () => {
    const application = redirect.to('/new')
    const { text, header } = await call(application)
    assert.equal(text, '/new\n')
    assert.equal(header('content-type'), 'text/plain; charset=utf-8')
    assert.equal((await call(application, { method: 'HEAD' })).text, '')
  })

  describe('never leads to a host that the request names', () => {
    for (const [from, to] of [
      [/^(.*)$/s, '$1'],
      [/^\/(.*)$/s, '/$1'],
      ['/*', '$path'],
      ['/*', '$request_uri'],
    ] as const) {
      it(`by ${from} → ${to}`, async () => {
        for (const path of [
          '//evil.example',
          '///evil.example',
          '/%2Fevil.example',
          '/%5Cevil.example',
          '/\\evil.example',
        ]) {
          const location = (await call(redirect(from, to)(hello), { path })).header('location')!
          assert.equal(new URL(location, 'http://here.example/').host, 'here.example', `${path} → ${location}`)
        }
      })
    }

    it('by a longer name, or after an at sign', async () => {
      const bare = redirect(/^\/(.*)/, 'https://www.example.com$1')(hello)
      assert.equal(await answer(bare, '/.evil.example'), '307 https://www.example.com/.evil.example')
      assert.equal(await answer(bare, '/@evil.example'), '307 https://www.example.com/@evil.example')
    })

    it('by an invalid Host', async () => {
      const application = redirect.https()(hello)
      const environ = { HTTP_HOST: 'evil.example/@here.example' }
      assert.equal((await call(application, { environ })).status, 400)
      assert.equal((await call(redirect.to('https://$host/x'), { environ })).status, 400)
    })

    it('and never ends a header, whatever the path contains', async () => {
      const application = redirect(/^([\s\S]*)$/, '/x$1?y=$1')(hello)
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), async (bytes) => {
          const environ = { PATH_INFO: `/${Buffer.from(bytes).toString('latin1')}` }
          const location = (await call(application, { environ })).header('location')!
          assert.match(location, /^\/x[!-~]*\?y=[!-~]*$/)
          const url = new URL(location, 'http://here.example')
          assert.equal(url.host, 'here.example')
          assert.equal([...url.searchParams.keys()].join(), 'y')
        }),
        { numRuns: 200 },
      )
    })

    it('by a function', async () => {
      for (const [given, expected] of [
        ['//evil.example', '307 /evil.example'],
        ['/\\evil.example', '307 /%5Cevil.example'],
        ['/a\r\nSet-Cookie: b=c', '307 /a%0D%0ASet-Cookie:%20b=c'],
        ['javascript:alert(1)', '500'],
        ['https:///x', '500'],
      ] as const) {
        assert.equal(await answer(redirect('/*', () => given)(hello), '/'), expected)
      }
    })
  })

  describe('to HTTPS', () => {
    const application = redirect.https()(hello)

    it('keeps host, path and query, and drops the port', async () => {
      const request = { headers: { Host: 'Example.com:8080' } }
      assert.equal(await answer(application, '/a%20b?c=d', request), '308 https://example.com/a%20b?c=d')
      assert.equal(await answer(application, 'http://example.com:8080/a', request), '308 https://example.com/a')
    })

    it('passes requests that use HTTPS, here or at a front-end', async () => {
      assert.equal(await answer(application, '/', { scheme: 'https' }), '200')
      assert.equal(await answer(application, '/', { headers: { 'X-Forwarded-Proto': 'https, http' } }), '200')
      assert.equal(
        (await answer(application, '/', { headers: { 'X-Forwarded-Proto': 'http, https' } })).slice(0, 3),
        '308',
      )
    })

    it('uses the host of its option', async () => {
      const own = redirect.https({ host: 'www.example.com:8443', status: 301 })(hello)
      assert.equal(await answer(own, '/x'), '301 https://www.example.com:8443/x')
    })

    it('accepts an IPv6 host', async () => {
      assert.equal(await answer(application, '/', { headers: { Host: '[::1]:8080' } }), '308 https://[::1]/')
    })

    it('answers OPTIONS * too', async () => {
      assert.equal(await answer(application, '*', { method: 'OPTIONS' }), '308 https://localhost/')
    })
  })

  it('refuses invalid patterns, targets and options', () => {
    const loose = redirect as unknown as (...given: unknown[]) => Middleware
    for (const to of [
      'new',
      '//host/new',
      '/\\host',
      'ftp://host/',
      'https://',
      'https://$1/',
      'https://$hostname/',
      7,
    ]) {
      assert.throws(() => loose('/old', to), /the target is .*, expected a path/, String(to))
    }
    assert.throws(() => loose('/old', '/new/$old'), /names \$old, which does not exist/)
    assert.throws(
      () => loose('/old', '/new', { status: 304 }),
      /the option status is 304, expected 301, 302, 303, 307 or 308/,
    )
    const { https, to }: Redirect = redirect
    assert.throws(() => https({ host: 'https://example.com' }), /the option host is "https:\/\/example.com"/)
    assert.throws(() => to(undefined as unknown as string), /expected a path or a URL, got /)
  })

  for (const place of places) {
    it(`redirects ${place.name}, and passes other requests`, async () => {
      await using placed = await place.put(redirect('/old/*', '/new/$1'), hello)
      assert.equal(await answer(placed.application, '/old/x', { method: 'POST', body: 'unread' }), '307 /new/x')
      assert.equal(await answer(placed.application, '/new/x'), '200')
    })
  }
})
