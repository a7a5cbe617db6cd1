/** No text of a peer can forge a log line or control a terminal. */

import assert from 'node:assert/strict'
import { openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { LineOutput } from '../../../middleware/access-log/line-output.ts'
import { LogOutput } from '../../../protocol/log/log-output.ts'
import { printable, printableLines, printableStack } from '../../../protocol/log/printable.ts'
import { stderrLog } from '../../../protocol/log/stderr-log.ts'

/** Every code unit that a log must escape. */
const HARMFUL: string[] = []
for (let code = 0; code <= 0xffff; code++) {
  const character = String.fromCharCode(code)
  // The encoder replaces lone surrogates.
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(character) || /\p{Bidi_Control}/u.test(character)) HARMFUL.push(character)
}

suite('printable text', () => {
  test('has no control character, separator of lines or bidirectional mark of Unicode', () => {
    const text = printable(`a${HARMFUL.join('')}b`)
    assert.match(text, /^a(?:\\u[0-9a-f]{4})+b$/)
    assert.equal(text.length, 2 + 6 * HARMFUL.length)
  })

  test('has no invisible character, in latin1 and beyond U+FFFF too', () => {
    const unseen = ['\xad', '\u034f', '\u3164', '\u{e0041}']
    const line = printableLines(JSON.stringify(unseen))
    assert.equal(line, '["\\u00ad","\\u034f","\\u3164","\\udb40\\udc41"]')
    assert.deepEqual(JSON.parse(line), unseen)
    assert.equal(printable(unseen.join('')), '\\u00ad\\u034f\\u3164\\udb40\\udc41')
  })

  test('keeps all other text', () => {
    for (const text of ['', 'plain ~', 'Ünïcödé 世界 🎉 ❤\ufe0f', '"quoted" \\ back']) {
      assert.equal(printable(text), text)
      assert.equal(printableLines(text), text)
      assert.equal(printableStack(text), text)
    }
  })

  test('keeps the lines of a stack', () => {
    assert.equal(printableStack('Error: a\x1b\n\tat b\r\n'), 'Error: a\\u001b\n\tat b\\u000d\n')
  })

  test('is still JSON of the same value for JSON lines', () => {
    const value = { msg: `x${HARMFUL.join('')}y`, 'k\x9b': 'ü' }
    const line = printableLines(`${JSON.stringify(value)}\n`)
    assert.deepEqual(JSON.parse(line), value)
    for (const character of HARMFUL) assert.ok(character === '\n' || !line.includes(character), escape(character))
  })
})

suite('a writer of log lines', () => {
  test('escapes these characters only with the option `printable`', () => {
    const path = join(tmpdir(), `gantry-printable-${process.pid}`)
    try {
      for (const [option, expected] of [
        [true, '{"a":"\\u009b\\u007f"}\n'],
        [false, '{"a":"\x9b\x7f"}\n'],
      ] as const) {
        writeFileSync(path, '')
        const output = new LogOutput(openSync(path, 'w'), { printable: option })
        output.write('{"a":"\x9b\x7f"}\n')
        output.flushSync()
        assert.equal(readFileSync(path, 'utf8'), expected)
      }
    } finally {
      rmSync(path, { force: true })
    }
  })

  test('escapes these characters in an access log', async () => {
    const lines: string[] = []
    new LineOutput((text) => lines.push(text)).write('{"a":"\u202e"}\n')
    await iterationEnd()
    assert.deepEqual(lines, ['{"a":"\\u202e"}\n'])
  })

  test('writes one line for each message in plain text, and text of the application unchanged', () => {
    const lines: string[] = []
    const log = stderrLog((text) => lines.push(text))
    log.warn({ code: 'X' }, 'not a host: "a\x1b[31m\nb"')
    log.error({ source: 'wsgi.errors' }, 'färben \x1b[31m')
    assert.deepEqual(lines, ['gantry: not a host: "a\\u001b[31m\\u000ab" (X)\n', 'färben \x1b[31m\n'])
  })
})
