/**
 * The table of error codes: each of its codes is used, provoked by a test and explained by docs/errors.md, and no other
 * code is used.
 */

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { errorsPage } from '../../protocol/contract/error-codes/page.ts'
import { type CodeRow, codeTables } from '../../protocol/contract/error-codes.ts'
import { repositoryFile } from '../support/child.ts'
import { codesIn, sources } from './log-calls.ts'

const files = sources().filter((file) => !/^protocol\/contract\/(?:error-codes|lint)[./]/.test(file))

function textOf(file: string): string {
  return readFileSync(repositoryFile(file), 'utf8')
}

const rows: [code: string, row: CodeRow, subject: string][] = Object.entries(codeTables).flatMap(([subject, table]) =>
  Object.entries(table).map(([code, row]): [string, CodeRow, string] => [code, row, subject]),
)

/** Codes that no test names yet. The list only becomes shorter: a new code comes with its test. */
const UNPROVOKED: readonly string[] = [
  'BODY_LENGTH',
  'CACHE_RENEWAL',
  'CACHE_SOURCE_CUT',
  'CGI_CONTENT_LENGTH',
  'CGI_LOOP',
  'CGI_NO_PROCESS',
  'CGI_NO_REQUEST',
  'CGI_REQUEST_TOO_LARGE',
  'CGI_SHORT',
  'CHILD_LISTENS',
  'HEAD_SENT',
  'HELLO_TOO_LARGE',
  'INTERNAL',
  'LENGTH_AND_CODING',
  'LENGTH_REPEATED',
  'LLHTTP_MEMORY',
  'LOADING',
  'NEVER_ANSWERED',
  'NEVER_ENDS',
  'NEVER_LISTENED',
  'NOT_LATIN1',
  'NOT_WHOLE',
  'NO_LISTENER',
  'SLOTS_TAKEN',
  'SOCKET_ERROR',
  'UNSERVABLE',
  'UPSTREAM_CLOSED',
  'UPSTREAM_GOAWAY',
  'UPSTREAM_NOT_READY',
  'UPSTREAM_RESET',
  'WORKER_ENDED',
  'XSLT_CANCELLED',
  'XSLT_MISSING',
]

suite('the table of error codes', () => {
  test('is docs/errors.md, which npm run docs writes', () => {
    assert.equal(textOf('docs/errors.md'), errorsPage())
  })

  test('has every code that the sources use', () => {
    const known = new Set(rows.map(([code]) => code))
    const used = files.flatMap((file) => codesIn(file).map((code) => ({ file, code })))
    assert.ok(used.length > 200, `only ${used.length} codes were found`)
    assert.deepEqual(
      used.filter(({ code }) => !known.has(code)).map(({ file, code }) => `${file}: ${code}`),
      [],
    )
  })

  test('has no code that the sources do not use', () => {
    // The reasons of a GOAWAY are the names of numbers.
    const used = new Set(
      files
        .flatMap((file) => [...textOf(file).matchAll(/'([A-Z][A-Z0-9_]+)'|^ {2}([A-Z]+): \d+,$/gm)])
        .map((match) => match[1] ?? match[2]),
    )
    assert.deepEqual(
      rows.map(([code]) => code).filter((code) => !used.has(code)),
      [],
    )
  })

  test('is the only place that gives a code its status', () => {
    const statuses = new Map<string, number>()
    for (const [code, { status }] of rows) {
      if (status === undefined) continue
      assert.equal(statuses.get(code) ?? status, status, `${code} has two statuses`)
      statuses.set(code, status)
    }
    const direct = files.flatMap((file) => {
      const code = textOf(file).replace(/\/\*\*[\s\S]*?\*\//g, '')
      const found = code.match(/\bnew (?:HttpError|RemoteProtocolError|LocalProtocolError)\(/g) ?? []
      return found.map(() => file)
    })
    // The functions that look a status up, and an error of a CGI program's head as one of its request.
    const one = 'protocol/contract/coded-errors.ts'
    assert.deepEqual(direct.sort(), ['container/cgi/cgi.ts', one, one, one])
  })

  test('says of each code in whole sentences what happened, and what to do', () => {
    for (const [code, { means, fix }, subject] of rows) {
      assert.match(means, /^[A-Z`_].*\.$/, code)
      // Codes of these two subjects have one sentence for all, which is on the page.
      if (subject !== 'frame' && subject !== 'state') assert.match(fix ?? '', /^[A-Z`].*[.?]$/, code)
    }
  })

  test('has a test that provokes each code', () => {
    const all = globSync('test/**/*.ts', { cwd: repositoryFile('') }).filter(
      (file) => file !== 'test/docs/errors.test.ts',
    )
    const text = all.map(textOf).join('\n')
    const missing = [...new Set(rows.map(([code]) => code))].filter((code) => !new RegExp(`\\b${code}\\b`).test(text))
    assert.deepEqual(missing.sort(), [...UNPROVOKED].sort())
  })
})
