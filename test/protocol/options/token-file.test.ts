import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { tokensOf } from '../../../protocol/frames/codec/tokens.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { createTokenFile } from '../../../protocol/options/common-options.ts'
import { OptionError } from '../../../protocol/options/option-table.ts'
import { readToken } from '../../../protocol/options/token-file.ts'
import { RecordingLog } from '../../support/log.ts'

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
    assert.deepEqual(tokensOf(readToken({ tokenFile: file }, silent)), [made.trim()])
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

describe('a token file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-token-'))
  const file = join(directory, 'token')
  after(() => rmSync(directory, { recursive: true }))

  /** Replaces the file as the documentation says: a new file is renamed to the old name. */
  function replace(text: string): void {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }

  it('holds a token a line: white space around them and empty lines are dropped', () => {
    replace('  new one \r\n\n\told one\n')
    assert.deepEqual(tokensOf(readToken({ tokenFile: file }, silent)), ['new one', 'old one'])
    assert.deepEqual(tokensOf(readToken({ token: 'new\nold' }, silent)), ['new', 'old'])
  })

  it('is read again for the next link when it has changed', () => {
    replace('old\n')
    const log = new RecordingLog()
    const token = readToken({ tokenFile: file }, log)
    assert.deepEqual(tokensOf(token), ['old'])
    replace('new\nold\n')
    assert.deepEqual(tokensOf(token), ['new', 'old'])
    replace('new\n')
    assert.deepEqual([tokensOf(token), tokensOf(token)], [['new'], ['new']])
    assert.deepEqual(
      log.lines.map(({ fields }) => fields['tokens']),
      [2, 1],
    )
  })

  it('that becomes unusable leaves the tokens as they were, says so once, and is used again when it is good', () => {
    replace('secret of old\n')
    const log = new RecordingLog()
    const token = readToken({ tokenFile: file }, log)
    for (const bad of ['\n', Array.from({ length: 9 }, (_, at) => `secret ${at}\n`).join('')]) {
      replace(bad)
      for (let again = 0; again < 3; again++) assert.deepEqual(tokensOf(token), ['secret of old'])
    }
    rmSync(file)
    for (let again = 0; again < 3; again++) assert.deepEqual(tokensOf(token), ['secret of old'])
    assert.deepEqual(
      log.lines.map(({ fields }) => fields['reason']),
      [
        `--token-file: ${file} is empty; make a token with openssl rand -hex 32`,
        `--token-file: ${file} has 9 lines, expected a token a line, at most 8`,
        `--token-file: ${file} does not exist; make a token with openssl rand -hex 32`,
      ],
    )
    replace('secret of new\n')
    assert.deepEqual(tokensOf(token), ['secret of new'])
    assert.doesNotMatch(JSON.stringify(log.lines), /secret/)
  })

  const notTokens: Record<string, [content: string | Buffer, reason: RegExp]> = {
    'a PEM file': ['-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n', /holds a PEM file/],
    'a comment beside a token': ['# of May\nsecret\n', /holds a comment/],
    'random bytes, which would all be U+FFFD': [Buffer.from([0x73, 0xfe, 0xff, 0x80]), /is not UTF-8 text/],
    'control characters': ['secret\0secret\n', /holds control characters/],
    'more than 64 KiB': [`secret${'x'.repeat(64 * 1024)}`, /has more than 65536 bytes/],
  }
  for (const [what, [content, reason]] of Object.entries(notTokens)) {
    it(`is refused if it holds ${what}, and the error says nothing of it`, () => {
      writeFileSync(file, content)
      assert.throws(
        () => readToken({ tokenFile: file }, silent),
        (error) => error instanceof OptionError && reason.test(error.message) && !/secret|c2V/.test(error.message),
      )
    })
  }

  it('is not read beyond its limit if it is a device without an end', () => {
    assert.throws(() => readToken({ tokenFile: '/dev/zero' }, silent), { code: 'BAD_FILE', message: /more than 65536/ })
  })

  it('may hold one token that begins with #, or has characters beyond ASCII', () => {
    replace('#pässword 1\t2\n')
    assert.deepEqual(tokensOf(readToken({ tokenFile: file }, silent)), ['#pässword 1\t2'])
  })

  it('with too many lines is refused at the start', () => {
    replace('x\n'.repeat(9))
    assert.throws(() => readToken({ tokenFile: file }, silent), { code: 'BAD_FILE', message: /has 9 lines/ })
  })
})
