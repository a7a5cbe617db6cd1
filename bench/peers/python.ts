/** Application servers for Python's WSGI, behind nginx: one process each. */

import { need } from '../measure/programs.ts'
import type { Server } from '../measure/workshop.ts'
import { app, type Site } from './peer.ts'

export function startUwsgi(site: Site, socket: string): Promise<Server> {
  const command = need('uwsgi')
  return site.workshop.start({
    name: `${site.label}-uwsgi`,
    command,
    args: [
      ...['--plugin', 'python3', '--wsgi-file', app('hello.py'), '--need-app'],
      ...['--socket', socket, '--listen', '1024', '--processes', '1'],
      ...['--master', '--die-on-term', '--disable-logging'],
    ],
    endpoints: [socket],
  })
}

export function startGunicorn(site: Site, socket: string): Promise<Server> {
  const command = need('gunicorn')
  return site.workshop.start({
    name: `${site.label}-gunicorn`,
    command,
    args: [
      ...['--worker-class', 'gthread', '--workers', '1', '--threads', '8', '--keep-alive', '75'],
      ...['--bind', `unix:${socket}`, '--backlog', '1024', '--worker-tmp-dir', site.workshop.folder],
      ...['--chdir', app(''), 'hello:application'],
    ],
    endpoints: [socket],
  })
}
