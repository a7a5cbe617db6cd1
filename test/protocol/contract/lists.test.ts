/**
 * Lists of names that several parts of Gantry need: each is written in one file, and the others derive theirs from it.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { isBodyless, isBodylessStatus } from '../../../protocol/contract/bodyless.ts'
import {
  CGI_VARIABLES,
  cgiVariableNames,
  HEADER_VARIABLE,
  isReservedVariable,
  WSGI_VARIABLES,
} from '../../../protocol/contract/cgi-variables.ts'
import { environFromHttp } from '../../../protocol/contract/environ.ts'
import { contractPage } from '../../../protocol/contract/lint/page.ts'
import { IDEMPOTENT_METHODS, SAFE_METHODS } from '../../../protocol/contract/methods.ts'
import { TOKEN } from '../../../protocol/contract/token.ts'
import { VARIABLES } from '../../../protocol/frames/codec/tables.ts'
import { sources } from '../../docs/log-calls.ts'
import { repositoryFile } from '../../support/child.ts'

describe('the table of CGI variables', () => {
  test('has each name once', () => {
    assert.equal(new Set(cgiVariableNames()).size, CGI_VARIABLES.length)
  })

  test('gives each index of the wire to one name, and the frames use that index', () => {
    const sent = CGI_VARIABLES.filter(({ wire }) => wire !== undefined)
    assert.ok(sent.length > 20)
    for (const { name, wire } of sent) assert.equal(VARIABLES[wire!], name)
    assert.equal(VARIABLES.filter((name) => !HEADER_VARIABLE.test(name)).length, sent.length)
  })

  test('names what every environ has', () => {
    const head = { method: 'GET', target: '/', minor: 1 as const, headers: [], upgrade: false }
    const facts = {
      remoteAddress: '192.0.2.1',
      remotePort: '40000',
      serverName: 'localhost',
      serverPort: '80',
      scheme: 'http' as const,
    }
    const environ = environFromHttp(head, facts, { multithread: true, multiprocess: false, runOnce: false })
    const always = cgiVariableNames(({ presence }) => presence !== 'optional')
    assert.deepEqual(Object.keys(environ).sort(), [...always, ...WSGI_VARIABLES, 'gantry'].sort())
    for (const name of always) assert.ok(contractPage().includes(`\`${name}\``), name)
  })

  test('reserves the names of the server itself', () => {
    for (const name of [...WSGI_VARIABLES, 'wsgi.other', 'gantry', 'gantry.other']) {
      assert.ok(isReservedVariable(name), name)
    }
    for (const name of [...cgiVariableNames(), 'HTTP_HOST', 'wsgi', 'myapp.user', 'GANTRY']) {
      assert.ok(!isReservedVariable(name), name)
    }
  })
})

describe('request methods and statuses', () => {
  test('are classified as RFC 9110 §9.2 does', () => {
    assert.deepEqual([...SAFE_METHODS], ['GET', 'HEAD', 'OPTIONS', 'TRACE'])
    assert.deepEqual([...IDEMPOTENT_METHODS], ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
  })

  test('have no body for HEAD, 204, 205 and 304', () => {
    const bodyless = Array.from({ length: 400 }, (_, at) => 200 + at).filter(isBodylessStatus)
    assert.deepEqual(bodyless, [204, 205, 304])
    assert.deepEqual([isBodyless('HEAD', 200), isBodyless('GET', 200), isBodyless('GET', 304)], [true, false, true])
  })

  test('a token has no separator', () => {
    for (const name of ['GET', 'X-A_b', "!#$%&'*+-.^_`|~09AZaz"]) assert.match(name, TOKEN)
    for (const name of ['', 'a b', 'a:b', 'a/b', 'a"b', 'a(b', 'ä', 'a\n']) assert.doesNotMatch(name, TOKEN)
  })
})

const names = cgiVariableNames().join('|')
const presence = '(?:required|always|optional)'

/** What a second copy of a list looks like, and the one file that may contain the list. */
const LISTS: ReadonlyArray<readonly [what: string, copy: RegExp, owner: string]> = [
  [
    'CGI variables',
    new RegExp(`(?:(?:row\\()?'(?:${names})',(?: '${presence}'.*)?\\s*){4}`),
    'protocol/contract/cgi-variables.ts',
  ],
  ['wsgi.* variables', /(?:'wsgi\.\w+',\s*){4}/, 'protocol/contract/cgi-variables.ts'],
  ['hop-by-hop fields', /'keep-alive',\s*'proxy-|'proxy-connection',\s*'|'te',\s*'/, 'protocol/contract/hop-by-hop.ts'],
  [
    'safe methods',
    /(?:'(?:GET|HEAD|OPTIONS|TRACE)',\s*){3}'(?:GET|HEAD|OPTIONS|TRACE)'/,
    'protocol/contract/methods.ts',
  ],
  ['statuses without a body', /205\b'?(?: \|\| [\w.]+ === '?|, ?'?|\|)304/, 'protocol/contract/bodyless.ts'],
  [
    'the syntax of a token',
    /\/\^\[(?:A-Za-z0-9)?!#\$%&'\*\+\.\^_`\|~(?:0-9A-Za-z)?-\]\+\$\//,
    'protocol/contract/token.ts',
  ],
]

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
}

describe('a list is written in one file', () => {
  for (const [what, copy, owner] of LISTS) {
    test(what, () => {
      const found = sources().filter((file) => copy.test(withoutComments(readFileSync(repositoryFile(file), 'utf8'))))
      assert.deepEqual(found, [owner])
    })
  }
})
