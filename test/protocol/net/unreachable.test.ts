/** The phase and the reason why a peer cannot be reached. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { RemoteProtocolError } from '../../../protocol/contract/errors.ts'
import { messageOf } from '../../../protocol/contract/thrown.ts'
import { LastReason, type Phase, type Reason, whyUnreachable } from '../../../protocol/net/unreachable.ts'

const system = (code: string, fields: object = {}): Error =>
  Object.assign(new Error(`it said ${code}`), { code, ...fields })

const cases: readonly [error: unknown, phase: Phase, expected: [Phase, Reason]][] = [
  [system('ECONNREFUSED', { syscall: 'connect' }), 'connect', ['connect', 'refused']],
  [system('ENOENT', { syscall: 'connect' }), 'connect', ['connect', 'absent']],
  [system('EACCES', { syscall: 'connect' }), 'connect', ['connect', 'denied']],
  [system('EHOSTUNREACH'), 'connect', ['connect', 'unreachable']],
  [system('ETIMEDOUT'), 'connect', ['connect', 'timeout']],
  // http-proxy's.
  [system('ECONNECT_TIMEOUT'), 'connect', ['connect', 'timeout']],
  [system('EMFILE'), 'connect', ['connect', 'local']],
  // Node's error of a connection attempt.
  [system('ENOTFOUND', { syscall: 'getaddrinfo' }), 'connect', ['resolve', 'dns']],
  [system('EAI_AGAIN', { syscall: 'getaddrinfo' }), 'resolve', ['resolve', 'dns']],
  [system('CERT_HAS_EXPIRED'), 'handshake', ['handshake', 'certificate']],
  [system('DEPTH_ZERO_SELF_SIGNED_CERT'), 'handshake', ['handshake', 'certificate']],
  [system('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'handshake', ['handshake', 'certificate']],
  [system('ERR_TLS_CERT_ALTNAME_INVALID'), 'handshake', ['handshake', 'certificate']],
  [system('ERR_SSL_WRONG_VERSION_NUMBER'), 'handshake', ['handshake', 'tls']],
  [new RemoteProtocolError('UNAUTHENTICATED', 'no'), 'handshake', ['handshake', 'token']],
  [new RemoteProtocolError('TIMEOUT', 'no'), 'handshake', ['handshake', 'timeout']],
  [new RemoteProtocolError('HANDSHAKE', 'no'), 'handshake', ['handshake', 'protocol']],
  [system('ECONNRESET'), 'first-byte', ['first-byte', 'closed']],
  [system('HPE_INVALID_CONSTANT'), 'first-byte', ['first-byte', 'protocol']],
  [new Error('whatever'), 'first-byte', ['first-byte', 'other']],
  ['a string', 'connect', ['connect', 'other']],
]

suite('why a peer is not reached', () => {
  for (const [error, phase, expected] of cases) {
    const name = (error as { code?: string }).code ?? String(error)
    test(`${name} in ${phase} is ${expected.join(', ')}`, () => {
      const why = whyUnreachable(error, phase)
      assert.deepEqual([why.phase, why.reason], expected)
      assert.equal(why.code, (error as { code?: string }).code)
      assert.notEqual(why.error, '')
    })
  }

  test('is the default of the caller if the error has no known code', () => {
    assert.equal(whyUnreachable(new Error('no addresses'), 'resolve', 'dns').reason, 'dns')
  })

  test('has the message of each address if a name has several', () => {
    const parts = [system('ECONNREFUSED'), system('EHOSTUNREACH')]
    const error = Object.assign(new AggregateError(parts), { code: 'ECONNREFUSED' })
    assert.equal(messageOf(error), 'it said ECONNREFUSED; it said EHOSTUNREACH')
    assert.deepEqual(whyUnreachable(error, 'connect'), {
      phase: 'connect',
      reason: 'refused',
      code: 'ECONNREFUSED',
      error: 'it said ECONNREFUSED; it said EHOSTUNREACH',
    })
  })

  test('counts as new if it differs from the last one, or is the first after the peer was reached', () => {
    const last = new LastReason()
    const refused = { phase: 'connect', reason: 'refused' } as const
    const late = { phase: 'connect', reason: 'timeout' } as const
    assert.deepEqual(
      [refused, refused, late, refused].map((why) => last.changes(why)),
      [true, false, true, true],
    )
    assert.deepEqual([last.end(), last.end(), last.changes(refused)], [true, false, true])
  })
})
