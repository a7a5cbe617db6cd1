import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ClientShares, clientOf } from '../../protocol/client-shares.ts'
import { TrustedPeers, UNIX_PEER } from '../../protocol/peers.ts'

suite('the client of an address', () => {
  for (const [address, client] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:db8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8:1:2:3:4:192.0.2.1', '2001:db8:1:2::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    [UNIX_PEER, undefined],
    ['', undefined],
    ['unknown', undefined],
  ] as const) {
    test(`${JSON.stringify(address)} is ${client}`, () => assert.equal(clientOf(address), client))
  }
})

suite('shares', () => {
  const alone = {}

  test('are one for all addresses of an IPv6 /64, and two for two networks', () => {
    const shares = new ClientShares(new TrustedPeers([]))
    assert.equal(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:2:ffff::9', alone))
    assert.notEqual(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:3::1', alone))
  })

  test('are never those of a trusted peer: each of its requests is alone', () => {
    const shares = new ClientShares(new TrustedPeers(['10.0.0.0/8', 'unix']))
    assert.equal(shares.of('10.1.2.3', alone), alone)
    assert.equal(shares.of('::ffff:10.1.2.3', alone), alone)
    assert.equal(shares.of(UNIX_PEER, alone), alone)
    assert.equal(shares.of('192.0.2.1', alone), '192.0.2.1')
  })

  test('remember addresses without growing with them', () => {
    let asked = 0
    const shares = new ClientShares({
      has: () => {
        asked++
        return false
      },
    })
    for (let round = 0; round < 3; round++) shares.of('192.0.2.1', alone)
    assert.equal(asked, 1)
    for (let at = 0; at < 5_000; at++) shares.of(`10.0.${at >> 8}.${at & 255}`, alone)
    shares.of('192.0.2.1', alone)
    assert.equal(asked, 5_002)
  })
})
