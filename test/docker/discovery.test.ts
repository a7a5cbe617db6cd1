/**
 * The same Compose project, with containers that the proxy finds by their host name instead of containers that join.
 */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { assertSafe, type Outcome } from '../support/load.ts'
import { withoutEngine } from './engine.ts'
import { buildImages, Project } from './project.ts'

process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'

describe('a proxy that asks for the containers’ name', { skip: withoutEngine(), timeout: 300_000 }, () => {
  const project = new Project([], ['deploy/compose/dns.yml'])

  before(async () => {
    await buildImages()
    await project.up()
  })

  after(() => project.down())

  it('finds added containers, and fails no request when they stop', { timeout: 90_000 }, async (t) => {
    const load = project.load(await project.port('proxy', 8080))
    let outcomes: Outcome[] = []
    try {
      await load.answered(100)
      await project.scale({ container: 3 })
      const names = await project.containers('container')
      await project.ran(names)
      t.diagnostic(`from start to first request: ${(await project.firstRuns(names)).join(', ')} ms`)
      await project.scale({ container: 1 })
      await load.answered(200)
    } finally {
      outcomes = await load.stop()
    }
    assertSafe(outcomes, project.runs.count())
    assert.deepEqual(
      outcomes.filter(({ status, complete }) => status !== 200 || !complete),
      [],
    )
    t.diagnostic(`${outcomes.length} requests, 0 failed`)
  })
})
