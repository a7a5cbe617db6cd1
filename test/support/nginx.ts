/** A real nginx in a directory of its own, as one process in the foreground. */

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { answering, endServer } from './answering.ts'
import { freePort, temporary } from './sockets.ts'

const nginx = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx'].find((path) => existsSync(path))

/** The reason to skip tests with nginx; undefined if it is installed. */
export const noNginx: string | undefined = nginx ? undefined : 'nginx is not installed'

export interface Nginx {
  readonly port: number
  stop(): Promise<void>
}

/**
 * @param location what stands in `location / { … }`
 * @param http what stands in `http { … }` beside the server: an `upstream`, say
 */
export async function startNginx(location: string, http: string = ''): Promise<Nginx> {
  const port = await freePort()
  return startServers(
    port,
    `
  client_max_body_size 0;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
${http}
  server {
    listen 127.0.0.1:${port};
    location / {
${location}
    }
  }`,
  )
}

/** @param servers what stands in `http { … }`; one of them listens on `port` */
export async function startServers(port: number, servers: string): Promise<Nginx> {
  const directory = await temporary()
  const temporaries = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${directory}/${name};`)
    .join('\n')
  const config = `
daemon off;
master_process off;
worker_processes 1;
pid ${directory}/pid;
error_log ${directory}/error.log warn;
events { worker_connections 512; }
http {
  access_log off;
${temporaries}
  large_client_header_buffers 8 64k;
${servers}
}
`
  await writeFile(join(directory, 'nginx.conf'), config)
  const child = spawn(nginx!, ['-p', directory, '-c', 'nginx.conf', '-e', join(directory, 'error.log')], {
    stdio: 'ignore',
  })
  try {
    await answering(child, port)
  } catch (error) {
    const log = await readFile(join(directory, 'error.log'), 'utf8').catch(() => '')
    throw new Error(`nginx did not start: ${log}`, { cause: error })
  }
  return {
    port,
    stop: () => endServer(child, directory),
  }
}
