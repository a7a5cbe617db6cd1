/** Which of an application's servers the container serves, and what happens to the others. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createNetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import {
  decideListen,
  type ListenAction,
  type ListenState,
  type ServerKind,
  type WantedPort,
  wantedPort,
} from '../../../container/application/listen-decision.ts'
import { ListenTakeover } from '../../../container/application/listen-takeover.ts'
import { certificate } from '../../fixtures/certificate.ts'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { FakeClock } from '../../support/clock.ts'
import { startGantry } from '../../support/gantry.ts'
import { RecordingLog } from '../../support/log.ts'

describe('wantedPort', () => {
  for (const [appPort, PORT, expected] of [
    [undefined, undefined, undefined],
    [undefined, '', undefined],
    [undefined, ' 8080 ', { value: 8080, from: 'PORT' }],
    [undefined, '/run/app.sock', { value: '/run/app.sock', from: 'PORT' }],
    [9000, '8080', { value: 9000, from: '--app-port' }],
  ] as const) {
    it(`is ${expected?.value} for --app-port ${appPort} and PORT ${JSON.stringify(PORT)}`, () => {
      assert.deepEqual(wantedPort(appPort, { PORT }), expected)
    })
  }
})

describe('decideListen', () => {
  const wanted: WantedPort = { value: 8080, from: 'PORT' }
  const none: ListenState = { wanted: undefined, served: undefined, isSubstitute: false }
  const other: ListenState = { wanted: undefined, served: 3000, isSubstitute: false }
  const rows: [ServerKind, number, ListenState, ListenAction][] = [
    ['http', 3000, none, 'serve'],
    ['http', 0, none, 'serve'],
    ['http', 8080, { ...none, wanted }, 'serve'],
    ['http', 9090, { ...none, wanted }, 'wait'],
    ['http', 3000, other, 'same-port'],
    ['http', 9090, other, 'independent'],
    ['http', 0, { ...other, served: 0 }, 'independent'],
    ['http', 8080, { wanted, served: 9090, isSubstitute: true }, 'replace'],
    ['http', 9091, { wanted, served: 9090, isSubstitute: true }, 'independent'],
    ['net', 8080, { ...none, wanted }, 'independent'],
    ['net', 3000, none, 'independent'],
  ]
  for (const kind of ['https', 'http2', 'cluster'] as const) {
    rows.push([kind, 8080, { ...none, wanted }, 'refuse'], [kind, 9090, { ...none, wanted }, 'wait'])
    rows.push([kind, 3000, none, 'wait'], [kind, 50_051, other, 'independent'], [kind, 3000, other, 'independent'])
  }
  for (const [kind, port, situation, expected] of rows) {
    it(`is ${expected} for ${kind} on ${port}; wanted: ${situation.wanted?.value}, served: ${situation.served}`, () => {
      assert.equal(decideListen(kind, { port, host: undefined, path: undefined }, situation), expected)
    })
  }
})

describe('a server that listens elsewhere than on PORT', () => {
  let takeover: ListenTakeover | undefined
  const servers: Server[] = []
  afterEach(() => {
    takeover?.restore()
    for (const server of servers.splice(0)) server.close()
  })

  function begin(wanted: WantedPort) {
    const log = new RecordingLog()
    const clock = new FakeClock()
    takeover = new ListenTakeover(log, wanted).install()
    const make = (): Server => {
      const server = createServer()
      servers.push(server)
      return server
    }
    return { takeover, log, clock, make }
  }

  it('is served with a warning if no other server listens within 5 s, and its port is freed', async () => {
    const { takeover, log, clock, make } = begin({ value: 1, from: 'PORT' })
    const server = make().listen(0, '127.0.0.1')
    let listened = 1
    await once(server, 'listening')
    server.on('listening', () => listened++)
    const { port } = server.address() as AddressInfo
    takeover.moduleLoaded(clock)
    clock.advance(4_999)
    assert.equal(takeover.served, undefined)
    clock.advance(1)
    assert.equal((await takeover.serverFound).server, server)
    takeover.listening([{ kind: 'tcp', host: '127.0.0.1', port: 8000 }])
    assert.equal(listened, 1)
    assert.equal(server.listening, true)
    assert.equal((server.address() as AddressInfo).port, 8000)
    assert.match(log.messages('warn').join(), /not on PORT \(1\).*--app-port/)
    const again = createNetServer().listen(port, '127.0.0.1')
    await once(again, 'listening')
    again.close()
  })

  it('is replaced by a server that listens on PORT later, and listens by itself again', async () => {
    const { takeover, log, clock, make } = begin({ value: 1, from: 'PORT' })
    const metrics = make().listen(0, '127.0.0.1')
    await once(metrics, 'listening')
    takeover.moduleLoaded(clock)
    clock.advance(5_000)
    assert.equal(takeover.served?.server, metrics)
    const main = make().listen(1)
    assert.equal(takeover.served?.server, main)
    await once(metrics, 'listening')
    assert.notEqual((metrics.address() as AddressInfo).port, 1)
    assert.match(log.messages('warn').join(), /serves the one on port 1; the one on port 0/)
  })

  it('is not served if --app-port names another port', async () => {
    const { takeover, clock, make } = begin({ value: 1, from: '--app-port' })
    await once(make().listen(0, '127.0.0.1'), 'listening')
    takeover.moduleLoaded(clock)
    clock.advance(60_000)
    assert.equal(takeover.substitute(), undefined)
    assert.equal(takeover.served, undefined)
  })
})

const tls = (): string => JSON.stringify(certificate())

const files: Record<string, () => string> = {
  // The application awaits its metrics server before it continues, as it would await a database.
  'metrics-first.mjs': () => `
    import { createServer } from 'node:http'
    import { once } from 'node:events'
    const metrics = createServer((req, res) => res.end('metrics')).listen(process.env.METRICS, '127.0.0.1')
    await once(metrics, 'listening')
    console.error('metrics ' + metrics.address().port + ' ')
    setTimeout(() => createServer((req, res) => res.end('main')).listen(process.env.MAIN), 50)`,
  'https.mjs': () => `
    import { createServer } from 'node:https'
    createServer(${tls()}, (req, res) => res.end()).listen(process.env.MAIN)`,
  'exported.mjs': () => `
    import { createServer } from 'node:https'
    export default function listener(req, res) { res.end('exported') }
    createServer(${tls()}, listener).listen(process.env.MAIN, '127.0.0.1')`,
  'exported-elsewhere.mjs': () => `
    import { createServer } from 'node:http'
    const app = createServer((req, res) => res.end('exported'))
    export default app
    app.listen(process.env.MAIN)`,
  'exported-with-metrics.mjs': () => `
    import { createServer } from 'node:http'
    createServer((req, res) => res.end('metrics')).listen(process.env.MAIN, '127.0.0.1')
    export default function listener(req, res) { res.end('exported') }`,
  'exported-and-listens.mjs': () => `
    import { createServer } from 'node:http'
    export default function listener(req, res) { res.end('exported') }
    createServer(listener).listen(process.env.MAIN)`,
  'exports-a-start.mjs': () => `
    import { createServer } from 'node:http'
    export default class Application { constructor(one, two) {} }
    export const start = () => createServer((req, res) => res.end('main')).listen(process.env.MAIN)
    start()`,
  'http2.mjs': () => `
    import { createServer } from 'node:http2'
    createServer((req, res) => res.end()).listen(process.env.MAIN)`,
  'http2-secure.mjs': () => `
    import { createSecureServer } from 'node:http2'
    createSecureServer(${tls()}, (req, res) => res.end()).listen({ port: process.env.MAIN })`,
  'grpc.mjs': () => `
    import { createServer } from 'node:http2'
    createServer().on('stream', (stream) => stream.respond()).listen(process.env.MAIN)`,
  'cluster.cjs': () => `
    const cluster = require('node:cluster')
    if (cluster.isPrimary) for (const one of [1, 2]) cluster.fork()
    else require('node:http').createServer((req, res) => res.end()).listen(process.env.MAIN)`,
  // NestJS with a gRPC microservice, and cluster workers for another purpose.
  'beside.cjs': () => `
    const cluster = require('node:cluster')
    const { createServer } = require('node:http')
    if (cluster.isPrimary) {
      const grpc = require('node:http2').createServer().on('stream', (stream) => stream.respond())
      grpc.listen(0, '127.0.0.1', () => {
        require('node:https').createServer(${tls()}).listen(0, '127.0.0.1', () => {
          createServer((req, res) => res.end('main')).listen(process.env.MAIN)
          cluster.fork()
        })
      })
    } else createServer((req, res) => res.end('worker')).listen(0, '127.0.0.1')`,
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-servers-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text())
})
after(() => rmSync(directory, { recursive: true, force: true }))

async function freePort(): Promise<number> {
  const server = createNetServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

const ARGV = ['--interface=node', '--listen=127.0.0.1:0', '--access-log=off']

const ask = async (port: number): Promise<string> => await (await fetch(`http://127.0.0.1:${port}/`)).text()

describe('an application with several servers', () => {
  for (const [title, env, argv, served] of [
    ['the one on PORT', { PORT: '3000' }, [], 'main'],
    ['the one on --app-port, whatever PORT is', { PORT: '1' }, ['--app-port=3000'], 'main'],
    ['the first if PORT is not set', { PORT: '' }, [], 'metrics'],
  ] as const) {
    it(`serves ${title}; the other one listens on its port, and a warning names both and the option`, async () => {
      const ports = { metrics: await freePort(), main: 3000 }
      // Only the server that is not served binds a port.
      if (served === 'metrics') Object.assign(ports, { metrics: 3000, main: await freePort() })
      const { child, port } = await startGantry(['container', join(directory, 'metrics-first.mjs'), ...ARGV, ...argv], {
        env: { ...env, METRICS: String(ports.metrics), MAIN: String(ports.main) },
      })
      try {
        const other = served === 'main' ? 'metrics' : 'main'
        const warning = new RegExp(
          `serves the one on port ${ports[served]}; the one on port ${ports[other]} .*--app-port ${ports[other]} to serve`,
        )
        await child.until(() => child.log.some(({ level, msg }) => level === 'warn' && warning.test(String(msg))))
        assert.equal(await ask(port), served)
        assert.equal(await ask(ports[other]), other)
      } finally {
        await child.end()
      }
    })
  }

  it('keeps HTTP/2, https and cluster servers running in addition to the served one', async () => {
    const { child, port } = await startGantry(['container', join(directory, 'beside.cjs'), ...ARGV], {
      env: { PORT: '', MAIN: '3000' },
    })
    try {
      assert.equal(await ask(port), 'main')
      // The port of the worker, once it listens.
      const warned = (): unknown[] => child.log.filter(({ level }) => level === 'warn').map(({ msg }) => msg)
      await child.until(() => warned().length > 0)
      assert.match(String(warned()), /^the application has several servers: the container serves the one on port 3000;/)
    } finally {
      await child.end()
    }
  })
})

describe('an application that is exported and listens', () => {
  it('is served although it listens with TLS on PORT, and the TLS server keeps its port', async () => {
    const port = String(await freePort())
    const gantry = await startGantry(['container', join(directory, 'exported.mjs'), ...ARGV], {
      env: { PORT: port, MAIN: port },
    })
    try {
      assert.equal(await ask(gantry.port), 'exported')
    } finally {
      await gantry.child.end()
    }
  })

  const EXPORTS =
    /^the application exports a listener and has a server of its own: the container serves the server on port 3000; name the export \((.*):default\)/

  it('causes a warning if it also has a metrics server and PORT is not set', async () => {
    const file = join(directory, 'exported-with-metrics.mjs')
    for (const [module, env, served, isWarned] of [
      [file, { PORT: '' }, 'metrics', true],
      [`${file}:default`, { PORT: '' }, 'exported', false],
      [file, { PORT: '3000' }, 'metrics', false],
      [file, { PORT: '1' }, 'exported', false],
    ] as const) {
      const MAIN = env.PORT === '1' || module !== file ? String(await freePort()) : '3000'
      const gantry = await startGantry(['container', module, ...ARGV], { env: { ...env, MAIN } })
      try {
        assert.equal(await ask(gantry.port), served)
        await gantry.child.stop()
        const warnings = gantry.child.log.map(({ msg }) => EXPORTS.exec(String(msg))?.[1]).filter((found) => found)
        assert.deepEqual(warnings, isWarned ? [module] : [])
      } finally {
        await gantry.child.end()
      }
    }
  })

  it('causes no warning if the server belongs to the export, or the export is not a listener', async () => {
    for (const [module, served] of [
      ['exported-and-listens.mjs', 'exported'],
      ['exports-a-start.mjs', 'main'],
    ]) {
      const gantry = await startGantry(['container', join(directory, module!), ...ARGV], {
        env: { PORT: '', MAIN: '3000' },
      })
      try {
        assert.equal(await ask(gantry.port), served)
        await gantry.child.stop()
        assert.deepEqual(
          gantry.child.log.filter(({ level }) => level === 'warn'),
          [],
        )
      } finally {
        await gantry.child.end()
      }
    }
  })

  it('is served by its own server on another port than PORT, and that port is freed', async () => {
    const port = await freePort()
    const gantry = await startGantry(['container', join(directory, 'exported-elsewhere.mjs'), ...ARGV], {
      env: { PORT: '1', MAIN: String(port) },
    })
    try {
      assert.equal(await ask(gantry.port), 'exported')
      await assert.rejects(ask(port), ({ cause }: Error) => /ECONNREFUSED/.test(String(cause)))
    } finally {
      await gantry.child.end()
    }
  })
})

describe('a server that cannot be served', () => {
  const OUTSIDE = /TLS ends in front of Gantry .*Start an http\.createServer\(\)/
  const HTTP2 = /with an HTTP\/2 server: .*Start an http\.createServer\(\)/
  const CLUSTER = /with workers of node:cluster: containers are the workers here.*scale/
  for (const [module, says] of [
    ['https.mjs', OUTSIDE],
    ['http2.mjs', HTTP2],
    ['http2-secure.mjs', HTTP2],
    ['grpc.mjs', HTTP2],
    ['cluster.cjs', CLUSTER],
  ] as const) {
    for (const isWanted of [true, false]) {
      it(`is refused with advice: ${module}, PORT ${isWanted ? 'set' : 'not set'}`, async () => {
        const MAIN = String(await freePort())
        const child = new TestChild([repositoryFile('cli/gantry.ts'), 'container', join(directory, module), ...ARGV], {
          env: { PORT: isWanted ? MAIN : '', MAIN },
        })
        assert.equal((await child.exited).code, 1)
        assert.match(child.stderr, says)
        assert.match(child.stderr, new RegExp(`port ${MAIN} `))
      })
    }
  }
})
