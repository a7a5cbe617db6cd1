import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { contractPage } from '../../../protocol/contract/lint/page.ts'
import { contractRules, type Rule } from '../../../protocol/contract/lint.ts'

/** The sections of PEP 3333 that have an anchor on its page. */
const sections = new Set([
  'The Application/Framework Side',
  'The Server/Gateway Side',
  'Specification Details',
  'environ Variables',
  'Input and Error Streams',
  'The start_response() Callable',
  'Handling the Content-Length Header',
  'Buffering and Streaming',
  'Middleware Handling of Block Boundaries',
  'The write() Callable',
  'Unicode Issues',
  'Error Handling',
  'Other HTTP Features',
  'Optional Platform-Specific File Handling',
])

describe('docs/contract.md', () => {
  test('is the page that the rules generate', () => {
    const page = readFileSync(new URL('../../../docs/contract.md', import.meta.url), 'utf8')
    assert.equal(page, contractPage(), 'run npm run docs')
  })

  test('has each rule once, with its sentence, its source and the side that must keep it', () => {
    const lines = contractPage().split('\n')
    for (const [code, rule] of Object.entries(contractRules)) {
      const rows = lines.filter((line) => line.includes(` \`${code}\` |`))
      assert.equal(rows.length, 1, code)
      const [, sentence, owes, , source] = rows[0]!.split(/(?<!\\)\|/).map((text) => text.trim())
      assert.equal(sentence!.replaceAll('\\', '').replaceAll('&lt;', '<'), rule.sentence)
      assert.equal(owes, rule.owes)
      assert.ok(source)
    }
  })

  test('has a known source for each rule', () => {
    for (const [code, { source }] of Object.entries<Rule>(contractRules)) {
      for (const one of source.split('; ')) {
        const pep = /^PEP 3333, (.+)$/.exec(one)
        if (pep) assert.ok(sections.has(pep[1]!), `${code}: ${one}`)
        else assert.match(one, /^(?:RFC \d{4} §\d+(?:\.\d+)*|ECMA-262 §\d+(?:\.\d+)*|Gantry)$/, code)
      }
    }
  })
})
