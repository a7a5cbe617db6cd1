/** The recipes of docs/deploy.md for the Compose file, run under load exactly as the page has them. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { after, before, describe, it, type TestContext } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { assertSafe, type Outcome } from '../support/load.ts'
import { withoutEngine } from './engine.ts'
import { buildImages, buildNodeImages, docker, IMAGE, Project, until } from './project.ts'

// testcontainers' reaper needs an image that would have to be pulled. These tests stop what they start.
process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'

/** Timeout of a test, ms. */
const patience = { timeout: 150_000 }

const ROLLOUT = repositoryFile('deploy/compose/rollout')

/** The scripts that the page runs in the proxy under a heading, in order. */
function scriptsOf(heading: string): string[] {
  const page = readFileSync(repositoryFile('docs/deploy.md'), 'utf8')
  const section = page.slice(page.indexOf(heading))
  const [, block = ''] = /```console\n([\s\S]*?)```/.exec(section) ?? []
  return [...block.matchAll(/^\$ docker compose exec proxy sh -c '(.*)'$/gm)].map(([, script = '']) => script)
}

/** The response of the proxy at an address, also for a host name that no resolver knows. */
async function get(port: number, path: string, host = 'localhost'): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const asking = request({ host: '127.0.0.1', port, path, headers: { Host: host } }, async (response) =>
    resolve({ status: response.statusCode ?? 0, text: await text(response) }),
  )
  asking.on('error', reject).end()
  return promise
}

/** Runs `change` under load, and asserts that no request failed. */
async function underLoad(t: TestContext, project: Project, change: () => Promise<void>): Promise<Outcome[]> {
  const load = project.load(await project.port('proxy', 8080))
  try {
    await load.answered(100)
    await change()
    await load.answered(200)
  } finally {
    await load.stop()
  }
  assertSafe(load.outcomes, project.runs.count())
  const failed = load.outcomes.filter(({ status, complete }) => status !== 200 || !complete)
  t.diagnostic(`${load.outcomes.length} requests, ${failed.length} failed`)
  assert.deepEqual(failed, [])
  return load.outcomes
}

