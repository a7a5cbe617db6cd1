/** The pages point to files and headings that exist, and ARCHITECTURE.md names files that exist. */

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { anchorsOf } from './anchors.ts'

// Packages that the bench has installed are not ours.
const folders = '{docs,protocol,interfaces,middleware,pool,container,.github}/**/*.md'
const pages = globSync(['*.md', 'bench/*.md', folders], { cwd: repositoryFile('') }).sort()

/** Without code, in which brackets are no links. */
function prose(page: string): string {
  return page.replace(/^```.*?^```$/gms, '').replace(/`[^`\n]*`/g, '')
}

describe('the links of', () => {
  for (const page of pages) {
    test(`${page} lead to files and headings that exist`, () => {
      const text = readFileSync(repositoryFile(page), 'utf8')
      const broken = [...prose(text).matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].filter(
        ([, path, anchor]) => {
          const target = path === '' ? page : join(dirname(page), path!)
          if (!existsSync(repositoryFile(target))) return true
          return anchor !== undefined && !anchorsOf(readFileSync(repositoryFile(target), 'utf8')).has(anchor)
        },
      )
      assert.deepEqual(
        broken.map(([link]) => link),
        [],
      )
    })
  }
})

test('every file and folder that ARCHITECTURE.md names exists', () => {
  const text = readFileSync(repositoryFile('ARCHITECTURE.md'), 'utf8')
  const named = [...text.matchAll(/`([\w./-]+(?:\.(?:ts|md|json)|\/))`/g)].map(([, path]) => path!)
  assert.ok(named.length > 50, `${named.length} names were found`)
  const files = globSync('{cli,container,dev,docs,interfaces,middleware,pool,process,protocol,proxy,test}/**', {
    cwd: repositoryFile(''),
  })
  // A name may leave out the folder that its sentence is about.
  const missing = named.filter(
    (name) =>
      !existsSync(repositoryFile(name)) && !files.some((file) => `${file}/`.endsWith(`/${name.replace(/\/?$/, '/')}`)),
  )
  assert.deepEqual(missing, [])
})
