/** The setups that are compared, each as the processes it consists of. Knows nothing of load or figures. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { nginxConfiguration } from './nginx.ts'
import { type Endpoint, findProgram, freePort, type Server, type Workshop } from './workshop.ts'

/** Frameworks whose application is served in a container and, as it comes, on node:http. */
export const frameworks = ['express', 'hono'] as const
export type Framework = (typeof frameworks)[number]

/** The setups that a framework's application is put in too, those that are compared one after the other. */
export const framed = ['pair', 'nginx-node', 'pair-workers', 'nginx-workers', 'container', 'node'] as const
export type Framed = (typeof framed)[number]

const plainNames = [
  'pair',
  'pair-workers',
  'container',
  'node',
  'nginx-node',
  'nginx-workers',
  'nginx-container',
  'nginx-uwsgi',
  'http-proxy',
  'pair-http',
] as const
type PlainName = (typeof plainNames)[number]
export type ArrangementName = PlainName | `${Framed}:${Framework}`

export const arrangementNames: readonly ArrangementName[] = [
  ...plainNames,
  ...frameworks.flatMap((framework) => framed.map((name) => `${name}:${framework}` as const)),
]

const plainTitles: Readonly<Record<PlainName, string>> = {
  pair: 'proxy → frames → container (the pair)',
  'pair-workers': 'the pair, a worker of the proxy for each core',
  container: 'container’s own HTTP port',
  node: 'node:http',
  'nginx-node': 'nginx → node:http',
  'nginx-workers': 'nginx, a worker for each core → node:http',
  'nginx-container': 'nginx uwsgi_pass → container',
  'nginx-uwsgi': 'nginx uwsgi_pass → uWSGI (Python)',
  'http-proxy': 'http-proxy-3 → node:http',
  'pair-http': 'proxy --upstream http:// → node:http',
}

const applications: Readonly<Record<Framework, { readonly inside: string; readonly alone: string }>> = {
  express: { inside: 'Express', alone: 'Express on node:http' },
  hono: { inside: 'Hono', alone: 'Hono on @hono/node-server' },
}

/** How a setup is called in tables. */
export function titleOf(name: ArrangementName): string {
  const [plain, framework] = name.split(':') as [PlainName, Framework?]
  const title = plainTitles[plain]
  if (framework === undefined) return title
  const { inside, alone } = applications[framework]
  return title.includes('node:http') ? title.replace('node:http', alone) : `${title}: ${inside}`
}

/** A setup that runs. */
export interface Arrangement {
  readonly name: ArrangementName
  /** Where clients connect, on 127.0.0.1. */
  readonly port: number
  /** The same without buffering of bodies, for those that buffer. */
  readonly streamPort: number
  /** The server that clients talk to comes first. */
  readonly servers: readonly Server[]
}

/** Why a setup is left out. */
export class Unavailable extends Error {}

const peers = join(import.meta.dirname, 'peers')
const gantry = join(import.meta.dirname, '..', 'gantry.ts')
const application = join(peers, 'application.ts')

/** @throws Unavailable when a program is not there; Error when a server does not start. */
export async function startArrangement(
  name: ArrangementName,
  accessLog: 'on' | 'off',
  workshop: Workshop,
): Promise<Arrangement> {
  const [plainName, framework] = name.split(':') as [PlainName, Framework?]
  const label = `${name.replace(':', '-')}-${accessLog}`
  const port = await freePort()
  const socket = workshop.path(`${label}.sock`)

  // What a front already logs is logged by nobody behind it.
  const node = (log: 'on' | 'off', endpoint: Endpoint): Promise<Server> =>
    workshop.start({
      name: `${label}-node`,
      command: process.execPath,
      args: [framework ? join(peers, `${framework}.ts`) : join(peers, 'node-http.ts'), log, String(endpoint)],
      endpoints: [endpoint],
    })
  const run = (role: string, endpoint: Endpoint, args: readonly string[], log = accessLog): Promise<Server> =>
    workshop.start({
      name: `${label}-${role}`,
      command: process.execPath,
      args: [
        gantry,
        ...args,
        '--listen',
        typeof endpoint === 'number' ? `127.0.0.1:${endpoint}` : `unix:${endpoint}`,
        '--access-log',
        log === 'on' ? 'json' : 'off',
        '--drain-timeout',
        '1s',
      ],
      endpoints: [endpoint],
    })
  const container = (endpoint: Endpoint, log = accessLog): Promise<Server> =>
    run('container', endpoint, ['container', framework ? join(peers, `${framework}.ts`) : application], log)
  const whole = (servers: Server[], streamPort = port): Arrangement => ({ name, port, streamPort, servers })

  switch (plainName) {
    case 'node':
      return whole([await node(accessLog, port)])
    case 'container':
      return whole([await container(port)])
    case 'pair':
    case 'pair-workers': {
      const behind = await container(socket)
      const workers = plainName === 'pair-workers' ? ['--workers', 'auto'] : []
      return whole([await run('proxy', port, ['proxy', '--upstream', `unix:${socket}`, ...workers]), behind])
    }
    case 'pair-http': {
      const upstreamPort = await freePort()
      const behind = await node('off', upstreamPort)
      return whole([await run('proxy', port, ['proxy', '--upstream', `http://127.0.0.1:${upstreamPort}`]), behind])
    }
    case 'http-proxy': {
      const behind = await node('off', socket)
      const front = await workshop.start({
        name: `${label}-front`,
        command: process.execPath,
        args: [join(peers, 'http-proxy.ts'), accessLog, String(port), socket],
        endpoints: [port],
      })
      return whole([front, behind])
    }
    case 'nginx-node':
    case 'nginx-workers':
    case 'nginx-container':
    case 'nginx-uwsgi': {
      const program = need('nginx', 'nginx')
      const upstream = plainName === 'nginx-node' || plainName === 'nginx-workers' ? 'http' : 'uwsgi'
      const behind =
        upstream === 'http'
          ? await node('off', socket)
          : plainName === 'nginx-container'
            ? await container(socket, 'off')
            : await uwsgi(label, socket, workshop)
      const streamPort = await freePort()
      const folder = workshop.path(label)
      mkdirSync(folder)
      const configuration = join(folder, 'nginx.conf')
      const workers = plainName === 'nginx-workers' ? 'auto' : 1
      const log = accessLog === 'on' ? workshop.log(`${label}-access.log`) : undefined
      writeFileSync(
        configuration,
        nginxConfiguration({ folder, port, streamPort, upstreamSocket: socket, upstream, accessLog: log, workers }),
      )
      const front = await workshop.start({
        name: `${label}-nginx`,
        command: program,
        args: ['-c', configuration],
        endpoints: [port, streamPort],
        signal: 'SIGTERM',
      })
      return whole([front, behind], streamPort)
    }
  }
}

function uwsgi(label: string, socket: string, workshop: Workshop): Promise<Server> {
  const program = need('uWSGI with its python3 plugin', 'uwsgi-core', 'uwsgi')
  return workshop.start({
    name: `${label}-uwsgi`,
    command: program,
    args: [
      '--plugin',
      'python3',
      '--socket',
      socket,
      '--listen',
      '1024',
      '--wsgi-file',
      join(peers, 'hello.py'),
      '--need-app',
      '--master',
      '--die-on-term',
      '--disable-logging',
      '--processes',
      '1',
    ],
    endpoints: [socket],
  })
}

function need(what: string, ...names: readonly string[]): string {
  const program = findProgram(...names)
  if (program === undefined) throw new Unavailable(`${what} is not installed`)
  return program
}
