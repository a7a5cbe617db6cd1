/** The behaviour suite with a real nginx in front of a container's port: `proxy_pass` and `uwsgi_pass`. */

import { FIXTURES, faultsOf, startGantry } from '../support/gantry.ts'
import { noNginx, startNginx } from '../support/nginx.ts'
import { type Arrangement, overHttp } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

/** What nginx changes or answers itself, over either wire. */
const front: NonNullable<Arrangement['without']> = {
  framing: 'nginx frames the answer',
  http10: 'nginx speaks to the client',
  'exact-head': 'nginx orders fields as it likes',
  nominated: 'nginx passes on what Connection names',
  star: 'nginx refuses it',
  'absolute-form': 'nginx makes a path of it',
  expect: 'nginx answers it itself',
  hints: 'nginx 1.29 is the first that passes 103 on',
  'request-trailers': 'nginx drops them',
  'response-trailers': 'nginx 1.27.2 is the first that passes them on',
  'raw-headers': 'nginx writes heads of its own',
  'chunked-upload': 'nginx gives a length to what it has whole',
  'bulk-duplex': 'nginx does not read the answer while it waits to send the request',
}

/** Peers that trust this nginx need it to set X-Forwarded-For, as deploy/nginx does. */
const PASSED_ON = 'the container trusts nginx, which passes X-Forwarded-For of its client on'

function behind(
  name: string,
  location: (port: number) => string,
  without: NonNullable<Arrangement['without']> = {},
): void {
  behaviour({
    name: `nginx ${name}`,
    without: { ...front, ...without },
    unavailable: noNginx,
    async start() {
      const container = await startGantry(['container', FIXTURES, '--listen', '127.0.0.1:0', '--access-log', 'off'])
      const nginx = await startNginx(location(container.port)).catch(async (error) => {
        await container.child.end()
        throw error
      })
      const running = overHttp({ port: nginx.port }, async () => {
        await nginx.stop()
        await container.child.end()
      })
      return { ...running, broken: () => [...faultsOf(container), ...(running.broken?.() ?? [])] }
    },
  })
}

behind(
  'proxy_pass, unbuffered',
  (port) => `
      proxy_pass http://127.0.0.1:${port};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;`,
  { strangers: PASSED_ON },
)

behind(
  'proxy_pass as it comes',
  (port) => `
      proxy_pass http://127.0.0.1:${port};
      proxy_max_temp_file_size 0;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;`,
  {
    strangers: PASSED_ON,
    upgrade: 'not without configuration',
    streaming: 'nginx buffers',
    'streamed-upload': 'nginx buffers',
    duplex: 'nginx buffers',
  },
)

behind(
  'uwsgi_pass',
  (port) => `
      uwsgi_pass 127.0.0.1:${port};
      include /etc/nginx/uwsgi_params;
      uwsgi_buffering off;
      uwsgi_request_buffering off;
      uwsgi_buffer_size 64k;
      uwsgi_buffers 8 64k;`,
  {
    duplex: 'nginx reads a chunked upload whole before',
    'raw-target': 'nginx normalizes PATH_INFO',
    'absolute-form': 'nginx normalizes it',
  },
)
