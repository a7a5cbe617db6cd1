/** The names that the package's entries export. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, it } from 'node:test'
import * as gantry from '../index.ts'
import * as middleware from '../middleware/index.ts'
import * as protocol from '../protocol/index.ts'
import { repositoryFile } from './support/child.ts'

const ENTRIES = ['index.ts', 'protocol/index.ts', 'middleware/index.ts', 'container/index.ts', 'proxy/index.ts']

/** Kept under their former names beside the middleware's: both are marked as deprecated. */
const DEPRECATED = new Set(['errorPage', 'ErrorPageOptions'])

const DECLARATION = /^export (?:declare )?(?:interface|type|const|function|class) (\w+)/gm

/** Each name that an entry exports, types included, with the file that it comes from. */
function exportsOf(entry: string): [name: string, file: string][] {
  const source = readFileSync(repositoryFile(entry), 'utf8')
  const everything = [...source.matchAll(/export (?:type )?\* from '([^']+)'/g)].flatMap(([, from = '']) => {
    const file = normalize(join(dirname(entry), from))
    const declared = readFileSync(repositoryFile(file), 'utf8').matchAll(DECLARATION)
    return [...declared].map(([, name]): [string, string] => [name!, file])
  })
  const named = [...source.matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)'/g)].flatMap(
    ([, names = '', from = '']) =>
      names
        .split(',')
        .map((name) =>
          name
            .trim()
            .replace(/^type /, '')
            .replace(/^.* as /, ''),
        )
        .filter((name) => name !== '')
        .map((name): [string, string] => [name, normalize(join(dirname(entry), from))]),
  )
  return [...everything, ...named]
}

describe('the entries of the package', () => {
  it('export the names in test/fixtures/exports.json and no others: each is a promise to users', () => {
    const promised = JSON.parse(readFileSync(repositoryFile('test/fixtures/exports.json'), 'utf8'))
    const exported = ENTRIES.map((entry) => [entry, [...new Set(exportsOf(entry).map(([name]) => name))].sort()])
    assert.deepEqual(Object.fromEntries(exported), promised)
  })

  it('export one thing under one name', () => {
    const files = new Map<string, Set<string>>()
    for (const [name, file] of ENTRIES.flatMap(exportsOf)) files.set(name, (files.get(name) ?? new Set()).add(file))
    const twice = [...files].filter(([, from]) => from.size > 1).map(([name]) => name)
    assert.deepEqual(new Set(twice), DEPRECATED)
    assert.ok(files.size > 100, `the exports are read: ${files.size}`)
  })

  it('have the plain page of a status as statusPage, under its former name too', () => {
    assert.equal(gantry.errorPage, gantry.statusPage)
    assert.equal(protocol.statusPage, gantry.statusPage)
    assert.notEqual(middleware.errorPage as unknown, gantry.statusPage)
    assert.ok(!('statusPage' in middleware))
  })

  it('say which errorPage is meant when the other one is called', () => {
    assert.throws(
      () => gantry.errorPage({ replace: true } as never),
      /^TypeError: statusPage: the status is of type object, expected a number; the middleware errorPage is in gantry\/middleware$/,
    )
    assert.throws(() => middleware.errorPage(404 as never), /errorPage/)
  })
})
