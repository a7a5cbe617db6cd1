import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { DockerComposeEnvironment, type StartedDockerComposeEnvironment } from 'testcontainers'
import { withoutEngine } from './engine.ts'

// Its reaper is a container of an image that has to be pulled; what is started here is stopped here.
process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'

const root = new URL('../..', import.meta.url).pathname
const project = `gantry-test-${randomBytes(3).toString('hex')}`

describe('docker compose up', { skip: withoutEngine(), timeout: 600_000 }, () => {
  let environment: StartedDockerComposeEnvironment
  let url: string

  before(async () => {
    environment = await new DockerComposeEnvironment(root, 'docker-compose.yml')
      .withProjectName(project)
      .withEnvironment({ GANTRY_PORT: '0' })
      .withBuild()
      .up()
    const proxy = environment.getContainer('proxy-1')
    url = `http://${proxy.getHost()}:${proxy.getMappedPort(8080)}/`
  })

  after(async () => {
    await environment?.down({ timeout: 15_000, removeVolumes: true })
  })

  /** The host names that answered `count` requests one after another; each must succeed. */
  async function answering(count: number): Promise<Set<string>> {
    const names = new Set<string>()
    for (let at = 0; at < count; at++) {
      const response = await fetch(url)
      assert.equal(response.status, 200)
      assert.equal(response.headers.get('server'), 'gantry')
      const page = await response.text()
      names.add(/<b id="container">([^<]+)</.exec(page)?.[1] ?? 'nobody')
    }
    return names
  }

  it('serves the page of the example through the proxy', async () => {
    const names = await answering(3)
    assert.equal(names.size, 1)
    assert.ok(!names.has('nobody'))
  })

  it('gives requests to three containers soon after it was told to run three', { timeout: 120_000 }, async () => {
    execFileSync('docker', ['compose', '-p', project, 'up', '-d', '--no-build', '--scale', 'container=3'], {
      cwd: root,
      env: { ...process.env, GANTRY_PORT: '0' },
      stdio: 'pipe',
    })
    let names = await answering(20)
    while (names.size < 3) names = names.union(await answering(20))
    assert.equal(names.size, 3)
  })
})
