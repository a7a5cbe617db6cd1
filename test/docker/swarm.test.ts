/** The Swarm stack on a swarm of one node, which the test creates and leaves. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { repositoryFile } from '../support/child.ts'
import { assertSafe, Load, Runs } from '../support/load.ts'
import { freePort } from '../support/sockets.ts'
import { withoutEngine } from './engine.ts'
import { buildImages, docker, IMAGE, until } from './project.ts'

const STACK = 'gantrytest'
const SERVICE = `${STACK}_container`

describe('docker stack deploy', { skip: withoutEngine(), timeout: 400_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-runs-'))
  const runs = new Runs(join(directory, 'runs'))
  let port = 0
  let mine = false
  let seed = 100

  before(async () => {
    const state = await docker('info', '--format', '{{.Swarm.LocalNodeState}}')
    assert.equal(state, 'inactive', 'this machine is in a swarm already, which this test would leave')
    chmodSync(directory, 0o777)
    chmodSync(runs.path, 0o666)
    port = await freePort()
    await buildImages()
    await docker('swarm', 'init', '--advertise-addr', '127.0.0.1', '--listen-addr', '127.0.0.1:2377')
    mine = true
    const secret = promisify(execFile)('docker', ['secret', 'create', 'gantry_token', '-'])
    secret.child.stdin?.end('a secret of this test')
    await secret
    await promisify(execFile)(
      'docker',
      [
        'stack',
        'deploy',
        '--resolve-image',
        'never',
        '-c',
        'deploy/swarm/stack.yml',
        '-c',
        'test/docker/stack.yml',
        STACK,
      ],
      {
        cwd: repositoryFile('.'),
        env: { ...process.env, GANTRY_PORT: String(port), GANTRY_IMAGE: `${IMAGE}:1`, TEST_RUNS: directory },
      },
    )
    await until(async () => (await replicas()) === '3/3')
  })

  after(async () => {
    if (mine) {
      await docker('stack', 'rm', STACK)
      const label = `label=com.docker.stack.namespace=${STACK}`
      await until(async () => (await docker('ps', '-aq', '--filter', label)) === '')
      await docker('swarm', 'leave', '-f')
    }
    rmSync(directory, { recursive: true, force: true })
  })

  function replicas(): Promise<string> {
    return docker('service', 'ls', '--filter', `name=${SERVICE}`, '--format', '{{.Replicas}}')
  }

  function versions(): string[] {
    return readFileSync(runs.path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ')[4] ?? '')
  }

  /** Changes the image of the service under load, until the update has succeeded or failed. No request may fail. */
  async function update(image: string): Promise<{ ended: string; requests: number }> {
    const load = new Load({ port, seed: seed++, clients: 8, body: 20_000, work: 20 })
    let ended = ''
    try {
      await load.answered(100)
      await docker('service', 'update', '-d', '--no-resolve-image', '--image', image, SERVICE)
      await until(async () => {
        ended = await docker('service', 'inspect', '--format', '{{.UpdateStatus.State}}', SERVICE)
        return ended === 'completed' || ended === 'rollback_completed'
      })
      await load.answered(200)
    } finally {
      await load.stop()
    }
    assertSafe(load.outcomes, runs.count())
    assert.deepEqual(
      load.outcomes.filter(({ status, complete }) => status !== 200 || !complete),
      [],
    )
    return { ended, requests: load.outcomes.length }
  }

  it('replaces three replicas by replicas of another image, and fails no request', { timeout: 120_000 }, async (t) => {
    const { ended, requests } = await update(`${IMAGE}:2`)
    assert.equal(ended, 'completed')
    assert.equal(versions().at(-1), '2')
    t.diagnostic(`${requests} requests, 0 failed`)
  })

  it('rolls back to the previous image when the new one does not start, and fails no request', {
    timeout: 120_000,
  }, async (t) => {
    const { ended, requests } = await update(`${IMAGE}:bad`)
    assert.equal(ended, 'rollback_completed')
    assert.equal(versions().at(-1), '2')
    t.diagnostic(`${requests} requests, 0 failed`)
  })
})