describe('recipes for the Compose file', { skip: withoutEngine(), timeout: 900_000 }, () => {
  const project = new Project()

  before(async () => {
    await buildImages()
    await buildNodeImages()
    await project.up()
    await project.scale({ container: 2 })
  })

  after(() => project.down())

  it('replace the image: new containers beside the old ones, and no request fails', patience, async (t) => {
    // A stopped container is not started again, and is not counted.
    await project.scale({ container: 3 })
    const [stopped = '', ...old] = await project.containers('container')
    await docker('stop', stopped)
    await underLoad(t, project, async () => void (await project.command(ROLLOUT, [`${IMAGE}:2`])))
    const now = await project.containers('container')
    assert.equal(now.length, old.length)
    assert.ok(!now.some((name) => old.includes(name)))
    assert.equal(project.runsSoFar().at(-1)?.version, '2')
    for (const name of [stopped, ...old]) await assert.rejects(docker('inspect', name), /No such object/)
  })

  it(
    'replace the image by one that does not start: the old containers continue to serve, and no request fails',
    patience,
    async (t) => {
      const old = await project.containers('container')
      await underLoad(t, project, async () => {
        await assert.rejects(project.command(ROLLOUT, [`${IMAGE}:bad`]), {
          code: 1,
          stderr: /removing the new containers, the old ones continue to serve/,
        })
      })
      assert.deepEqual((await project.containers('container')).sort(), old.sort())
      await assert.rejects(project.command(ROLLOUT, ['gantry/no-such-image:1']), {
        code: 1,
        stderr: /the image .* was not found here, and cannot be pulled/,
      })
    },
  )

  it(
    'replace the token: links are made by the new one, none fails meanwhile, and the old one is refused',
    patience,
    async (t) => {
      const scripts = scriptsOf('**Replace the token**')
      assert.equal(scripts.length, 2)
      const [name = ''] = await project.containers('proxy')
      const tokens = async (): Promise<string[]> =>
        (await docker('exec', name, 'cat', '/run/gantry-secret/token')).split('\n')
      const before = await tokens()
      assert.equal(before.length, 1)
      await underLoad(t, project, async () => {
        await project.compose(['exec', '-T', 'proxy', 'sh', '-c', scripts[0]!])
        const both = await tokens()
        assert.deepEqual([both.length, both[1]], [2, before[0]])
        await project.scale({ container: 3 }, { GANTRY_IMAGE: `${IMAGE}:2` })
        await project.ran(await project.containers('container'))
        await project.compose(['exec', '-T', 'proxy', 'sh', '-c', scripts[1]!])
        assert.deepEqual(await tokens(), [both[0]])
        await project.scale({ container: 4 }, { GANTRY_IMAGE: `${IMAGE}:2` })
        await project.ran(await project.containers('container'))
      })
      const network = ['--network', `${project.name}_default`]
      const stranger = await docker(
        'run',
        '-d',
        ...network,
        '-e',
        `GANTRY_TOKEN=${before[0]}`,
        `${IMAGE}:1`,
        '--join=proxy:9000',
      )
      try {
        await until(async () => (await project.log(stranger)).some(({ msg }) => /cannot be joined/.test(String(msg))))
      } finally {
        await docker('rm', '--force', stranger)
      }
      const mode = await docker('exec', name, 'stat', '-c', '%a', '/run/gantry-secret/token')
      assert.equal(mode, '600')
    },
  )

  it('serve an application that listens itself: its image says so', patience, async () => {
    await project.scale({ container: 1 }, { GANTRY_IMAGE: `${IMAGE}:node` })
    const port = await project.port('proxy', 8080)
    await until(async () => (await get(port, '/x')).text === 'listens itself: /x\n')
  })

  it('serve an application that listens itself: GANTRY_MODULE and GANTRY_INTERFACE say so', patience, async () => {
    await project.scale(
      { container: 1 },
      { GANTRY_IMAGE: `${IMAGE}:silent`, GANTRY_MODULE: './app.mjs', GANTRY_INTERFACE: 'node' },
    )
    const [name = ''] = await project.containers('container')
    const port = await project.port('proxy', 8080)
    await until(async () => (await get(port, '/y')).text === 'listens itself: /y\n')
    assert.equal(await docker('inspect', '--format', '{{.RestartCount}}', name), '0')
  })
})

describe('two applications behind one Compose file', { skip: withoutEngine(), timeout: 400_000 }, () => {
  const project = new Project([], ['deploy/compose/two-apps.yml'])

  before(async () => {
    await buildImages()
    await buildNodeImages()
    process.env['GANTRY_ADMIN_IMAGE'] = `${IMAGE}:node`
    await project.up()
  })

  after(async () => {
    delete process.env['GANTRY_ADMIN_IMAGE']
    await project.down()
  })

  it('are selected by path and by host', patience, async () => {
    const port = await project.port('proxy', 8080)
    await until(async () => (await get(port, '/admin/x')).status === 200)
    assert.equal((await get(port, '/admin/x')).text, 'listens itself: /x\n')
    assert.equal((await get(port, '/x', 'admin.localhost')).text, 'listens itself: /x\n')
    for (const [path, host] of [
      ['/who', 'localhost'],
      ['/administration', 'localhost'],
      ['/who', 'www.admin.localhost'],
    ] as const) {
      assert.match((await get(port, path, host)).text, /"container":/)
    }
  })

  it('are scaled and deployed independently', patience, async (t) => {
    const port = await project.port('proxy', 8080)
    const own = await project.containers('container')
    await project.scale({ admin: 2 })
    const old = await project.containers('admin')
    await underLoad(t, project, async () => {
      await project.command(ROLLOUT, [`${IMAGE}:1`, 'admin', 'GANTRY_ADMIN_IMAGE'])
      await until(async () => /"container":/.test((await get(port, '/admin/who')).text))
    })
    assert.deepEqual(await project.containers('container'), own)
    assert.ok(!(await project.containers('admin')).some((name) => old.includes(name)))
  })
})
