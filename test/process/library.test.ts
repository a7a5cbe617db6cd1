/** A program that uses Gantry as a library keeps its process unchanged: V8 flags, listeners, globals and prototypes. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'

interface Report {
  readonly answers: readonly string[]
  readonly imported: readonly string[]
  readonly whileServing: readonly string[]
  readonly afterwards: readonly string[]
}

/** The list by which copies of Gantry in one process find each other (protocol/contract/brand.ts). */
const ALLOWED = ['globalThis.Symbol(gantry.copies)']

test('library use of every entry point changes no V8 flag, process listener, global or prototype', async () => {
  const child = new TestChild([repositoryFile('test/fixtures/library.ts')])
  try {
    assert.deepEqual(await child.exited, { code: 0, signal: null }, child.stderr)
    const report = JSON.parse(child.stdout) as Report
    assert.deepEqual(new Set(report.answers), new Set([String(12 * 1024 * 1024)]))
    assert.deepEqual(report.imported, ALLOWED)
    assert.deepEqual(report.whileServing, ALLOWED)
    assert.deepEqual(report.afterwards, ALLOWED)
  } finally {
    await child.end()
  }
})
