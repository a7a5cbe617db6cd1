/** The keys under which clients are counted. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { clientKey } from '../../../protocol/client/client-key.ts'

describe('clientKey', () => {
  const cases: readonly (readonly [title: string, same: readonly string[], key: string])[] = [
    ['an IPv4 address is a key of its own', ['192.0.2.1'], '192.0.2.1'],
    [
      'an IPv6 /64 is one key, however its addresses are written',
      ['2001:db8::', '2001:db8::1', '2001:DB8:0:0:ffff:ffff:ffff:ffff', '2001:0db8::1:2:3:4', '2001:db8::5.6.7.8'],
      '2001:db8:0:0::/64',
    ],
    ['the next /64 is another key', ['2001:db8:0:1::', '2001:db8:0:1::1'], '2001:db8:0:1::/64'],
    ['the loopback address is its /64', ['::1', '::', '0:0:0:0:0:0:0:1'], '0:0:0:0::/64'],
    [
      'an IPv4 address inside an IPv6 address is the IPv4 address',
      ['::ffff:192.0.2.1', '::FFFF:c000:0201', '0:0:0:0:0:ffff:192.0.2.1', '64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
      '192.0.2.1',
    ],
    ['a link-local network has a key per zone', ['fe80::1%eth0', 'fe80::2%eth0'], 'fe80:0:0:0::/64%eth0'],
    ['the peer of a Unix socket has its own key', ['unix:'], 'unix:'],
    [
      'everything else shares one key',
      ['', 'unknown', '_hidden', '192.0.2.1:80', '[2001:db8::1]', '1.2.3', 'x'],
      'unknown',
    ],
  ]
  for (const [title, same, key] of cases) {
    it(title, () => {
      for (const address of same) assert.equal(clientKey(address), key, address)
    })
  }

  it('counts requests without an address under one key with all other values', () => {
    assert.equal(clientKey(undefined), 'unknown')
  })

  it('depends only on the first 64 bits of an IPv6 address', () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.ipV6(), (one, other) => {
        const groups = (address: string): string => new URL(`http://[${address}]/`).hostname.slice(1, -1)
        const full = (address: string): string[] => {
          const [head = '', tail] = groups(address).split('::')
          const front = head === '' ? [] : head.split(':')
          const back = tail === undefined || tail === '' ? [] : tail.split(':')
          return [...front, ...new Array<string>(8 - front.length - back.length).fill('0'), ...back]
        }
        const mixed = [...full(one).slice(0, 4), ...full(other).slice(4)].join(':')
        const embedded = /^(0:0:0:0:0:ffff|64:ff9b:0:0:0:0):/
        fc.pre(![one, mixed].some((address) => embedded.test(`${full(address).join(':')}:`)))
        assert.equal(clientKey(mixed), clientKey(one))
        assert.equal(clientKey(one), `${full(one).slice(0, 4).join(':')}::/64`)
      }),
    )
  })
})
