/** Which requests and connections share as one client. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ClientShares } from '../../../protocol/client/client-shares.ts'
import { TrustedPeers, UNIX_PEER } from '../../../protocol/client/peers.ts'

suite('shares', () => {
  const alone = {}

  test('are one for all addresses of an IPv6 /64, and two for two networks', () => {
    const shares = new ClientShares(new TrustedPeers([]))
    assert.equal(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:2:ffff::9', alone))
    assert.notEqual(shares.of('2001:db8:1:2::1', alone), shares.of('2001:db8:1:3::1', alone))
  })

  test('do not join requests whose client has no address: each has its own', () => {
    const shares = new ClientShares(new TrustedPeers([]))
    for (const address of [UNIX_PEER, '', 'unknown']) assert.equal(shares.of(address, alone), alone, address)
  })

  test('do not join requests of a trusted peer: each has its own', () => {
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
