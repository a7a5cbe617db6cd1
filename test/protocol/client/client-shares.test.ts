/** Which requests and connections count as one client. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ClientShares } from '../../../protocol/client/client-shares.ts'
import { TrustedPeers, UNIX_PEER } from '../../../protocol/client/peers.ts'

suite('shares', () => {
  const alone = {}

  test('are the same for all addresses of an IPv6 /64, and differ between two networks', () => {
    const shares = new ClientShares(new TrustedPeers([]))
    assert.equal(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:2:ffff::9', alone))
    assert.notEqual(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:3::1', alone))
  })

  test('differ for requests whose client has no address', () => {
    const shares = new ClientShares(new TrustedPeers([]))
    for (const address of [UNIX_PEER, '', 'unknown']) assert.equal(shares.of(address, alone), alone, address)
  })

  test('differ for requests whose resolved address is a trusted peer', () => {
    const shares = new ClientShares(new TrustedPeers(['10.0.0.0/8', 'unix']))
    assert.equal(shares.of('10.1.2.3', alone), alone)
    assert.equal(shares.of('::ffff:10.1.2.3', alone), alone)
    assert.equal(shares.of(UNIX_PEER, alone), alone)
    assert.equal(shares.of('192.0.2.1', alone), '192.0.2.1')
  })

  test('are cached for a bounded number of addresses', () => {
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
