/**
 * Runs cases against both servers of a framework: each becomes a test that both give the same response, or differ as
 * the table says.
 */

import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import type { Answer, RequestOptions } from '../support/client.ts'
import { type Both, type InPair, startBoth, within } from './arrangement.ts'
import { seen } from './compare.ts'
import { differenceOf } from './differences.ts'
import type { Case, Framework, Peer } from './shape.ts'

async function ask(peer: Peer, requests: readonly RequestOptions[]): Promise<Answer[]> {
  const answers: Answer[] = []
  for (const request of requests) answers.push(await peer.fetch(request))
  return answers
}

async function observe(both: Both, { run, requests = [] }: Case): Promise<[plain: unknown, pair: unknown, Answer[]]> {
  const { plain, pair } = both
  if (run) {
    const [one, other] = await Promise.all([within(run(plain), 'node:http'), within(run(pair), 'the pair')])
    return [one, other, []]
  }
  const [one, other] = await Promise.all([ask(plain, requests), ask(pair, requests)])
  return [one.map((answer, at) => seen(answer, other[at])), other.map((answer, at) => seen(answer, one[at])), one]
}

export interface Subject {
  readonly framework: Framework
  /** The module; node:http serves its export `server`. */
  readonly module: string
  readonly inPair: InPair
  readonly cases: readonly Case[]
  /** A title, if the framework's name is not enough. */
  readonly title?: string
  /** The minimum number of cases. */
  readonly least: number
}

export function compareFramework({ framework, module, inPair, cases, least, title = framework }: Subject): void {
  const applicable = cases.filter(({ without }) => without?.[framework] === undefined)
  describe(`${title} in the pair, beside node:http`, () => {
    let both: Both
    before(async () => {
      both = await startBoth(framework, module, inPair)
    })
    after(async () => {
      await both?.stop()
      if (process.env['FRAMEWORKS_OUTPUT']) appendFileSync(process.env['FRAMEWORKS_OUTPUT'], both.output())
    })

    for (const one of applicable) {
      it(one.title, { timeout: 150_000 }, async () => {
        try {
          const [plain, pair, answers] = await observe(both, one)
          const status = Array.isArray(one.status) ? one.status : (one.status as Record<string, number[]>)?.[framework]
          if (status)
            assert.deepEqual(
              answers.map((answer) => answer.status),
              status,
              'node:http answers otherwise',
            )
          if ('sees' in one) assert.deepEqual(plain, one.sees, 'node:http is seen otherwise')
          const difference = differenceOf(framework, one.title)
          if (difference) difference.differs(plain, pair)
          else assert.deepEqual(pair, plain)
        } finally {
          both.plain.closeClients()
          both.pair.closeClients()
        }
      })
    }

    it(`is asked in at least ${least} cases, of different titles`, () => {
      assert.ok(applicable.length >= least, `${applicable.length}`)
      assert.equal(new Set(applicable.map((one) => one.title)).size, applicable.length)
    })
  })
}
