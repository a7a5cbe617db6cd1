/** The guide does what it says: its files are type-checked, its commands run, its output compared. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { fileName, prepare, runSection, sectionsOf, write } from '../support/page.ts'

const sections = sectionsOf('docs/guide.md')

describe('docs/guide.md', { concurrency: false }, () => {
  for (const section of sections) test(`what "${section.title}" says is so`, () => runSection(section))

  test('its files have the types that it says', () =>
    withDirectory((directory) => {
      prepare(directory)
      for (const [at, section] of sections.entries()) {
        for (const block of section.blocks) {
          const name = fileName(block)
          if (name !== undefined) write(join(directory, `section-${at}`), name, block.text)
        }
      }
      const tsconfig = {
        extends: repositoryFile('tsconfig.json'),
        compilerOptions: { typeRoots: [repositoryFile('node_modules/@types')], isolatedDeclarations: false },
        include: ['section-*/**/*'],
        exclude: [],
      }
      write(directory, 'tsconfig.json', JSON.stringify(tsconfig))
      const compiler = repositoryFile('node_modules/typescript/bin/tsc')
      const { stdout } = spawnSync(process.execPath, [compiler, '-p', directory], { encoding: 'utf8' })
      assert.equal(stdout, '')
    }))

  test('every TypeScript block is a file that is run or checked', () => {
    const loose = sections.flatMap(({ blocks }) => blocks.filter((one) => one.language === 'ts' && !fileName(one)))
    assert.deepEqual(loose, [])
  })
})
