/** Configurations for nginx as a peer: keep-alive to its upstream, and what a real deployment would set. */

import { userInfo } from 'node:os'

export interface NginxOptions {
  /** Where it writes everything. */
  readonly folder: string
  readonly port: number
  /** The same with request and response buffering off, for large bodies that only pass through. */
  readonly streamPort: number
  readonly upstreamSocket: string
  readonly upstream: 'http' | 'uwsgi'
  /** A path, or undefined for none. */
  readonly accessLog: string | undefined
  /** `auto`: one for each core. */
  readonly workers: number | 'auto'
}

// What `/etc/nginx/uwsgi_params` has in every distribution; written out, since the file may lie elsewhere.
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
  // As root its workers would be another user, whom our sockets are closed to.
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
