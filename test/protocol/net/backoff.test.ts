import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backoff } from '../../../protocol/net/backoff.ts'

const options = { first: 50, most: 2_000 }

test('doubles up to its limit', () => {
  const waits = [1, 2, 3, 6, 7, 100].map((failures) => backoff(failures, options, () => 1))
  assert.deepEqual(waits, [50, 100, 200, 1_600, 2_000, 2_000])
})

test('is jittered down to a half, never to zero', () => {
  assert.equal(
    backoff(1, options, () => 0),
    25,
  )
  assert.equal(
    backoff(50, options, () => 0),
    1_000,
  )
})
