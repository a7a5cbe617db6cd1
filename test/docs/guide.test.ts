/** The guide does what it says: its files are type-checked, its commands run, its output compared. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileName, runSection, sectionsOf, typeErrors } from '../support/page.ts'

const sections = sectionsOf('docs/guide.md')

describe('docs/guide.md', { concurrency: false }, () => {
  for (const section of sections) test(`what "${section.title}" says is so`, () => runSection(section))

  test('its files type-check', async () => {
    assert.equal(await typeErrors(sections), '')
  })

  test('every TypeScript block is a file that is run or checked', () => {
    const loose = sections.flatMap(({ blocks }) => blocks.filter((one) => one.language === 'ts' && !fileName(one)))
    assert.deepEqual(loose, [])
  })
})
