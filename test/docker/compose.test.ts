/** `docker compose up`, and changes of its containers while clients send requests. */

import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { GenericContainer, Wait } from 'testcontainers'
import { KEEP_RUNNING } from '../../protocol/frames/replayable-body.ts'
import { assertSafe, type Outcome } from '../support/load.ts'
import { withoutEngine } from './engine.ts'
import { buildImages, docker, IMAGE, Project, until } from './project.ts'

// testcontainers' reaper needs an image that would have to be pulled. These tests stop what they start.
process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'

/** Timeout of a test, ms. */
const patience = { timeout: 90_000 }

function failed(outcomes: readonly Outcome[]): Outcome[] {
  return outcomes.filter(({ status, complete }) => status !== 200 || !complete)
}

/**
 * Each failed request has an allowed reason: its response had begun and was visibly truncated; it got 502 because it
 * may not run twice; or its body is kept only until the application starts.
 */
function assertUnrepeatable(outcomes: readonly Outcome[]): void {
  for (const { id, method, size, status, complete } of outcomes) {
    if (status === 200 && !complete) continue
    assert.equal(status, 502, id)
    assert.ok(method === 'POST' || size > KEEP_RUNNING, `${method} ${id} of ${size} bytes was not repeated`)
  }
}

describe('docker compose up', { skip: withoutEngine(), timeout: 600_000 }, () => {
  const project = new Project(['nginx', 'unix'])

  before(async () => {
    await buildImages()
    await project.up()
  })

  after(() => project.down())

  // Read each time: a replaced or restarted container has another port.
  const proxy = (): Promise<number> => project.port('proxy', 8080)
  const uwsgi = (): Promise<number> => project.port('nginx', 8081)
  const http = (): Promise<number> => project.port('nginx', 8082)
  const proxies = (): Promise<number> => project.port('nginx', 8083)

  /** Runs `change` under load on `port`, until `then` holds. */
  async function underLoad(
    port: () => Promise<number>,
    change: () => Promise<void>,
    then?: () => Promise<void>,
  ): Promise<Outcome[]> {
    const load = project.load(await port())
    try {
      await load.answered(100)
      await change()
      await then?.()
      await load.answered(200)
    } finally {
      await load.stop()
    }
    assertSafe(load.outcomes, project.runs.count())
    return load.outcomes
  }

  /** Resolves when a proxy has this number of containers. */
  function ready(name: string, containers: number): Promise<void> {
    const wanted = `"containers":${containers},`
    return until(async () => (await docker('exec', name, 'gantry', 'health').catch(() => '')).includes(wanted))
  }

  function told(t: TestContext, outcomes: readonly Outcome[]): void {
    t.diagnostic(`${outcomes.length} requests, ${failed(outcomes).length} failed`)
  }

  it('serves the application through the proxy and through nginx, over uwsgi and HTTP', patience, async () => {
    for (const port of [proxy, uwsgi, http, proxies]) {
      const response = await fetch(`http://127.0.0.1:${await port()}/who`, { method: 'POST', body: 'x' })
      assert.equal(response.status, 200)
      const { container } = (await response.json()) as { container: string }
      assert.match(container, /^[0-9a-f]{12}$/)
    }
  })

  it('is healthy, runs as an unprivileged user, and cannot write anywhere', patience, async () => {
    for (const service of ['proxy', 'container', 'container-unix']) {
      const [name = ''] = await project.containers(service)
      await until(async () => (await docker('inspect', '--format', '{{.State.Health.Status}}', name)) === 'healthy')
      assert.equal(await docker('exec', name, 'id', '-u'), '1000')
      await assert.rejects(docker('exec', name, 'touch', '/app/file'), /Read-only file system/)
    }
  })

  it('fails no request while containers are added, and sends requests to each of them', patience, async (t) => {
    const before = await project.containers('container')
    let names: string[] = []
    const outcomes = await underLoad(
      proxy,
      () => project.scale({ container: 4 }),
      async () => {
        names = (await project.containers('container')).filter((name) => !before.includes(name))
        assert.equal(names.length, 3)
        await project.ran(names)
      },
    )
    assert.deepEqual(failed(outcomes), [])
    told(t, outcomes)
    t.diagnostic(`from start to first request: ${(await project.firstRuns(names)).join(', ')} ms`)
  })

  for (const [wire, port] of [
    ['uwsgi', uwsgi],
    ['HTTP', http],
  ] as const) {
    it(`shows new containers to nginx over ${wire}, and fails no request when they go`, patience, async (t) => {
      await project.scale({ container: 2 })
      project.forgetRuns()
      const outcomes = await underLoad(
        port,
        async () => {
          await project.scale({ container: 4 })
          await project.ran(await project.containers('container'))
        },
        () => project.scale({ container: 2 }),
      )
      assert.deepEqual(failed(outcomes), [])
      told(t, outcomes)
    })
  }

  it('fails no request while containers are removed', patience, async (t) => {
    await project.scale({ container: 4 })
    const outcomes = await underLoad(proxy, () => project.scale({ container: 1, 'container-unix': 0 }))
    assert.deepEqual(failed(outcomes), [])
    told(t, outcomes)
    assert.equal((await project.containers('container')).length, 1)
  })

  it('fails no request while every container is replaced by one of another image', patience, async (t) => {
    await project.scale({ container: 2 })
    const outcomes = await underLoad(
      proxy,
      () => project.scale({ container: 2 }, { GANTRY_IMAGE: `${IMAGE}:2` }),
      () => until(() => project.runsSoFar().at(-1)?.version === '2'),
    )
    assert.deepEqual(failed(outcomes), [])
    told(t, outcomes)
    await project.scale({ container: 2 })
  })

  it('runs no POST twice when a container is killed, and retries requests that may be retried', patience, async (t) => {
    const [name = ''] = await project.containers('container')
    const outcomes = await underLoad(
      proxy,
      async () => void (await docker('kill', name)),
      async () => {
        const killed = Date.now()
        await docker('start', name)
        await project.ran([name], killed)
      },
    )
    assertUnrepeatable(failed(outcomes))
    told(t, outcomes)
  })

  it(
    'serves without a container that is unreachable, and with the container when it is reachable again',
    patience,
    async (t) => {
      const [name = ''] = await project.containers('container')
      const network = `${project.name}_default`
      const outcomes = await underLoad(
        proxy,
        async () => void (await docker('network', 'disconnect', network, name)),
        async () => {
          const cut = Date.now()
          await docker('network', 'connect', '--alias', 'container', network, name)
          await project.ran([name], cut)
        },
      )
      assertUnrepeatable(failed(outcomes))
      told(t, outcomes)
    },
  )

  it('finishes the running requests of a container that is stopped', patience, async () => {
    const [name = ''] = await project.containers('container')
    const url = `http://127.0.0.1:${await proxy()}/who?ms=3000`
    const slow = Array.from({ length: 8 }, () => fetch(url, { method: 'POST' }))
    // The node of each container is known only from its responses. There are several, so that some run on this node.
    await until(async () => (await docker('exec', name, 'gantry', 'health')).includes('"running":0') === false)
    await docker('stop', name)
    const answers = await Promise.all(slow)
    assert.deepEqual(
      answers.map(({ status }) => status),
      slow.map(() => 200),
    )
    assert.ok(answers.some(({ headers }) => headers.get('x-container') === name))
    assert.equal(await docker('inspect', '--format', '{{.State.ExitCode}}', name), '0')
    assert.ok((await project.log(name)).some(({ msg }) => msg === 'drained'))
    await docker('start', name)
  })

  it('refuses a container with another secret, and both sides say so', patience, async () => {
    const stranger = await new GenericContainer(`${IMAGE}:1`)
      .withNetworkMode(`${project.name}_default`)
      .withEnvironment({ GANTRY_TOKEN: 'not the secret' })
      .withCommand(['application.ts', '--join', 'proxy:9000'])
      .withWaitStrategy(Wait.forLogMessage(/a proxy cannot be joined/))
      .start()
    try {
      const lines = await project.log(stranger.getId())
      assert.match(String(lines.find(({ msg }) => /cannot be joined/.test(String(msg)))?.['error']), /token|secret/)
      const [name = ''] = await project.containers('proxy')
      await until(async () =>
        (await project.log(name)).some(
          ({ msg, error }) => /closed before it joined/.test(String(msg)) && /token|secret/.test(String(error)),
        ),
      )
    } finally {
      await stranger.stop()
    }
  })

  it('scales on Unix sockets of a shared volume too', patience, async (t) => {
    const outcomes = await underLoad(
      proxy,
      () => project.scale({ container: 1, 'container-unix': 3 }),
      async () => project.ran(await project.containers('container-unix')),
    )
    assert.deepEqual(failed(outcomes), [])
    told(t, outcomes)
    const fewer = await underLoad(proxy, () => project.scale({ container: 2, 'container-unix': 0 }))
    assert.deepEqual(failed(fewer), [])
    told(t, fewer)
  })

  it(
    'lets containers join every proxy, and keeps serving when one of two proxies is killed and replaced',
    patience,
    async (t) => {
      await project.scale({ proxy: 2, container: 2 })
      const names = await project.containers('proxy')
      for (const name of names) await ready(name, 2)
      const outcomes = await underLoad(
        proxies,
        async () => void (await docker('rm', '--force', names[1] ?? '')),
        async () => {
          await project.scale({ proxy: 2 })
          const replaced = (await project.containers('proxy')).filter((name) => !names.includes(name))
          assert.equal(replaced.length, 1)
          await ready(replaced[0] ?? '', 2)
        },
      )
      // nginx repeats a request whose connection ended with its proxy if the request is idempotent and its response has
      // not begun.
      assertUnrepeatable(failed(outcomes))
      told(t, outcomes)
      await project.scale({ proxy: 1, container: 2 })
    },
  )

  it(
    'is joined again by its containers when the proxy is restarted, and answers what it had begun',
    patience,
    async (t) => {
      const outcomes = await underLoad(
        proxies,
        async () => void (await project.compose(['restart', 'proxy'])),
        async () => {
          const [name = ''] = await project.containers('proxy')
          await ready(name, 2)
        },
      )
      // Meanwhile there is no proxy, and nginx answers with an error (or closes after an upload that it did not read).
      // No response that has begun is truncated.
      assert.deepEqual(
        failed(outcomes).filter(({ status }) => status === 200),
        [],
      )
      told(t, outcomes)
      assert.deepEqual(failed(await underLoad(proxies, async () => {})), [])
    },
  )

  it(
    'has containers join each of two workers, and fails no request while containers come and go',
    patience,
    async (t) => {
      const two = { GANTRY_WORKERS: '2' }
      await project.scale({ proxy: 1, container: 2 }, two)
      const [name = ''] = await project.containers('proxy')
      /** The number of workers that have this number of containers. */
      const workersWith = async (containers: number): Promise<number> => {
        const joined = new Map<unknown, Set<unknown>>()
        for (const { msg, pid, member } of await project.log(name)) {
          if (msg !== 'container is ready') continue
          joined.set(pid, (joined.get(pid) ?? new Set()).add(String(member).replace(/^.*\(|\/.*$/g, '')))
        }
        return [...joined.values()].filter(({ size }) => size >= containers).length
      }
      await until(async () => (await workersWith(2)) === 2)
      const outcomes = await underLoad(
        proxy,
        async () => {
          await project.scale({ container: 4 }, two)
          await until(async () => (await workersWith(4)) === 2)
        },
        () => project.scale({ container: 2 }, two),
      )
      assert.deepEqual(failed(outcomes), [])
      told(t, outcomes)
      const lines = await project.log(name)
      assert.equal(lines.filter(({ msg }) => msg === 'a worker ended: restarting it').length, 0)
    },
  )
})
