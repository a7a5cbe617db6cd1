/**
 * Servers behind a real nginx that are stopped and started again under load. nginx keeps connections open and repeats no
 * POST that it has sent, so that a connection closed without notice is a 502.
 */

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { FIXTURES, faultsOf, type Gantry, startGantry } from '../support/gantry.ts'
import { Load, type Outcome, Runs } from '../support/load.ts'
import { noNginx, startNginx } from '../support/nginx.ts'
import { freePort, temporary } from '../support/sockets.ts'

const STOPS = 12
const quiet = ['--access-log', 'off', '--log-level', 'error']
/** nginx needs no time to notice that a server leaves, so that a short delay is enough. */
const leaving = ['--drain-delay', '500ms']

interface Way {
  title: string
  /** What is stopped: the `at`-th of two servers, on a port of its own. */
  server: (port: number, container: number) => string[]
  location: string
}

const upstream = (ports: readonly number[]): string => `
  upstream servers {
${ports.map((port) => `    server 127.0.0.1:${port} max_fails=0;`).join('\n')}
    keepalive 32;
  }`

const http = `
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection '';`

const ways: Way[] = [
  {
    title: "a container's HTTP port, keepalive",
    server: (port) => ['container', FIXTURES, '--listen', `127.0.0.1:${port}`],
    location: http,
  },
  {
    title: 'a proxy, keepalive',
    server: (port, container) => [
      'proxy',
      '--listen',
      `127.0.0.1:${port}`,
      '--upstream',
      `http://127.0.0.1:${container}`,
    ],
    location: http,
  },
  {
    title: "a container's uwsgi port",
    server: (port) => ['container', FIXTURES, '--listen', `127.0.0.1:${port}`],
    location: `
      include /etc/nginx/uwsgi_params;
      uwsgi_pass servers;`,
  },
]

/** Stops and starts two servers in turn, twelve times. @returns what the clients saw */
async function stopped(way: Way, runs: Runs): Promise<Outcome[]> {
  const env = { FIXTURE_RUNS: runs.path }
  const all: Gantry[] = []
  const start = async (argv: readonly string[]): Promise<Gantry> => {
    const gantry = await startGantry([...argv, ...quiet], { env })
    all.push(gantry)
    return gantry
  }
  const behind = await start(['container', FIXTURES, '--listen', '127.0.0.1:0'])
  const ports = [await freePort(), await freePort()]
  const argv = ports.map((port) => [...way.server(port, behind.port), ...leaving])
  const nginx = await startNginx(way.location, upstream(ports))
  try {
    const servers = await Promise.all(argv.map(start))
    const load = new Load({ port: nginx.port, seed: 7, clients: 16, body: 20_000, work: 10 })
    await load.answered(100)
    for (let stop = 0; stop < STOPS; stop++) {
      const { child } = servers[stop % 2]!
      child.process.kill('SIGTERM')
      const { code, signal } = await child.exited
      assert.deepEqual({ code, signal, stderr: child.stderr }, { code: 0, signal: null, stderr: '' })
      servers[stop % 2] = await start(argv[stop % 2]!)
      await load.answered(50)
    }
    const outcomes = await load.stop()
    for (const server of [...servers, behind]) assert.deepEqual(faultsOf(server), [])
    return outcomes
  } finally {
    await nginx.stop()
    await Promise.all(all.map(({ child }) => child.end()))
  }
}

describe(`behind nginx, ${STOPS} stops under load fail no request`, { skip: noNginx ?? false }, () => {
  for (const way of ways) {
    it(way.title, { timeout: 240_000 }, async (t: TestContext) => {
      const directory = await temporary()
      try {
        const runs = new Runs(join(directory, 'runs'))
        const outcomes = await stopped(way, runs)
        const failed = outcomes.filter(({ status, complete }) => status !== 200 || !complete)
        t.diagnostic(`${outcomes.length} requests, ${failed.length} failed`)
        assert.deepEqual(failed, [])
        const counts = runs.count()
        for (const { id, method } of outcomes) if (method === 'POST') assert.equal(counts.get(id), 1, `POST ${id}`)
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    })
  }
})
