/** The client of a request is resolved from its peer and its forwarded fields. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { TrustedPeers } from '../../../protocol/client/peers.ts'
import { ForwardedRules, HOPS_MAX, resolveClient } from '../../../protocol/client/resolve-client.ts'
import type { Environ } from '../../../protocol/contract/application.ts'
import { environFromHttp } from '../../../protocol/contract/environ.ts'

type Lines = readonly (readonly [name: string, value: string])[]

interface Asked {
  readonly peer?: string
  readonly scheme?: 'http' | 'https'
  /** Default: the two of `--forwarded-fields`. */
  readonly fields?: readonly string[] | undefined
}

const PEER = '10.0.0.1'
const TRUSTED = ['10.0.0.0/8', '2001:db8:10::/48']
const ALL = ['X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'Forwarded']

/** The environ after a gateway has resolved its client. */
function resolved(sent: Lines, { peer = PEER, scheme = 'http', fields }: Asked = {}): Environ {
  const environ = environFromHttp(
    { method: 'GET', target: '/', minor: 1, headers: [['Host', 'inner.test'], ...sent].flat(), upgrade: false },
    { remoteAddress: peer, remotePort: '5000', serverName: 'here', serverPort: '80', scheme },
    { multithread: true, multiprocess: true, runOnce: false },
  )
  resolveClient(environ, new ForwardedRules(new TrustedPeers(TRUSTED), fields))
  return environ
}

/** All header lines except Host. */
function linesOf(environ: Environ): string[] {
  return environ.gantry.rawHeaders.filter(([name]) => name !== 'Host').map((line) => line.join(': '))
}

function forwardedKeys(environ: Environ): string[] {
  return Object.keys(environ).filter((key) => /^HTTP_(?:X.)?(?:FORWARDED|REAL|SCHEME)/.test(key))
}

/** Every field that describes a client, in every spelling that an application could read. */
const FAMILY: Lines = [
  'X-Forwarded-For',
  'x-forwarded-for',
  'X_Forwarded_For',
  'X-Forwarded_For',
  'X.Forwarded.For',
  'X-Forwarded-Proto',
  'X-Forwarded-Protocol',
  'X-Forwarded-Scheme',
  'X-Forwarded-Host',
  'X-Forwarded-Port',
  'X-Forwarded-Prefix',
  'X-Forwarded-Server',
  'X-Forwarded-Ssl',
  'X-Forwarded-User',
  'X-Forwarded-Anything',
  'X-Forwarded',
  'Forwarded',
  'FORWARDED',
  'Forwarded-For',
  'X-Real-IP',
  'X_Real_IP',
  'X-Scheme',
].map((name) => [name, '6.6.6.6'] as const)

suite('forwarded fields of an untrusted peer', () => {
  for (const peer of ['203.0.113.5', '', 'unix:', '::ffff:203.0.113.5']) {
    test(`at ${peer || 'a closed socket'} do not reach the application`, () => {
      const environ = resolved([...FAMILY, ['Accept', '*/*']], { peer, fields: ALL })
      assert.deepEqual(linesOf(environ), ['Accept: */*'])
      assert.deepEqual(forwardedKeys(environ), [])
      assert.equal(environ.REMOTE_ADDR, peer)
      assert.equal(environ.REMOTE_PORT, '5000')
      assert.equal(environ['wsgi.url_scheme'], 'http')
    })
  }

  test('are passed on if the name only begins like a forwarded field', () => {
    const sent: Lines = [
      ['X-Forward', 'a'],
      ['X-Forwardeder-For', 'b'],
      ['Forwarder', 'd'],
      ['X-Real', 'e'],
      ['X-Requested-With', 'f'],
    ]
    assert.deepEqual(
      linesOf(resolved(sent)),
      sent.map((line) => line.join(': ')),
    )
  })
})

suite('forwarded fields of a trusted peer', () => {
  test('by default only two fields are trusted, and no other field reaches the application', () => {
    const environ = resolved([
      ...FAMILY.filter(([name]) => !/^x-forwarded-(?:for|proto)$/i.test(name)),
      ['X-Forwarded-For', '203.0.113.9'],
      ['X-Forwarded-Proto', 'https'],
    ])
    assert.deepEqual(linesOf(environ), ['X-Forwarded-For: 203.0.113.9', 'X-Forwarded-Proto: https'])
    assert.deepEqual(forwardedKeys(environ), ['HTTP_X_FORWARDED_FOR', 'HTTP_X_FORWARDED_PROTO'])
    assert.equal(environ.REMOTE_ADDR, '203.0.113.9')
    assert.equal(environ.REMOTE_PORT, '')
    assert.deepEqual(
      [environ['wsgi.url_scheme'], environ.REQUEST_SCHEME, environ.HTTPS, environ['HTTP_HOST']],
      ['https', 'https', 'on', 'inner.test'],
    )
  })

  test('Connection cannot remove a field', () => {
    const environ = resolved([
      ['Connection', 'X-Forwarded-For, close'],
      ['X-Forwarded-For', '203.0.113.9'],
    ])
    assert.equal(environ.REMOTE_ADDR, '203.0.113.9')
  })

  test('another spelling of a trusted name is dropped', () => {
    const environ = resolved([
      ['X_Forwarded_For', '6.6.6.6'],
      ['X.Forwarded.For', '6.6.6.6'],
      ['X-FORWARDED-FOR', '203.0.113.9'],
      ['X-Forwarded_For', '6.6.6.6'],
    ])
    assert.equal(environ.REMOTE_ADDR, '203.0.113.9')
    assert.deepEqual(linesOf(environ), ['X-FORWARDED-FOR: 203.0.113.9'])
  })

  test('a trusted field that is not used to resolve the client is passed on unchanged', () => {
    const sent: Lines = [
      ['X-Forwarded-Prefix', '/shop'],
      ['X-Forwarded-User', 'ann'],
    ]
    const environ = resolved(sent, { fields: ['X-Forwarded-Prefix'] })
    assert.deepEqual(linesOf(environ), ['X-Forwarded-Prefix: /shop'])
    assert.equal(environ['HTTP_X_FORWARDED_PREFIX'], '/shop')
    assert.equal(environ.REMOTE_ADDR, PEER)
  })

  test('the scheme becomes http if the client connected over http', () => {
    const environ = resolved([['X-Forwarded-Proto', 'http']], { scheme: 'https' })
    assert.deepEqual([environ['wsgi.url_scheme'], 'HTTPS' in environ], ['http', false])
  })

  test('X-Real-IP names the client if it is listed and X-Forwarded-For is absent', () => {
    const fields = ['X-Real-IP', 'X-Forwarded-For']
    const real = ['X-Real-IP', '203.0.113.9'] as const
    assert.equal(resolved([real], { fields }).REMOTE_ADDR, '203.0.113.9')
    const both = resolved([real, ['X-Forwarded-For', '203.0.113.8']], { fields })
    assert.deepEqual(linesOf(both).toSorted(), ['X-Forwarded-For: 203.0.113.8', 'X-Real-IP: 203.0.113.8'])
  })
})

suite('X-Forwarded-For', () => {
  const long = Array.from({ length: 5_000 }, () => '10.1.1.1').join(',')
  const cases: readonly (readonly [title: string, values: readonly string[], address: string, port?: string])[] = [
    ['an address', ['203.0.113.9'], '203.0.113.9'],
    ['the first from the right that is not trusted', ['6.6.6.6, 203.0.113.9, 10.0.0.3'], '203.0.113.9'],
    ['the leftmost where all are trusted', ['10.0.0.9, 10.0.0.3'], '10.0.0.9'],
    ['several lines, in order', ['6.6.6.6', '203.0.113.9', '10.0.0.3'], '203.0.113.9'],
    ['no blanks', ['6.6.6.6,203.0.113.9,10.0.0.3'], '203.0.113.9'],
    ['tabs and blanks', ['\t203.0.113.9 ,\t10.0.0.3 '], '203.0.113.9'],
    ['empty elements, which do not count', [', 203.0.113.9, , 10.0.0.3,,'], '203.0.113.9'],
    ['nothing', [''], PEER],
    ['commas alone', [', ,,'], PEER],
    ['an address with a port', ['203.0.113.9:4711'], '203.0.113.9', '4711'],
    ['a port beyond 65535', ['203.0.113.9:65536'], PEER],
    ['a port that is none', ['203.0.113.9:http'], PEER],
    ['an address with a colon and no port', ['203.0.113.9:'], PEER],
    ['IPv6', ['2001:db8::9'], '2001:db8::9'],
    ['IPv6 in another spelling', ['2001:DB8:0:0::9'], '2001:db8::9'],
    ['IPv6 in brackets', ['[2001:db8::9]'], '2001:db8::9'],
    ['IPv6 in brackets, with a port', ['[2001:db8::9]:4711'], '2001:db8::9', '4711'],
    ['IPv6 with a zone', ['fe80::9%eth0'], 'fe80::9'],
    ['IPv6 that ends in digits', ['2001:db8::1:8080'], '2001:db8::1:8080'],
    ['a trusted IPv6 proxy', ['203.0.113.9, 2001:db8:10::3'], '203.0.113.9'],
    ['IPv4 in IPv6', ['::ffff:203.0.113.9'], '203.0.113.9'],
    ['a trusted IPv4 proxy in IPv6', ['203.0.113.9, ::ffff:10.0.0.3'], '203.0.113.9'],
    ['unknown', ['unknown'], PEER],
    ['unknown behind a proxy, whose address counts', ['6.6.6.6, unknown, 10.0.0.3'], '10.0.0.3'],
    ['an obfuscated node', ['6.6.6.6, _hidden, 10.0.0.3'], '10.0.0.3'],
    ['a name', ['client.example'], PEER],
    ['garbage', ['<script>'], PEER],
    ['garbage left of the client, which nobody reads', ['"\\;<>, 203.0.113.9'], '203.0.113.9'],
    ['a quoted address', ['"203.0.113.9"'], PEER],
    ['IPv4 with a zero before a digit', ['203.0.113.09'], PEER],
    ['IPv4 in short', ['127.1'], PEER],
    ['IPv4 as a number', ['3405803785'], PEER],
    ['IPv4 in hexadecimal', ['0xcb.0.113.9'], PEER],
    ['a bracket that is left open', ['[2001:db8::9'], PEER],
    ['IPv4 in brackets', ['[203.0.113.9]'], PEER],
    ['two addresses without a comma', ['203.0.113.9 203.0.113.8'], PEER],
    ['60,000 colons', [':'.repeat(60_000)], PEER],
    ['60,000 commas', [`203.0.113.9${','.repeat(60_000)}`], '203.0.113.9'],
    ['5,000 trusted proxies', [`203.0.113.9,${long}`], '10.1.1.1'],
    ['as many trusted proxies as are walked', [`203.0.113.9${',10.1.1.1'.repeat(HOPS_MAX)}`], '203.0.113.9'],
    ['one trusted proxy more', [`203.0.113.9${',10.1.1.1'.repeat(HOPS_MAX + 1)}`], '10.1.1.1'],
    ['5,000 strangers', [Array.from({ length: 5_000 }, () => '6.6.6.6').join(', ')], '6.6.6.6'],
  ]
  for (const [title, values, address, port = ''] of cases) {
    test(`reads ${title}`, () => {
      const environ = resolved(values.map((value) => ['X-Forwarded-For', value]))
      assert.equal(environ.REMOTE_ADDR, address)
      assert.equal(environ.REMOTE_PORT, address === PEER ? '5000' : port)
      assert.deepEqual(linesOf(environ), address === PEER ? [] : [`X-Forwarded-For: ${address}`])
    })
  }
})

suite('X-Forwarded-Proto', () => {
  const cases: readonly (readonly [title: string, lines: Lines, scheme: string])[] = [
    ['https', [['X-Forwarded-Proto', 'https']], 'https'],
    ['capitals', [['X-Forwarded-Proto', ' HTTPS ']], 'https'],
    ['wss', [['X-Forwarded-Proto', 'wss']], 'https'],
    ['ws', [['X-Forwarded-Proto', 'ws']], 'http'],
    ['an unknown scheme', [['X-Forwarded-Proto', 'javascript']], 'http'],
    ['nothing', [['X-Forwarded-Proto', '']], 'http'],
    ['a quoted scheme', [['X-Forwarded-Proto', '"https"']], 'http'],
    ['a list without addresses, whose last entry is the peer’s own', [['X-Forwarded-Proto', 'https, http']], 'http'],
    [
      'two lines',
      [
        ['X-Forwarded-Proto', 'http'],
        ['X-Forwarded-Proto', 'https'],
      ],
      'https',
    ],
    [
      'the entry of the proxy that met the client',
      [
        ['X-Forwarded-For', '6.6.6.6, 203.0.113.9, 10.0.0.3'],
        ['X-Forwarded-Proto', 'http, https, http'],
      ],
      'https',
    ],
    [
      'one entry behind two proxies',
      [
        ['X-Forwarded-For', '203.0.113.9, 10.0.0.3'],
        ['X-Forwarded-Proto', 'https'],
      ],
      'https',
    ],
    [
      'no entry of a client',
      [
        ['X-Forwarded-For', '203.0.113.9'],
        ['X-Forwarded-Proto', 'https, http'],
      ],
      'http',
    ],
  ]
  for (const [title, lines, scheme] of cases) {
    test(`reads ${title}`, () => {
      const environ = resolved(lines)
      assert.equal(environ['wsgi.url_scheme'], scheme)
      assert.equal(environ.HTTPS, scheme === 'https' ? 'on' : undefined)
      const said = environ['HTTP_X_FORWARDED_PROTO']
      assert.ok(said === undefined || said === scheme)
    })
  }
})

suite('X-Forwarded-Host, if it is trusted,', () => {
  for (const [value, host] of [
    ['outer.test', 'outer.test'],
    ['outer.test:8443', 'outer.test:8443'],
    ['[2001:db8::9]:443', '[2001:db8::9]:443'],
    ['evil.test, outer.test', 'outer.test'],
    ['evil.test/path', undefined],
    ['user@evil.test', undefined],
    ['a"b', undefined],
    ['', undefined],
  ] as const) {
    test(`${JSON.stringify(value)} ${host === undefined ? 'is dropped' : `is ${host}`}`, () => {
      const environ = resolved([['X-Forwarded-Host', value]], { fields: ['x-forwarded-host'] })
      assert.equal(environ['HTTP_X_FORWARDED_HOST'], host)
      assert.equal(environ['HTTP_HOST'], host ?? 'inner.test')
      assert.equal(new Map(environ.gantry.rawHeaders).get('Host'), host ?? 'inner.test')
    })
  }
})

suite('Forwarded, if it is trusted,', () => {
  const cases: readonly (readonly [value: string, address: string, scheme?: string, host?: string])[] = [
    ['for=203.0.113.9', '203.0.113.9'],
    ['For="203.0.113.9:4711";Proto=https;HOST=outer.test', '203.0.113.9', 'https', 'outer.test'],
    ['for=203.0.113.9:4711', '203.0.113.9'],
    ['for="[2001:db8::9]:4711"', '2001:db8::9'],
    [
      'for=6.6.6.6;host=evil.test, for=203.0.113.9;proto=https;host=outer.test, for=10.0.0.3;proto=http',
      '203.0.113.9',
      'https',
      'outer.test',
    ],
    ['for=6.6.6.6;by="a,b", for=203.0.113.9', '203.0.113.9'],
    ['for=203.0.113.9;by="a,\\",b", for=10.0.0.3', '203.0.113.9'],
    ['for="6.6.6.6, for=203.0.113.9', '203.0.113.9'],
    ['"; for=6.6.6.6, for=203.0.113.9', '203.0.113.9'],
    ['for=6.6.6.6, for=unknown, for=10.0.0.3', '10.0.0.3'],
    ['for=6.6.6.6, for=_secret, for=10.0.0.3', '10.0.0.3'],
    ['proto=https', PEER],
    ['for=203.0.113.9;for=6.6.6.6', PEER],
    ['for=203.0.113.9 proto=https', PEER],
    ['203.0.113.9', PEER],
    ['for=', PEER],
    ['for=203.0.113.9;proto=javascript;host=a/b', '203.0.113.9'],
    ['', PEER],
    [', ,', PEER],
    ['"'.repeat(50_000), PEER],
    [`for=203.0.113.9${';a=b'.repeat(10_000)}`, PEER],
  ]
  for (const [value, address, scheme = 'http', host] of cases) {
    test(`reads ${value.slice(0, 80)}`, () => {
      const environ = resolved([['Forwarded', value]], { fields: ['forwarded'] })
      assert.equal(environ.REMOTE_ADDR, address)
      assert.equal(environ['wsgi.url_scheme'], scheme)
      assert.equal(environ['HTTP_HOST'], host ?? 'inner.test')
      const node = address.includes(':') ? `"[${address}]"` : address
      const element = `for=${node}${host === undefined ? '' : `;host=${host}`};proto=${scheme}`
      assert.deepEqual(linesOf(environ), address === PEER ? [] : [`Forwarded: ${element}`])
    })
  }

  test('is used only if there is no X-Forwarded-*, which the next proxy overwrites', () => {
    const environ = resolved(
      [
        ['Forwarded', 'for=6.6.6.6;proto=https;host=evil.test'],
        ['X-Forwarded-For', '203.0.113.9'],
        ['X-Forwarded-Proto', 'http'],
        ['X-Forwarded-Host', 'outer.test'],
      ],
      { fields: ALL },
    )
    assert.deepEqual(
      [environ.REMOTE_ADDR, environ['wsgi.url_scheme'], environ['HTTP_HOST']],
      ['203.0.113.9', 'http', 'outer.test'],
    )
    assert.ok(!JSON.stringify(environ.gantry.rawHeaders).includes('6.6.6.6'))
  })
})

test('a name that is not a forwarded field is refused', () => {
  const peers = new TrustedPeers(['loopback'])
  for (const name of ['X-Client-IP', 'x_forwarded_for', 'X-Forwarded-', '', 'Host']) {
    assert.throws(() => new ForwardedRules(peers, [name]), {
      name: 'TypeError',
      message: new RegExp(`^${JSON.stringify(name)} is not a forwarded field: expected X-Forwarded-For, `),
    })
  }
})
