import assert from 'node:assert/strict'
import { mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ABSENT, signatureOf } from '../../dev/messages.ts'
import { describeFiles, Watcher } from '../../dev/watcher.ts'
import { silent } from '../../protocol/log/logger.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'

interface Watched {
  readonly watcher: Watcher
  readonly directory: string
  /** Writes a file, and adds its current state. */
  add(name: string, text: string): string
  /** Resolves with the file of the next change that no earlier call has returned. */
  next(): Promise<string>
  readonly changes: string[]
}

/** @param interval of the looks; Infinity: only notices count */
function watched(interval: number, body: (watched: Watched) => Promise<void>): Promise<void> {
  return withDirectory(async (directory) => {
    const changes: string[] = []
    let waiting: (() => void) | undefined
    const watcher = new Watcher({
      clock: interval === Number.POSITIVE_INFINITY ? new FakeClock() : systemClock,
      log: silent,
      interval,
      onChange: (file) => {
        changes.push(file)
        waiting?.()
      },
    })
    const add = (name: string, text: string): string => {
      const file = join(directory, name)
      writeFileSync(file, text)
      watcher.add(file, signatureOf(statSync(file, { bigint: true })))
      return file
    }
    const next = async (): Promise<string> => {
      // The timers of the watcher do not keep a process alive.
      const alive = setInterval(() => {}, 1_000)
      while (changes.length === 0) {
        await new Promise<void>((resolve) => {
          waiting = resolve
        })
      }
      clearInterval(alive)
      return changes.shift()!
    }
    try {
      await body({ watcher, directory, add, next, changes })
    } finally {
      await watcher.close()
    }
  })
}

for (const [way, interval] of [
  ['by the system’s notices', Number.POSITIVE_INFINITY],
  ['by looking', 20],
] as const) {
  describe(`noticed ${way}`, () => {
    it('is a file that was written', () =>
      watched(interval, async ({ add, next }) => {
        // Immediately: no change is missed, whether the watcher is attached yet or not.
        const file = add('a.ts', 'one')
        for (const text of ['two!', 'three', 'fourth']) {
          writeFileSync(file, text)
          assert.equal(await next(), file)
        }
      }))

    it('is a file that was replaced by a rename, again and again', () =>
      watched(interval, async ({ add, next }) => {
        const file = add('a.ts', 'one')
        add('b.ts', 'other')
        for (const text of ['two!', 'three', 'fourth']) {
          writeFileSync(`${file}~`, text)
          renameSync(`${file}~`, file)
          assert.equal(await next(), file)
        }
      }))

    it('is a file that was not there', () =>
      watched(interval, async ({ watcher, directory, add, next }) => {
        add('b.ts', 'other')
        const file = join(directory, 'a.ts')
        watcher.add(file, ABSENT)
        writeFileSync(file, 'one')
        assert.equal(await next(), file)
      }))
  })
}

describe('a watcher', () => {
  it('tells of a file that was changed between its use and its being added', () =>
    watched(Number.POSITIVE_INFINITY, async ({ watcher, directory, next }) => {
      const file = join(directory, 'a.ts')
      writeFileSync(file, 'two!')
      watcher.add(file, 'as it was')
      assert.equal(await next(), file)
    }))

  it('looks for a file that was removed, and that was made again', () =>
    watched(20, async ({ add, next }) => {
      const file = add('a.ts', 'one')
      add('b.ts', 'other')
      rmSync(file)
      assert.equal(await next(), file)
      writeFileSync(file, 'one')
      assert.equal(await next(), file)
    }))

  it('looks for what appears in a directory that is not there yet', () =>
    watched(20, async ({ watcher, directory, next }) => {
      const file = join(directory, 'later', 'a.ts')
      watcher.add(file, ABSENT)
      mkdirSync(join(directory, 'later'))
      writeFileSync(file, 'one')
      assert.equal(await next(), file)
    }))

  it('reports neither other files nor those that it no longer watches', () =>
    watched(Number.POSITIVE_INFINITY, async ({ watcher, directory, add, changes }) => {
      const kept = add('kept.ts', 'one')
      const dropped = add('dropped.ts', 'one')
      watcher.keep(new Set([kept]))
      writeFileSync(dropped, 'two!')
      writeFileSync(join(directory, 'other.ts'), 'two!')
      await watcher.look()
      assert.deepEqual(changes, [])
      assert.deepEqual(watcher.files, [kept])
    }))

  it('reports a change once', () =>
    watched(Number.POSITIVE_INFINITY, async ({ watcher, add, changes }) => {
      const file = add('a.ts', 'one')
      await watcher.look()
      writeFileSync(file, 'two!')
      await Promise.all([watcher.look(), watcher.look()])
      await watcher.look()
      assert.deepEqual(changes, [file])
    }))

  it('names files by their last part', () => {
    assert.equal(describeFiles(['/a/b.ts']), 'b.ts')
    assert.equal(describeFiles(['/a/b.ts', '/a/c.ts', '/d']), 'b.ts and 2 more')
  })
})
