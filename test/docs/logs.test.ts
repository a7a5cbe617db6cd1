/** docs/logs.md explains every message and field that the sources can log; `errors.test.ts` compares the codes. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { logCalls, membersOf, sources } from './log-calls.ts'

const PAGE = readFileSync(repositoryFile('docs/logs.md'), 'utf8')

/** What stands in backticks in the first column of the tables whose first heading is `heading`. */
function documented(heading: string): string[] {
  const found: string[] = []
  let inside = false
  const lines = PAGE.split('\n')
  for (const [at, line] of lines.entries()) {
    if (lines[at + 1]?.startsWith('|-')) inside = line.startsWith(`| ${heading} |`)
    else if (!line.startsWith('|')) inside = false
    else if (inside && !line.startsWith('|-')) {
      const [, first = ''] = line.split(/(?<!\\)\|/)
      found.push(...[...first.matchAll(/`([^`]+)`/g)].map((match) => match[1]!))
    }
  }
  return found
}

function missing(from: Iterable<string>, these: Iterable<string>): string[] {
  const there = new Set(from)
  return [...new Set(these)].filter((one) => !there.has(one)).sort()
}

const calls = sources().flatMap(logCalls)

suite('docs/logs.md', () => {
  test('explains every message that is logged, and no other', () => {
    const logged = calls.flatMap(({ messages }) => messages)
    assert.ok(logged.length > 100, `only ${logged.length} messages were found`)
    const explained = documented('message')
    const where = (message: string) => calls.find(({ messages }) => messages.includes(message))!
    assert.deepEqual(
      missing(explained, logged).map((message) => `${where(message).file}:${where(message).line} ${message}`),
      [],
      'messages that docs/logs.md does not explain',
    )
    assert.deepEqual(missing(logged, explained), [], 'messages that are not logged')
  })

  test('explains every field, and no other', () => {
    const written = calls.flatMap(({ fields }) => fields)
    // Fields that are given as a whole.
    const access = membersOf('middleware/access-log/access-line.ts', 'AccessLine')
    const why = membersOf('protocol/net/unreachable.ts', 'Unreachable')
    // Of pino; of the pool's changes, which are passed on as one object; of a dialer's hint; of lost lines.
    const others = ['level', 'time', 'pid', 'hostname', 'name', 'msg', 'pool', 'hint', 'dropped']
    const all = [...written, ...access, ...why, ...others]
    const explained = documented('field')
    assert.deepEqual(missing(explained, all), [], 'fields that docs/logs.md does not explain')
    assert.deepEqual(missing(all, explained), [], 'fields that there are not')
    assert.deepEqual(missing(explained, access), [])
  })

  test('explains every reason why a peer is not reached', () => {
    const text = readFileSync(repositoryFile('protocol/net/unreachable.ts'), 'utf8')
    const reasons = [...text.matchAll(/^ {2}\| '(\w+)'/gm)].map((match) => match[1]!)
    assert.deepEqual(documented('`reason`').sort(), reasons.sort())
  })

  test('need not explain the messages of errors, which only known files pass on to the log', () => {
    const passing = calls.filter(({ messages }) => messages.length === 0).map(({ file }) => file)
    assert.deepEqual([...new Set(passing)].sort(), [
      // The message is a failure's own, an application's words, or another logger's.
      'container/cgi/cgi-program.ts',
      'container/cgi/cgi.ts',
      'interfaces/node/to-node.ts',
      'middleware/cache/shared-fetch.ts',
      'middleware/error-page/error-page.ts',
      'middleware/signals.ts',
      'middleware/static/file-response.ts',
      'process/run.ts',
      'protocol/contract/call.ts',
      'protocol/contract/exchange.ts',
      'protocol/frames/served-request.ts',
      'protocol/http1/request-loop.ts',
      'protocol/log/error-lines.ts',
      'protocol/uwsgi/gateway.ts',
    ])
  })
})
