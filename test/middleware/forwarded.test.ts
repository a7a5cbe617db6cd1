import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { forwarded, requestIdFrom } from '../../middleware/forwarded.ts'
import { TrustedPeers } from '../../protocol/client/peers.ts'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import { places } from '../support/places.ts'

interface Asked {
  from?: string
  scheme?: 'http' | 'https'
  headers?: string[]
  trusted?: string[]
  fields?: string[]
}

/** The environ that the application gets. */
function seen({
  from = '192.0.2.1',
  scheme = 'http',
  headers = ['Host', 'example.test'],
  trusted = [],
  fields,
}: Asked): Environ {
  const environ = environFromHttp(
    { method: 'GET', target: '/', minor: 1, headers, upgrade: false },
    { remoteAddress: from, remotePort: '5000', serverName: 'here', serverPort: '80', scheme },
    { multithread: true, multiprocess: true, runOnce: false },
  )
  let found: Environ | undefined
  const application: Application = (given, startResponse) => {
    found = given
    startResponse('200 OK', [])
    return []
  }
  forwarded({ trustedPeers: new TrustedPeers(trusted), fields })(application)(environ, () => async () => {})
  assert.ok(found)
  return found
}

/** The header lines with these names, as a container gets them. */
function lines(environ: Environ, ...names: string[]): string[] {
  return environ.gantry.rawHeaders.filter(([name]) => names.includes(name.toLowerCase())).map((line) => line.join(': '))
}

suite('an untrusted client', () => {
  test('is described in the fields', () => {
    const environ = seen({})
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '192.0.2.1')
    assert.equal(environ['HTTP_X_FORWARDED_PROTO'], 'http')
    assert.equal(environ['HTTP_X_FORWARDED_HOST'], 'example.test')
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;host=example.test;proto=http')
  })

  test('has its own fields ignored', () => {
    const environ = seen({
      headers: [
        'Host',
        'example.test',
        'x-forwarded-for',
        '10.0.0.1',
        'X-Forwarded-For',
        '10.0.0.2',
        'X-Forwarded-Proto',
        'https',
        'X-Forwarded-Host',
        'bank.test',
        'Forwarded',
        'for=10.0.0.1;proto=https',
      ],
    })
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '192.0.2.1')
    assert.equal(environ['HTTP_X_FORWARDED_PROTO'], 'http')
    assert.equal(environ['HTTP_X_FORWARDED_HOST'], 'example.test')
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;host=example.test;proto=http')
  })

  test('has its own header lines removed', () => {
    const environ = seen({
      headers: ['Host', 'example.test', 'x-forwarded-for', '10.0.0.1', 'X-FORWARDED-FOR', '10.0.0.2', 'Accept', '*/*'],
    })
    assert.deepEqual(lines(environ, 'x-forwarded-for'), ['X-Forwarded-For: 192.0.2.1'])
    assert.deepEqual(lines(environ, 'host', 'accept'), ['Host: example.test', 'Accept: */*'])
  })

  for (const name of ['X-Forwarded-Port', 'X-Forwarded-Prefix', 'X-Forwarded-Server', 'X-Forwarded-Ssl', 'X-Real-IP']) {
    test(`cannot set ${name}`, () => {
      const environ = seen({ headers: ['Host', 'example.test', name.toLowerCase(), 'evil'] })
      assert.deepEqual(lines(environ, name.toLowerCase()), [])
      assert.equal(environ[`HTTP_${name.toUpperCase().replaceAll('-', '_')}`], undefined)
    })
  }

  test('with an IPv6 address is quoted in brackets in Forwarded alone', () => {
    const environ = seen({ from: '2001:db8::1' })
    assert.equal(environ['HTTP_FORWARDED'], 'for="[2001:db8::1]";host=example.test;proto=http')
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '2001:db8::1')
  })

  test('at a dual-stack socket has its plain IPv4 address', () => {
    const environ = seen({ from: '::ffff:192.0.2.7' })
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.7;host=example.test;proto=http')
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '192.0.2.7')
  })

  test('with a port in Host is quoted', () => {
    const environ = seen({ headers: ['Host', 'example.test:8080'], scheme: 'https' })
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;host="example.test:8080";proto=https')
  })

  test('cannot break out of the quotes of Forwarded', () => {
    const environ = seen({ headers: ['Host', 'a";for=10.0.0.1;x="\\'] })
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;host="a\\";for=10.0.0.1;x=\\"\\\\";proto=http')
  })

  test('without Host gets no X-Forwarded-Host, whatever it sent', () => {
    const environ = seen({ headers: ['X-Forwarded-Host', 'bank.test'] })
    assert.equal(environ['HTTP_X_FORWARDED_HOST'], undefined)
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;proto=http')
  })

  test('at a Unix socket is unknown', () => {
    const environ = seen({ from: 'unix:', headers: ['Host', 'example.test', 'X-Forwarded-For', '10.0.0.1'] })
    assert.equal(environ['HTTP_FORWARDED'], 'for=unknown;host=example.test;proto=http')
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], undefined)
  })
})

