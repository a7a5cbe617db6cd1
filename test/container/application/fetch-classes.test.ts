/** `--fetch-classes`: the `Request` and `Response` classes of a container's process. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { repositoryFile } from '../../support/child.ts'
import { startGantry } from '../../support/gantry.ts'

async function classes(...argv: string[]): Promise<string> {
  const module = repositoryFile('test/apps/fetch-classes.ts')
  const { child, port } = await startGantry(['container', module, '--listen', '127.0.0.1:0', ...argv])
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`)
    return await answer.text()
  } finally {
    await child.end()
  }
}

test('fetch handlers get light requests, with and without --interface fetch', async () => {
  assert.equal(await classes(), 'light')
  assert.equal(await classes('--interface', 'fetch'), 'light')
})

test("with --fetch-classes platform the classes of the process are Node's", async () => {
  assert.equal(await classes('--fetch-classes', 'platform'), 'platform')
})
