/**
 * A real Apache in a directory of its own, as an ordinary user's process in the foreground: with mod_cgi, or as a
 * reverse proxy.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { answering } from './answering.ts'
import { repositoryFile } from './child.ts'
import { freePort, temporary } from './sockets.ts'

const binary = ['/usr/sbin/apache2', '/usr/sbin/httpd', '/usr/local/sbin/httpd'].find((path) => existsSync(path))
const modules = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/etc/httpd/modules'].find((path) =>
  existsSync(path),
)

/**
 * Apache that root has started runs programs as the user `nobody`, who must be able to reach them. Returns the first
 * directory on the way that `nobody` may not enter.
 */
function closedTo(path: string): string | undefined {
  if (process.getuid?.() !== 0) return undefined
  const above = dirname(path)
  return (
    (above === path ? undefined : closedTo(above)) ?? (statSync(path).mode & 0o001 || path === '/' ? undefined : path)
  )
}

const closed = closedTo(repositoryFile('test')) ?? closedTo(process.execPath)

const missing = binary && modules ? undefined : 'Apache is not installed'

/** The reason to skip tests of Apache as a reverse proxy; undefined if it is installed. */
export const noApacheProxy: string | undefined = missing

/** The reason to skip tests of Apache with CGI programs; undefined if it is installed. */
export const noApache: string | undefined =
  missing ?? (closed && `Apache runs programs as nobody, who may not enter ${closed}`)

export interface Apache {
  readonly port: number
  log(): Promise<string>
  stop(): Promise<void>
}

/** @param program runs for each request below `/app` */
export function startApache(program: string): Promise<Apache> {
  return start(`
LoadModule mpm_prefork_module ${modules}/mod_mpm_prefork.so
LoadModule alias_module ${modules}/mod_alias.so
LoadModule env_module ${modules}/mod_env.so
LoadModule cgi_module ${modules}/mod_cgi.so
KeepAlive Off
StartServers 2
MinSpareServers 1
ScriptAlias /app ${program}
# Since 2.4.59 a program's Content-Length is dropped without it, and with it the only sign of a response that broke off.
SetEnv ap_trust_cgilike_cl 1
`)
}

/**
 * Starts Apache as a reverse proxy.
 *
 * @param lines further directives, `ProxyPass` among them
 */
export function startApacheProxy(lines: readonly string[]): Promise<Apache> {
  return start(`
LoadModule mpm_event_module ${modules}/mod_mpm_event.so
LoadModule env_module ${modules}/mod_env.so
LoadModule headers_module ${modules}/mod_headers.so
LoadModule proxy_module ${modules}/mod_proxy.so
LoadModule proxy_http_module ${modules}/mod_proxy_http.so
LoadModule proxy_uwsgi_module ${modules}/mod_proxy_uwsgi.so
StartServers 1
# Heads of 64 KiB, which the suite sends and which Gantry accepts.
LimitRequestFieldSize 65536
LimitRequestLine 65536
${lines.join('\n')}
`)
}

async function start(directives: string): Promise<Apache> {
  const directory = await temporary()
  const port = await freePort()
  const config = `
ServerRoot ${directory}
ServerName localhost
Listen 127.0.0.1:${port}
PidFile ${directory}/pid
ErrorLog ${directory}/error.log
Mutex default:${directory}
DefaultRuntimeDir ${directory}
LoadModule authz_core_module ${modules}/mod_authz_core.so
${directives}
User ${process.getuid?.() === 0 ? 'nobody' : `"#${process.getuid?.()}"`}
Group ${process.getgid?.() === 0 ? 'nogroup' : `"#${process.getgid?.()}"`}
<Location />
  Require all granted
</Location>
`
  await writeFile(join(directory, 'httpd.conf'), config)
  const child = spawn(binary!, ['-d', directory, '-f', 'httpd.conf', '-D', 'FOREGROUND'], {
    stdio: 'ignore',
    detached: true,
  })
  const log = (): Promise<string> => readFile(join(directory, 'error.log'), 'utf8').catch(() => '')
  try {
    await answering(child, port)
  } catch (error) {
    throw new Error(`Apache did not start: ${await log()}`, { cause: error })
  }
  return {
    port,
    log,
    async stop() {
      const exited = once(child, 'exit')
      // Its children and the programs that they run end too.
      process.kill(-child.pid!, 'SIGTERM')
      await exited
      await rm(directory, { recursive: true, force: true })
    },
  }
}
