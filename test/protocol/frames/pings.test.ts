import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pings } from '../../../protocol/frames/pings.ts'
import { FakeClock } from '../../support/clock.ts'

test('PINGs without an answer are kept up to a limit, then the oldest is rejected', async () => {
  const pings = new Pings(new FakeClock())
  const tokens: Uint8Array[] = []
  const made = Array.from({ length: 100 }, () => pings.make((token) => tokens.push(token)))
  const settled = Promise.allSettled(made)
  assert.equal(pings.answered(tokens[0]!), false)
  assert.equal(pings.answered(tokens[99]!), true)
  const ends = (await settled).map(({ status }) => status)
  assert.deepEqual(ends.slice(0, 84), new Array(84).fill('rejected'))
  assert.deepEqual(ends.slice(84), new Array(16).fill('fulfilled'))
})
