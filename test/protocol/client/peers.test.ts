import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLoopbackHost, TrustedPeers, UNIX_PEER } from '../../../protocol/client/peers.ts'

const table: [ranges: string[], trusted: string[], strangers: (string | undefined)[]][] = [
  [[], [], ['127.0.0.1', '::1', UNIX_PEER, undefined, '']],
  [['none'], [], ['127.0.0.1', '::1', UNIX_PEER]],
  [['loopback'], ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'], ['128.0.0.1', '10.0.0.1', '::2', UNIX_PEER]],
  [
    ['private'],
    [
      '10.0.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '169.254.1.1',
      'fd00::1',
      'fe80::1%eth0',
      '::ffff:10.0.0.1',
    ],
    ['11.0.0.1', '172.15.255.255', '172.32.0.0', '192.169.0.1', '127.0.0.1', '2001:db8::1', UNIX_PEER],
  ],
  [['unix'], [UNIX_PEER], ['127.0.0.1', undefined, '', 'unix', '/run/x']],
  [['all'], ['8.8.8.8', '2001:db8::1', UNIX_PEER, '::ffff:8.8.8.8'], [undefined, '', 'host']],
  [['203.0.113.7'], ['203.0.113.7'], ['203.0.113.8']],
  [
    ['203.0.113.0/24', '2001:db8::/32'],
    ['203.0.113.255', '2001:db8:1::'],
    ['203.0.114.0', '2001:db9::'],
  ],
  [['2001:db8::1'], ['2001:db8::1', '2001:0db8:0::1'], ['2001:db8::2']],
]

for (const [ranges, trusted, strangers] of table) {
  test(`the ranges [${ranges.join(', ')}] contain exactly their addresses`, () => {
    const peers = new TrustedPeers(ranges)
    for (const address of trusted) assert.equal(peers.has(address), true, address)
    for (const address of strangers) assert.equal(peers.has(address), false, String(address))
  })
}

test('a socket without an address is not trusted', () => {
  assert.equal(new TrustedPeers(['all']).has(undefined), false)
})

for (const range of [
  '',
  'localhost',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/-1',
  '10.0.0.0/8x',
  '::/129',
  '10.0.0',
  '*',
  'privat',
]) {
  test(`${JSON.stringify(range)} is refused as a range`, () => {
    assert.throws(() => new TrustedPeers([range]), {
      name: 'RangeError',
      message: /expected an IP address, a CIDR range/,
    })
  })
}

test('toString() returns the ranges as they were written', () => {
  assert.equal(String(new TrustedPeers(['loopback', '10.0.0.0/8'])), 'loopback,10.0.0.0/8')
  assert.equal(String(new TrustedPeers([])), 'none')
})

test('a loopback host is localhost, or an address of the loopback interface', () => {
  for (const host of ['localhost', 'LocalHost', '127.0.0.1', '127.9.9.9', '::1']) assert.ok(isLoopbackHost(host), host)
  for (const host of [
    '',
    'localhost.example',
    '10.0.0.1',
    '::2',
    '0.0.0.0',
    '127.0.0.1%x',
    'unix:',
    '127.0.0.1.example',
  ])
    assert.ok(!isLoopbackHost(host), host)
})
