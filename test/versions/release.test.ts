/** Which release is the previous one, in git histories that the test creates. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { withDirectory } from '../support/directory.ts'
import { previousRelease, unpack } from '../support/release.ts'

const FILE = 'test/it.test.ts'
const missing = spawnSync('git', ['--version']).status === 0 ? false : 'there is no git'

class History {
  readonly folder: string
  #count = 0

  constructor(folder: string) {
    this.folder = folder
    mkdirSync(join(folder, 'test'), { recursive: true })
    this.git('init', '--quiet', '--initial-branch=main')
  }

  git(...argv: string[]): string {
    const who = ['-c', 'user.name=test', '-c', 'user.email=test@localhost', '-c', 'commit.gpgsign=false']
    return execFileSync('git', ['-C', this.folder, ...who, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
      .toString()
      .trim()
  }

  /** Creates a commit that writes `file`. */
  commit(file: string = 'other.txt'): string {
    writeFileSync(join(this.folder, file), `${++this.#count}\n`)
    this.git('add', '--all')
    this.git('commit', '--quiet', '--message', `change ${this.#count}`)
    return this.head
  }

  get head(): string {
    return this.git('rev-parse', 'HEAD')
  }

  get previous(): string {
    const found = previousRelease(this.folder, FILE)
    return 'unavailable' in found ? found.unavailable : found.commit
  }
}

const inHistory = (body: (history: History) => void) => () =>
  withDirectory((directory) => body(new History(realpathSync(directory))))

describe('the previous release', { skip: process.env['CI'] ? false : missing }, () => {
  it(
    'is the first commit that has the test, until there is a tag',
    inHistory((history) => {
      history.commit()
      const first = history.commit(FILE)
      assert.equal(history.previous, first, 'HEAD itself')
      history.commit()
      history.commit(FILE)
      assert.equal(history.previous, first)
    }),
  )

  it(
    'is the merge that brought the test: its branch lacks what the main line had',
    inHistory((history) => {
      history.commit()
      history.git('switch', '--quiet', '--create', 'branch')
      history.commit(FILE)
      history.git('switch', '--quiet', 'main')
      history.commit('main.txt')
      history.git('merge', '--quiet', '--no-ff', '--message', 'merge', 'branch')
      const merge = history.head
      history.commit()
      assert.equal(history.previous, merge)
    }),
  )

  it(
    'is HEAD while the test is not committed',
    inHistory((history) => {
      const head = history.commit()
      writeFileSync(join(history.folder, FILE), '')
      assert.equal(history.previous, head)
    }),
  )

  for (const annotated of [true, false]) {
    it(
      `is the last ${annotated ? 'annotated' : 'lightweight'} tag of a version, whatever other tags there are`,
      inHistory((history) => {
        const tag = (name: string): string =>
          history.git('tag', ...(annotated ? ['--annotate', '--message', name] : []), name)
        history.commit(FILE)
        tag('v0.9.0')
        const release = history.commit()
        tag('v0.10.0')
        history.commit()
        tag('nightly')
        assert.equal(history.previous, release)
        const found = previousRelease(history.folder, FILE)
        assert.equal('name' in found && found.name, 'v0.10.0')
        history.commit()
        tag('v0.11.0')
        assert.equal(history.previous, release, 'a release is compared with the one before it')
      }),
    )
  }

  it(
    'of the first release is the first commit that has the test',
    inHistory((history) => {
      const first = history.commit(FILE)
      history.commit()
      history.git('tag', 'v0.1.0')
      assert.equal(history.previous, first)
    }),
  )

  it(
    'is not in a shallow clone, which says how it gets there',
    inHistory((history) => {
      history.commit(FILE)
      history.commit()
      const clone = join(history.folder, 'clone')
      history.git('clone', '--quiet', '--depth=1', `file://${history.folder}`, clone)
      const found = previousRelease(clone, FILE)
      assert.match('unavailable' in found ? found.unavailable : '', /shallow.*: git fetch --unshallow --tags$/)
    }),
  )

  it('is not known without a history of its own', () =>
    withDirectory((directory) => {
      const found = previousRelease(directory, FILE)
      assert.match('unavailable' in found ? found.unavailable : '', /no git history: run this in a clone/)
      const history = new History(realpathSync(directory))
      history.commit(FILE)
      // The sources are unpacked inside another repository.
      const inside = previousRelease(join(directory, 'test'), 'it.test.ts')
      assert.match('unavailable' in inside ? inside.unavailable : '', /not a clone of its own/)
    }))

  it(
    'is unpacked as it was, with dependencies',
    inHistory((history) => {
      history.commit(FILE)
      const release = previousRelease(history.folder, FILE)
      assert.ok('commit' in release)
      history.commit(FILE)
      const folder = join(history.folder, 'unpacked')
      unpack(history.folder, release, folder)
      assert.equal(readFileSync(join(folder, FILE), 'utf8'), '1\n')
      assert.ok(existsSync(join(folder, 'node_modules', 'msgpackr', 'package.json')))
    }),
  )
})
