import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type AcceptRules, decideAccept, type ServedWire } from '../../container/accept-rules.ts'
import { TrustedPeers, UNIX_PEER } from '../../protocol/client/peers.ts'
import type { Wire } from '../../protocol/net/codec/sniff.ts'

const LOOPBACK = '127.0.0.1'
const PRIVATE = '172.18.0.5'
const STRANGER = '198.51.100.7'

interface Setting {
  accept?: ServedWire[]
  trusted?: string[]
  token?: boolean
}

const rules = ({ accept = [], trusted = ['loopback', 'private', 'unix'], token = false }: Setting): AcceptRules => ({
  accept,
  trustedPeers: new TrustedPeers(trusted),
  token,
})

const table: [wire: Wire, peer: string | undefined, setting: Setting, refused: RegExp | undefined][] = [
  ['frames', UNIX_PEER, {}, undefined],
  ['frames', LOOPBACK, {}, undefined],
  ['frames', '::1', {}, undefined],
  ['frames', PRIVATE, {}, /--token-file/],
  ['frames', PRIVATE, { token: true }, undefined],
  ['frames', STRANGER, { token: true }, undefined],
  ['frames', STRANGER, { accept: ['frames'] }, /--token-file/],
  ['uwsgi', UNIX_PEER, {}, undefined],
  ['uwsgi', LOOPBACK, {}, undefined],
  ['uwsgi', PRIVATE, {}, undefined],
  ['uwsgi', `::ffff:${PRIVATE}`, {}, undefined],
  ['uwsgi', STRANGER, {}, /--trusted-peers loopback,private,unix,198\.51\.100\.7 /],
  ['uwsgi', STRANGER, { accept: ['uwsgi'] }, /--trusted-peers/],
  ['uwsgi', STRANGER, { trusted: [STRANGER] }, undefined],
  ['uwsgi', UNIX_PEER, { trusted: ['none'] }, /--trusted-peers unix /],
  ['uwsgi', undefined, { trusted: ['all'] }, /--trusted-peers/],
  ['http', UNIX_PEER, {}, undefined],
  ['http', STRANGER, {}, undefined],
  ['http', STRANGER, { trusted: ['none'] }, undefined],
  ['http', LOOPBACK, { accept: ['frames', 'uwsgi'] }, /--accept frames,uwsgi,http /],
  ['frames', UNIX_PEER, { accept: ['http'] }, /--accept http,frames /],
  ['fastcgi', UNIX_PEER, {}, /FastCGI is not served: use uwsgi_pass/],
  ['scgi', UNIX_PEER, {}, /SCGI is not served/],
  ['tls', UNIX_PEER, {}, /TLS is not served/],
  ['h2c', UNIX_PEER, {}, /HTTP\/2 is not served/],
  ['proxy-v1', UNIX_PEER, {}, /PROXY protocol is not served/],
  ['proxy-v2', UNIX_PEER, {}, /PROXY protocol is not served/],
  ['unknown', UNIX_PEER, {}, /match no known protocol/],
]

describe('decideAccept', () => {
  for (const [wire, peer, setting, refused] of table) {
    it(`${refused ? 'refuses' : 'serves'} ${wire} from ${peer} with ${JSON.stringify(setting)}`, () => {
      const decision = decideAccept(wire, peer, rules(setting))
      if (refused) assert.match('refuse' in decision ? decision.refuse : 'served', refused)
      else assert.deepEqual(decision, { serve: wire })
    })
  }
})
