/**
 * "Move your app in" does what it says: its files are type-checked, its commands run before and after, their output
 * compared.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileName, runSection, sectionsOf, typeErrors } from '../support/page.ts'

const pages = ['README', 'express', 'koa', 'fastify', 'hono', 'nest']

for (const page of pages) {
  const file = `docs/frameworks/${page}.md`
  const sections = sectionsOf(file)

  describe(file, { concurrency: false }, () => {
    for (const section of sections) {
      const runs = section.blocks.some(({ language }) => language === 'console')
      if (runs) test(`what "${section.title}" says is so`, () => runSection(section, true))
    }

    // NestJS's are compiled by the page's own commands: decorators want other options.
    test('its files type-check', { skip: page === 'nest' && 'compiled by its commands' }, async () => {
      assert.equal(await typeErrors(sections, true), '')
    })

    test('every TypeScript block is a file that is run or checked', () => {
      const loose = sections.flatMap(({ blocks }) => blocks.filter((one) => one.language === 'ts' && !fileName(one)))
      assert.deepEqual(loose, [])
    })
  })
}
