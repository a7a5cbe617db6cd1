/**
 * Servers behind a load balancer (one is a real nginx) that are stopped and started under load. nginx keeps connections
 * open and does not repeat a POST that it has sent, so a connection that closes without notice causes a 502.
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
/** A balancer without health checks learns from responses, which are frequent here, that a server stops. */
const DELAY = ['--drain-delay', '500ms']
const quiet = ['--access-log', 'off', '--log-level', 'error']

/** A load balancer in front of two servers, which are stopped one at a time. */
interface Balancer {
  readonly port: number
  stop(): Promise<void>
}

interface Way {
  title: string
  skip?: string | undefined
  balancer: (ports: readonly number[]) => Promise<Balancer>
  /** The command line of a server. `container` is the port of a container that is not stopped. */
  server: (address: string, container: number) => string[]
  /** Default: DELAY. */
  options?: readonly string[]
}

function nginx(location: string): Way['balancer'] {
  return (ports) => {
    const servers = ports.map((port) => `    server 127.0.0.1:${port} max_fails=0;`)
    return startNginx(location, `  upstream servers {\n${servers.join('\n')}\n    keepalive 32;\n  }`)
  }
}

const nginxKeepAlive = nginx(`
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Connection '';`)

const nginxUwsgi = nginx(`
      include /etc/nginx/uwsgi_params;
      uwsgi_pass servers;`)

function gantry(scheme: 'http://' | 'tcp:'): Way['balancer'] {
  return async (ports) => {
    const upstreams = ports.flatMap((port) => ['--upstream', `${scheme}127.0.0.1:${port}`])
    const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', ...upstreams, ...quiet])
    return {
      port: proxy.port,
      stop: async () => {
        assert.deepEqual(faultsOf(proxy), [])
        await proxy.child.end()
      },
    }
  }
}

const container: Way['server'] = (address) => ['container', FIXTURES, '--listen', address]
const proxyOf: Way['server'] = (address, port) => ['proxy', '--listen', address, '--upstream', `tcp:127.0.0.1:${port}`]

const ways: Way[] = [
  { title: 'containers behind nginx with keepalive', skip: noNginx, balancer: nginxKeepAlive, server: container },
  {
    title: 'containers without a delay behind nginx with keepalive',
    skip: noNginx,
    balancer: nginxKeepAlive,
    server: container,
    options: [],
  },
  { title: 'containers behind nginx over uwsgi', skip: noNginx, balancer: nginxUwsgi, server: container },
  { title: 'proxies behind nginx with keepalive', skip: noNginx, balancer: nginxKeepAlive, server: proxyOf },
  {
    title: 'proxies of two workers behind nginx with keepalive',
    skip: noNginx,
    balancer: nginxKeepAlive,
    server: (address, port) => [...proxyOf(address, port), '--workers', '2'],
  },
  { title: 'containers behind a proxy over HTTP', balancer: gantry('http://'), server: container },
  { title: 'containers behind a proxy over frames', balancer: gantry('tcp:'), server: container },
]

/** Stops and starts two servers alternately, twelve times. */
async function stopped(way: Way, runs: Runs): Promise<Outcome[]> {
  const env = { FIXTURE_RUNS: runs.path }
  const all: Gantry[] = []
  const start = async (argv: readonly string[]): Promise<Gantry> => {
    const one = await startGantry([...argv, ...quiet], { env })
    all.push(one)
    return one
  }
  const behind = await start(container('127.0.0.1:0', 0))
  const ports = [await freePort(), await freePort()]
  const { options = DELAY } = way
  const argv = ports.map((port) => [...way.server(`127.0.0.1:${port}`, behind.port), ...options])
  let balancer: Balancer | undefined
  try {
    const servers = await Promise.all(argv.map(start))
    balancer = await way.balancer(ports)
    const load = new Load({ port: balancer.port, seed: 7, clients: 16, body: 20_000, work: 10 })
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
    await balancer?.stop()
    await Promise.all(all.map(({ child }) => child.end()))
  }
}

describe(`${STOPS} stops under load fail no request`, () => {
  for (const way of ways) {
    it(way.title, { timeout: 240_000, skip: way.skip ?? false }, async (t: TestContext) => {
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
