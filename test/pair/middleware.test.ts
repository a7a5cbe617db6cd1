/** `--middleware` in processes: of a container, of a proxy, of both, and of `gantry up`. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { printAddress } from '../../protocol/net/address.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { faultsOf, type Gantry, startGantry } from '../support/gantry.ts'

/** A middleware that adds a field with a name: the fields show where it ran, and in which order. */
const adding = (name: string): string => `(application) => (environ, startResponse) => application(environ,
    (status, headers, ...more) => startResponse(status, [...headers, ['X-Seen', '${name} ' + process.pid]], ...more))`

const files: Record<string, string> = {
  'package.json': '{"type":"module"}',
  'app.ts': `import type { Environ, StartResponse } from '${repositoryFile('protocol/contract/application.ts')}'
    export const application = (environ: Environ, startResponse: StartResponse) => {
      startResponse('200 OK', [['X-Application', String(process.pid)]])
      return [Buffer.from(environ.PATH_INFO)]
    }`,
  'layers.js': `export const middleware = ${adding('outer')}
    export const inner = ${adding('inner')}
    export const answering = (application) => (environ, startResponse) => {
      if (environ.PATH_INFO !== '/closed') return application(environ, startResponse)
      startResponse('418 I Am a Teapot', [])
      return []
    }`,
  'broken.js': 'export const middleware = () => {}',
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
})
after(() => rmSync(directory, { recursive: true, force: true }))

const path = (name: string): string => join(directory, name)
const loopback = ['--listen', '127.0.0.1:0']

async function seen(port: number, target = '/x'): Promise<{ status: number; names: string[]; pids: Set<string> }> {
  const response = await fetch(`http://127.0.0.1:${port}${target}`)
  await response.arrayBuffer()
  const fields = (response.headers.get('x-seen') ?? '').split(', ').filter((one) => one !== '')
  return {
    status: response.status,
    names: fields.map((one) => one.split(' ')[0]!),
    pids: new Set(fields.map((one) => one.split(' ')[1]!)),
  }
}

async function ended(...gantries: Gantry[]): Promise<void> {
  for (const gantry of gantries) {
    await gantry.child.stop()
    assert.deepEqual(faultsOf(gantry), [])
  }
}

describe('--middleware', () => {
  it('of a container wraps its application, the first outermost, and does not see health checks', async () => {
    const health = join(directory, 'health.sock')
    const middleware = ['--middleware', `${path('layers.js')}:answering`, '--middleware', path('layers.js')]
    const more = ['--middleware', `${path('layers.js')}:inner`, '--health-listen', `unix:${health}`]
    const container = await startGantry(['container', path('app.ts'), ...loopback, ...middleware, ...more])
    const { status, names, pids } = await seen(container.port)
    assert.equal(status, 200)
    assert.deepEqual(names, ['inner', 'outer'])
    assert.deepEqual(pids, new Set([String(container.child.process.pid)]))
    // The outermost middleware responds itself, and its response is logged like any other.
    assert.deepEqual(await seen(container.port, '/closed'), { status: 418, names: [], pids: new Set() })
    await container.child.until(() =>
      container.child.log.some((line) => line['url'] === '/closed' && line['status'] === 418),
    )
    const asked = new TestChild([repositoryFile('cli/gantry.ts'), 'health', `unix:${health}`])
    assert.equal((await asked.exited).code, 0, asked.stdout + asked.stderr)
    await ended(container)
  })

  it('of a proxy wraps its pool, and both processes may have middleware', async () => {
    const socket = join(directory, 'pair.sock')
    const container = await startGantry([
      'container',
      path('app.ts'),
      '--listen',
      `unix:${socket}`,
      '--middleware',
      `${path('layers.js')}:inner`,
    ])
    assert.equal(printAddress(container.addresses[0]!), `unix:${socket}`)
    const proxy = await startGantry(
      ['proxy', '--upstream', `unix:${socket}`, ...loopback, '--middleware', `${path('layers.js')}:answering`],
      { env: { GANTRY_MIDDLEWARE: path('layers.js') } },
    )
    // The command line takes precedence over the environment.
    assert.deepEqual((await seen(proxy.port)).names, ['inner'])
    assert.equal((await seen(proxy.port, '/closed')).status, 418)
    await ended(proxy)

    const other = await startGantry(['proxy', '--upstream', `unix:${socket}`, ...loopback], {
      env: { GANTRY_MIDDLEWARE: path('layers.js') },
    })
    const { names, pids } = await seen(other.port)
    assert.deepEqual(names, ['inner', 'outer'])
    assert.deepEqual(pids, new Set([container, other].map(({ child }) => String(child.process.pid))))
    await ended(other, container)
  })

  it('of gantry up runs only in the proxy, also if the environment names it', async () => {
    const argv = [repositoryFile('cli/gantry.ts'), 'up', path('app.ts'), ...loopback]
    const child = new TestChild([...argv, '--middleware', `${path('layers.js')}:inner`], {
      env: { GANTRY_MIDDLEWARE: path('layers.js') },
    })
    const url = /is served at http:\/\/127\.0\.0\.1:(\d+)\//
    await child.until(() => url.test(child.stderr))
    assert.deepEqual((await seen(Number(url.exec(child.stderr)![1]))).names, ['inner'])
    assert.equal((await child.stop()).code, 0)

    const bare = new TestChild(argv, { env: { GANTRY_MIDDLEWARE: path('layers.js') } })
    await bare.until(() => url.test(bare.stderr))
    assert.deepEqual((await seen(Number(url.exec(bare.stderr)![1]))).names, ['outer'])
    assert.equal((await bare.stop()).code, 0)
  })

  for (const argv of [
    ['container', 'app.ts'],
    ['proxy', '--upstream', 'unix:/nowhere.sock'],
  ] as const) {
    it(`that is none ends gantry ${argv[0]} with one sentence`, async () => {
      const child = new TestChild(
        [repositoryFile('cli/gantry.ts'), ...argv, ...loopback, '--middleware', 'broken.js', '--log-level', 'silent'],
        { cwd: directory },
      )
      assert.equal((await child.exited).code, 1)
      assert.equal(
        child.stderr,
        `gantry ${argv[0]}: the middleware of broken.js returned undefined for an application; expected a function of (environ, startResponse)\n`,
      )
    })
  }
})
