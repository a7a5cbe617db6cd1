import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { faultOf, parseHtpasswd } from '../../../middleware/auth/htpasswd.ts'

const BCRYPT = `$2y$10$${'a'.repeat(53)}`
const SHA = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='

describe('a password file', () => {
  it('has names and hashes, comments and empty lines', () => {
    const users = parseHtpasswd(`# who\n\nann:${BCRYPT}\r\nbob:${SHA}:Bob the builder\n`, 'f')
    assert.deepEqual(
      [...users],
      [
        ['ann', BCRYPT],
        ['bob', SHA],
      ],
    )
  })

  it('uses the first of two lines for a name, as Apache does', () => {
    assert.equal(parseHtpasswd(`ann:${SHA}\nann:${BCRYPT}`, 'f').get('ann'), SHA)
  })

  it('is refused with the number of the invalid line', () => {
    assert.throws(() => parseHtpasswd(`ann:${SHA}\n\nbob\n`, '/etc/users'), /^HtpasswdError: \/etc\/users, line 3: /)
    assert.throws(() => parseHtpasswd(`:${SHA}`, 'f'), /line 1: expected name:hash/)
  })

  it('is refused without showing a hash', () => {
    for (const hash of ['$apr1$c4VdwM9a$x', 'rl9xHcoRRJOHM', 'letmein', '$2y$10$short', '{SHA}short', '$6$salt$hash']) {
      assert.throws(
        () => parseHtpasswd(`ann:${hash}`, 'f'),
        (error: Error) => !error.message.includes(hash) && /line 1: it has .* htpasswd -B/.test(error.message),
      )
    }
  })
})

describe('a hash', () => {
  it('is accepted if it is SHA or bcrypt of an acceptable cost', () => {
    for (const hash of [BCRYPT, BCRYPT.replace('2y', '2a'), BCRYPT.replace('2y', '2b'), SHA]) {
      assert.equal(faultOf(hash), undefined)
    }
    assert.match(faultOf(BCRYPT.replace('$10$', '$31$'))!, /cost is 31, expected 4 to 15/)
    assert.match(faultOf(BCRYPT.replace('2y', '2x'))!, /another form/)
  })
})
