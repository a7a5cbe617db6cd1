/** nginx as a peer, in front of several servers: connections to an HTTP upstream kept, the usual forwarding fields. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { need } from '../measure/programs.ts'
import { freePort, type Server } from '../measure/workshop.ts'
import { startContainer } from './gantry.ts'
import { type Peer, type Running, type Site, startNode } from './peer.ts'
import { startGunicorn, startUwsgi } from './python.ts'

export interface NginxOptions {
  /** The folder for everything that nginx writes. */
  readonly folder: string
  readonly port: number
  /** The same with request and response buffering off, for large bodies that only pass through. */
  readonly streamPort: number
  readonly upstreamSocket: string
  readonly upstream: 'http' | 'uwsgi'
  /** A path, or undefined for none. */
  readonly accessLog: string | undefined
  /** `auto`: one per core. */
  readonly workers: number | 'auto'
}

// The content of `/etc/nginx/uwsgi_params`, written out because distributions put that file in different places.
const uwsgiParameters = [
  ['QUERY_STRING', '$query_string'],
  ['REQUEST_METHOD', '$request_method'],
  ['CONTENT_TYPE', '$content_type'],
  ['CONTENT_LENGTH', '$content_length'],
  ['REQUEST_URI', '$request_uri'],
  ['PATH_INFO', '$document_uri'],
  ['DOCUMENT_ROOT', '$document_root'],
  ['SERVER_PROTOCOL', '$server_protocol'],
  ['REQUEST_SCHEME', '$scheme'],
  ['HTTPS', '$https if_not_empty'],
  ['REMOTE_ADDR', '$remote_addr'],
  ['REMOTE_PORT', '$remote_port'],
  ['SERVER_PORT', '$server_port'],
  ['SERVER_NAME', '$server_name'],
]

export function nginxConfiguration(options: NginxOptions): string {
  const { folder, port, streamPort, upstreamSocket, upstream, accessLog, workers } = options
  const pass =
    upstream === 'uwsgi'
      ? [...uwsgiParameters.map(([name, value]) => `uwsgi_param ${name} ${value};`), 'uwsgi_pass upstream_server;']
      : [
          'proxy_http_version 1.1;',
          'proxy_set_header Connection "";',
          'proxy_set_header Host $http_host;',
          'proxy_set_header X-Forwarded-For $remote_addr;',
          'proxy_set_header X-Forwarded-Proto $scheme;',
          'proxy_set_header X-Forwarded-Host $http_host;',
          'proxy_set_header X-Request-Id $request_id;',
          'proxy_pass http://upstream_server;',
        ]
  const unbuffered =
    upstream === 'uwsgi'
      ? ['uwsgi_buffering off;', 'uwsgi_request_buffering off;']
      : ['proxy_buffering off;', 'proxy_request_buffering off;']
  const server = (listen: number, lines: readonly string[]): string =>
    `server { listen 127.0.0.1:${listen} backlog=4096; server_name localhost; location / { ${[...pass, ...lines].join(' ')} } }`
  // Started by root, its workers would run as another user and could not open the sockets of the servers behind it.
  const user = userInfo().uid === 0 ? 'user root root;' : ''
  const temporary = ['client_body', 'proxy', 'uwsgi', 'fastcgi', 'scgi']
  return `daemon off; worker_processes ${workers}; pid ${folder}/nginx.pid; error_log ${folder}/error.log warn; ${user}
events { worker_connections 19000; }
http {
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  access_log ${accessLog === undefined ? 'off' : `${accessLog} combined`};
  client_max_body_size 0;
  keepalive_requests 1000000;
  upstream upstream_server { server unix:${upstreamSocket}; ${upstream === 'http' ? 'keepalive 512; keepalive_requests 1000000;' : ''} }
  ${server(port, [])}
  ${server(streamPort, unbuffered)}
}
`
}

interface Plan {
  readonly upstream: NginxOptions['upstream']
  readonly workers?: NginxOptions['workers']
  startBehind(site: Site, socket: string): Promise<Server>
}

async function start(site: Site, { upstream, workers = 1, startBehind }: Plan): Promise<Running> {
  const command = need('nginx')
  const [port, streamPort] = [await freePort(), await freePort()]
  const socket = site.workshop.path(`${site.label}.sock`)
  const behind = await startBehind(site, socket)
  const folder = site.workshop.path(site.label)
  mkdirSync(folder)
  const configuration = join(folder, 'nginx.conf')
  const accessLog = site.accessLog === 'on' ? site.workshop.log(`${site.label}-access.log`) : undefined
  writeFileSync(
    configuration,
    nginxConfiguration({ folder, port, streamPort, upstreamSocket: socket, upstream, accessLog, workers }),
  )
  const front = await site.workshop.start({
    name: `${site.label}-nginx`,
    command,
    args: ['-c', configuration],
    endpoints: [port, streamPort],
  })
  return { port, streamPort, servers: [front, behind] }
}

const node: Plan = { upstream: 'http', startBehind: (site, socket) => startNode(site, socket, 'off') }

function peer(name: string, title: string, plan: Plan, gantry = false): Peer {
  return { name, title, gantry, start: (site) => start(site, plan) }
}

export const nginxNode: Peer = peer('nginx-node', 'nginx → node:http', node)

export const nginxWorkers: Peer = peer('nginx-workers', 'nginx, a worker per core → node:http', {
  ...node,
  workers: 'auto',
})

export const nginxContainer: Peer = peer(
  'nginx-container',
  'nginx uwsgi_pass → Gantry container',
  { upstream: 'uwsgi', startBehind: (site, socket) => startContainer(site, socket, 'off') },
  true,
)

export const nginxUwsgi: Peer = peer('nginx-uwsgi', 'nginx uwsgi_pass → uWSGI (Python)', {
  upstream: 'uwsgi',
  startBehind: startUwsgi,
})

export const nginxGunicorn: Peer = peer('nginx-gunicorn', 'nginx → gunicorn gthread (Python)', {
  upstream: 'http',
  startBehind: startGunicorn,
})
