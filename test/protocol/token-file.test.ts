import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createTokenFile, readToken } from '../../protocol/common-options.ts'
import { OptionError } from '../../protocol/options.ts'

describe('a token file that the proxy makes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-token-'))
  const file = join(directory, 'token')
  after(() => rmSync(directory, { recursive: true }))

  it('is random, for this user alone, and kept once it is there', () => {
    createTokenFile(file)
    const made = readFileSync(file, 'utf8')
    assert.match(made, /^[\w-]{43}\n$/)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    createTokenFile(file)
    assert.equal(readFileSync(file, 'utf8'), made)
    assert.deepEqual(readdirSync(directory), ['token'])
    assert.equal(readToken({ token: undefined, tokenFile: file }), made.trim())
  })

  it('cannot be made where there is no directory, and the error says so without a secret', () => {
    assert.throws(
      () => createTokenFile(join(directory, 'absent', 'token')),
      (error) => {
        return error instanceof OptionError && /--create-token: .*absent.* \(ENOENT\)$/.test(error.message)
      },
    )
  })
})