suite('a trusted proxy', () => {
  const trusted = ['192.0.2.0/24', '2001:db8::/32', 'unix']

  test("is trusted about the client, and the application sees only the client's address", () => {
    const environ = seen({
      trusted,
      headers: [
        'Host',
        'inner.test',
        'X-Forwarded-For',
        '6.6.6.6, 203.0.113.9, 192.0.2.7',
        'X-Forwarded-Proto',
        'https',
      ],
    })
    assert.equal(environ.REMOTE_ADDR, '203.0.113.9')
    assert.equal(environ['wsgi.url_scheme'], 'https')
    assert.equal(environ.HTTPS, 'on')
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '203.0.113.9')
    assert.equal(environ['HTTP_X_FORWARDED_PROTO'], 'https')
    assert.equal(environ['HTTP_FORWARDED'], 'for=203.0.113.9;host=inner.test;proto=https')
  })

  test('has several lines of a field joined into one', () => {
    const environ = seen({
      trusted,
      headers: ['Host', 'a', 'X-Forwarded-For', '1.1.1.1', 'X-Forwarded-For', '2.2.2.2'],
    })
    assert.deepEqual(lines(environ, 'x-forwarded-for'), ['X-Forwarded-For: 2.2.2.2'])
  })

  test('is trusted about the host only in a field that is listed', () => {
    const headers = ['Host', 'inner.test', 'X-Forwarded-Host', 'outer.test']
    const host = (environ: Environ): unknown[] => [environ['HTTP_HOST'], environ['HTTP_X_FORWARDED_HOST']]
    assert.deepEqual(host(seen({ trusted, headers })), ['inner.test', 'inner.test'])
    assert.deepEqual(host(seen({ trusted, headers, fields: ['X-Forwarded-Host'] })), ['outer.test', 'outer.test'])
  })

  test('that sends no fields is a client like others', () => {
    const environ = seen({ trusted })
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '192.0.2.1')
    assert.equal(environ['HTTP_X_FORWARDED_PROTO'], 'http')
    assert.equal(environ['HTTP_FORWARDED'], 'for=192.0.2.1;host=example.test;proto=http')
  })

  test('at a Unix socket is trusted', () => {
    const environ = seen({ trusted, from: 'unix:', headers: ['Host', 'a', 'X-Forwarded-For', '203.0.113.9'] })
    assert.equal(environ['HTTP_X_FORWARDED_FOR'], '203.0.113.9')
    assert.equal(environ['HTTP_FORWARDED'], 'for=203.0.113.9;host=a;proto=http')
  })

  test('is distinguished from its neighbours', () => {
    assert.equal(
      seen({ trusted, from: '192.0.3.1', headers: ['Host', 'a', 'X-Forwarded-For', '6.6.6.6'] })[
        'HTTP_X_FORWARDED_FOR'
      ],
      '192.0.3.1',
    )
  })
})

suite('a request’s id', () => {
  const from = requestIdFrom(new TrustedPeers(['192.0.2.0/24']))
  const ask = (id: string | string[], remoteAddress: string = '192.0.2.1'): string | undefined => {
    const headers = ['Host', 'a', ...[id].flat().flatMap((value) => ['x-request-ID', value])]
    return from({ headers }, { remoteAddress })
  }

  test('is accepted from a trusted proxy', () => {
    assert.equal(ask('abc-DEF_1.2'), 'abc-DEF_1.2')
  })

  test('is not accepted from an untrusted client', () => {
    assert.equal(ask('abc', '198.51.100.1'), undefined)
  })

  for (const [title, id] of [
    ['that is empty', ''],
    ['that is too long', 'a'.repeat(129)],
    ['with a space', 'a b'],
    ['with a line break', 'a\nb'],
    ['with markup', '<b>'],
    ['beyond ASCII', 'é'],
  ] as const) {
    test(`${title} is not accepted`, () => assert.equal(ask(id), undefined))
  }

  test('may be 128 characters long', () => {
    assert.equal(ask('a'.repeat(128)), 'a'.repeat(128))
  })

  test('that was sent twice is not accepted', () => {
    assert.equal(ask(['abc', 'def']), undefined)
  })

  test('replaces the id of an untrusted client for the application', () => {
    const environ = seen({ headers: ['Host', 'a', 'X-Request-Id', 'forged'] })
    assert.deepEqual(lines(environ, 'x-request-id'), [`X-Request-Id: ${environ.gantry.requestId}`])
    assert.notEqual(environ.gantry.requestId, 'forged')
  })
})

for (const place of places) {
  test(`keeps the contract ${place.name}, and shows the application the client's address`, async () => {
    await using placed = await place.put(
      forwarded({ trustedPeers: new TrustedPeers(['loopback']) }),
      (environ, start) => {
        start('200 OK', [['Content-Type', 'text/plain']])
        return [Buffer.from(String(environ['HTTP_X_FORWARDED_FOR']))]
      },
    )
    const headers = { 'X-Forwarded-For': '198.51.100.7' }
    assert.equal((await call(placed.application, { headers })).text, '198.51.100.7')
  })
}

test('peers may be ranges, and invalid peers are refused at once', async () => {
  const heard: unknown[] = []
  const application: Application = (environ, startResponse) => {
    heard.push(environ['HTTP_X_FORWARDED_FOR'])
    startResponse('204 No Content', [])
    return []
  }
  const headers = { 'X-Forwarded-For': '198.51.100.7' }
  for (const trustedPeers of [['10.0.0.0/8'], ['loopback']]) {
    await call(forwarded({ trustedPeers })(application), { headers, remoteAddress: '10.1.2.3' })
  }
  assert.deepEqual(heard, ['198.51.100.7', '10.1.2.3'])
  assert.throws(() => forwarded({ trustedPeers: 'loopback' as never }), /trustedPeers is "loopback", expected an array/)
  assert.throws(
    () => forwarded(undefined as never),
    /the options are undefined, expected an object with any of trustedPeers, fields/,
  )
  assert.throws(() => forwarded({ trustedPeers: ['near'] }), RangeError)
})
