import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ContractError, contractRules, type LintOptions, lint, type RuleCode } from '../../../protocol/contract/lint.ts'
import { bodyTwins } from './lint-twins/body.ts'
import { environTwins } from './lint-twins/environ.ts'
import { gantryTwins } from './lint-twins/gantry.ts'
import { headTwins } from './lint-twins/head.ts'
import { streamTwins } from './lint-twins/streams.ts'
import type { Act, Twin } from './lint-twins/tools.ts'

const twins = Object.entries({
  ...environTwins,
  ...streamTwins,
  ...headTwins,
  ...bodyTwins,
  ...gantryTwins,
}) as [RuleCode, Twin][]

/** The errors that lint reports, and the result of the act. */
async function run(act: Act, options: LintOptions = {}): Promise<{ reported: ContractError[]; thrown: unknown }> {
  const reported: ContractError[] = []
  let thrown: unknown
  try {
    await act((application) => lint(application, { ...options, report: (error) => reported.push(error) }))
  } catch (error) {
    thrown = error
  }
  return { reported, thrown }
}

describe('each rule has a case that breaks it and a twin that keeps it', () => {
  for (const [code, { owes, bad, good }] of twins) {
    const other = owes === 'server' ? 'application' : 'server'
    test(`${code}: the ${owes} is blamed`, async () => {
      const { thrown } = await run(bad)
      assert.ok(thrown instanceof ContractError, `not a ContractError: ${(thrown as Error)?.stack ?? thrown}`)
      assert.equal(thrown.code, code)
      assert.equal(thrown.blame, owes)
      assert.equal(thrown.rule, contractRules[code].sentence)
      assert.equal(thrown.source, contractRules[code].source)
    })

    test(`${code}: the twin passes`, async () => {
      const { reported, thrown } = await run(good)
      assert.equal(thrown, undefined)
      assert.deepEqual(reported, [])
    })

    test(`${code}: nothing is reported if only the ${other} is checked`, async () => {
      const { reported, thrown } = await run(bad, { only: other })
      assert.ok(!reported.some((error) => error.code === code))
      assert.ok(!(thrown instanceof ContractError && thrown.code === code))
    })
  }
})

test('every rule has its twins', () => {
  assert.deepEqual(twins.map(([code]) => code).toSorted(), Object.keys(contractRules).toSorted())
})
