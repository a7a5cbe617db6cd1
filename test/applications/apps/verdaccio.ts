/** Verdaccio: a registry of npm packages, with no registry behind it. */

import { createHash, randomUUID } from 'node:crypto'
import type { Fields } from '../../support/client.ts'
import type { Server } from '../server.ts'
import { type Case, json, one, type TestedApplication } from '../shape.ts'

const tarball = Buffer.alloc(300_000, 'tarball')

async function signIn(server: Server): Promise<Fields> {
  const name = `user-${randomUUID()}`
  const answer = await server.fetch({
    ...json(`/-/user/org.couchdb.user:${name}`, { name, password: 'secret-password' }),
    method: 'PUT',
  })
  const { token } = JSON.parse(answer.body.toString()) as { token?: string }
  if (answer.status !== 201 || !token) throw new Error(`PUT user: ${answer.status} ${answer.body}`)
  return [['Authorization', `Bearer ${token}`]]
}

function manifest(name: string, server: Server): unknown {
  const file = `${name}-1.0.0.tgz`
  const dist = {
    shasum: createHash('sha1').update(tarball).digest('hex'),
    tarball: `${server.origin}/${name}/-/${file}`,
  }
  return {
    _id: name,
    name,
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': { name, version: '1.0.0', dist } },
    _attachments: {
      [file]: { content_type: 'application/octet-stream', data: tarball.toString('base64'), length: tarball.length },
    },
  }
}

const published: Case = {
  title: 'A package is published and fetched',
  async run(server) {
    const own = await signIn(server)
    const name = `published-${randomUUID()}`
    const put = await server.fetch({ ...json(`/${name}`, manifest(name, server), own), method: 'PUT' })
    const again = await server.fetch({ ...json(`/${name}`, manifest(name, server), own), method: 'PUT' })
    const info = await server.fetch({ target: `/${name}` })
    const etag = info.headers.find(([field]) => field.toLowerCase() === 'etag')?.[1] ?? '"none"'
    const same = await server.fetch({ target: `/${name}`, headers: [['If-None-Match', etag]] })
    const { versions } = JSON.parse(info.body.toString()) as { versions: Record<string, { dist: { tarball: string } }> }
    const { tarball: url } = versions['1.0.0']!.dist
    const file = await server.fetch({ target: new URL(url).pathname })
    const head = await server.fetch({ target: new URL(url).pathname, method: 'HEAD' })
    return {
      put: put.status,
      again: again.status,
      info: info.status,
      same: [same.status, same.body.length],
      url,
      file: [file.status, file.body.equals(tarball)],
      head: [head.status, head.headers.filter(([field]) => /^content-(type|length)/i.test(field))],
    }
  },
}

export const verdaccio: TestedApplication = {
  name: 'Verdaccio',
  packages: { verdaccio: '6.10.4' },
  // A dependency asks for a tag that the registry may lack.
  manifest: { overrides: { 'node-fetch': '2.7.0' } },
  files: {
    'config.yaml': `
storage: \${STORAGE}
auth:
  htpasswd:
    file: ./htpasswd
    max_users: 1000
uplinks: {}
packages:
  '**':
    access: $all
    publish: $authenticated
max_body_size: 2mb
log: { type: stdout, format: json, level: error }
`,
  },
  starts: [
    {
      title: 'Verdaccio',
      module: 'node_modules/verdaccio/bin/verdaccio',
      args: (port) => ['--config', 'config.yaml', '--listen', `127.0.0.1:${port}`],
      ready: '/-/ping',
      load: '/-/ping',
      varying: [
        [/x-ratelimit-reset: \d+/g, 'RESET'],
        [/"basePath":"[^"]*"|VERDACCIO_[A-Z_]+/g, 'BASE'],
      ],
      cases: [
        // The body contains the port and the time, so its ETag differs each time.
        { ...one('The page', 200, '/'), except: ['etag'] },
        one('A ping', 200, '/-/ping'),
        one('A package that is not there', 404, '/nothing'),
        one('Who asks, without a token', 200, '/-/whoami'),
        {
          title: 'A body that is too large',
          status: [413],
          requests: [{ ...json('/big', 'x'.repeat(3_000_000)), method: 'PUT' }],
        },
        published,
        { ...one('A search', 200, '/-/v1/search?text=nothing'), except: ['etag'] },
      ],
    },
  ],
}
