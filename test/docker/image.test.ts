/** The images themselves, and the example of an image that is built on them. */

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers'
import { repositoryFile } from '../support/child.ts'
import { withoutEngine } from './engine.ts'
import { buildImages, docker, registry, until } from './project.ts'

process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'

describe('the images', { skip: withoutEngine(), timeout: 300_000 }, () => {
  const started: StartedTestContainer[] = []

  before(buildImages)

  after(async () => {
    for (const container of started) await container.stop()
  })

  it('have labels, and run as an unprivileged user', async () => {
    for (const image of ['gantry/proxy', 'gantry/container']) {
      const [{ Config: config }] = JSON.parse(await docker('inspect', image))
      assert.equal(config.User, 'node')
      assert.equal(config.Labels['org.opencontainers.image.title'], 'Gantry')
      assert.equal(config.Labels['org.opencontainers.image.licenses'], 'MIT')
      assert.equal(config.Healthcheck.Test[1], 'gantry')
    }
  })

  it('live in 64 MB while their health is asked every second, since a probe starts no second Node', async () => {
    const name = `gantry-test-small-${process.pid}`
    const memory = ['--memory', '64m', '--memory-swap', '64m']
    const probes = ['--health-interval', '1s']
    const command = ['gantry/container', 'application.ts', '--listen', ':8000']
    await docker('run', '-d', '--init', '--read-only', '--name', name, ...memory, ...probes, ...command)
    try {
      const state = async (): Promise<{
        OOMKilled: boolean
        Status: string
        Health: { Log: { ExitCode: number }[] }
      }> => JSON.parse(await docker('inspect', '--format', '{{json .State}}', name))
      const lived = async (): Promise<boolean> => {
        const { Status, OOMKilled, Health } = await state()
        assert.deepEqual([Status, OOMKilled], ['running', false])
        // The engine keeps the last five health results.
        return Health.Log.length === 5 && Health.Log.every(({ ExitCode }) => ExitCode === 0)
      }
      await until(lived)
    } finally {
      await docker('rm', '--force', name)
    }
  })

  it('are a base: an application with packages of its own is copied in, and drains on SIGTERM', {
    skip: withoutEngine() || registry() ? false : 'no package registry can be reached',
    timeout: 120_000,
  }, async () => {
    const image = 'gantry/test-base'
    await docker('build', '-q', '-t', image, repositoryFile('examples/base-image'))
    const container = await new GenericContainer(image)
      .withCommand(['application.ts', '--listen', ':8000'])
      .withExposedPorts(8000)
      .withWaitStrategy(Wait.forHealthCheck())
      .start()
    started.push(container)
    const answer = await fetch(`http://127.0.0.1:${container.getMappedPort(8000)}/?name=%3Cyou%3E`)
    assert.equal(await answer.text(), '<p>Hello <b>&lt;you&gt;</b>\n')
    await docker('stop', container.getId())
    assert.equal(await docker('inspect', '--format', '{{.State.ExitCode}}', container.getId()), '0')
  })
})
