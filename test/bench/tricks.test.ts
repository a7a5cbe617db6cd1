/**
 * The performance tricks: docs/performance-tricks.md explains each of them, and the bench can switch each of them off.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { tricks, withoutTrick } from '../../bench/parts/tricks.ts'
import { LazyDuplex } from '../../interfaces/node/lazy-duplex.ts'
import { repositoryFile } from '../support/child.ts'

const page = readFileSync(repositoryFile('docs/performance-tricks.md'), 'utf8')

suite('performance tricks', () => {
  for (const [name, trick] of Object.entries(tricks)) {
    test(`${name} can be switched off in ${trick.file}`, () => {
      const source = readFileSync(repositoryFile(trick.file), 'utf8')
      assert.notEqual(withoutTrick(trick, source), source)
    })

    test(`the page names the file of ${name}, and the command that shows its gain`, () => {
      assert.ok(page.includes(`\`${trick.file}\``), `expected \`${trick.file}\` in docs/performance-tricks.md`)
      assert.ok(page.includes(`node bench/parts/tricks.ts ${name}\n`), `expected the command for ${name}`)
    })

    test(`the file of ${name} points to the page`, () => {
      const file = name === 'response-batch' ? 'protocol/net/response-batch.ts' : trick.file
      assert.match(readFileSync(repositoryFile(file), 'utf8'), /docs\/performance-tricks\.md/)
    })
  }

  test('lazy-duplex is switched off by a method that exists', () => {
    const [, method = ''] = /this\.(\w+)\(\)/.exec(tricks['lazy-duplex']!.off) ?? []
    assert.equal(typeof (LazyDuplex.prototype as unknown as Record<string, unknown>)[method], 'function')
  })

  test('a trick that is not in its file is an error', () => {
    assert.throws(() => withoutTrick(tricks['response-batch']!, ''), /expected "this.#batch.add\(this\)" once/)
  })
})
