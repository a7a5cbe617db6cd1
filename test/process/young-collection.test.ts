/** A server process collects the young generation in step with large reads, unless `--no-tune-v8` is set. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'

async function collections(mode: string): Promise<number> {
  const child = new TestChild([repositoryFile('test/fixtures/run.ts'), mode])
  try {
    await child.until(() => /collected \d+ times/.test(child.stdout))
    return Number(/collected (\d+) times/.exec(child.stdout)![1])
  } finally {
    await child.end()
  }
}

test('a server collects the young generation once for each 4 MiB of large reads', async () => {
  assert.equal(await collections('reads-much'), 3)
})

test('small reads lead to no collection: V8 collects them with other garbage', async () => {
  assert.equal(await collections('reads-little'), 0)
})

test('with --no-tune-v8 a server leaves collections to V8', async () => {
  assert.equal(await collections('reads-untuned'), 0)
})
