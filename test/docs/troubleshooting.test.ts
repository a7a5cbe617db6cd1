/** The troubleshooting page is true: its commands run, and print what it shows. */

import { describe, test } from 'node:test'
import { runSection, sectionsOf } from '../support/page.ts'

describe('docs/troubleshooting.md', { concurrency: false }, () => {
  for (const section of sectionsOf('docs/troubleshooting.md')) {
    if (section.blocks.length === 0) continue
    test(`what "${section.title}" says is so`, () => runSection(section))
  }
})
