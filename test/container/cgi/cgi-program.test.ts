import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { noApache, startApache } from '../../support/apache.ts'
import { repositoryFile } from '../../support/child.ts'
import { fields } from '../../support/client.ts'
import { noFcgiwrap, startFcgiwrap } from '../../support/fcgiwrap.ts'
import { HttpClient } from '../../support/http-client.ts'
import { noNginx, startNginx } from '../../support/nginx.ts'
import { temporary } from '../../support/sockets.ts'
import { until } from '../../support/until.ts'

const GANTRY = repositoryFile('cli/gantry.ts')
const MODULE = repositoryFile('test/fixtures/cgi.ts')
let directory = ''

before(async () => {
  directory = await temporary()
  // Web servers run programs as another user.
  await chmod(directory, 0o777)
})
after(() => rm(directory, { recursive: true, force: true }))

interface Ran {
  readonly code: number | null
  readonly head: string
  readonly body: string
  readonly stderr: string
}

function start(variables: Record<string, string>, module: string = MODULE): ChildProcessWithoutNullStreams {
  const env = { PATH: process.env['PATH'], API_KEY: 'secret', GATEWAY_INTERFACE: 'CGI/1.1', ...variables }
  return spawn(process.execPath, [GANTRY, 'cgi', module], { env })
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<Ran> {
  const [out, err]: Buffer[][] = [[], []]
  child.stdout.on('data', (chunk: Buffer) => out!.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err!.push(chunk))
  child.stdin.on('error', () => {})
  const [code] = (await once(child, 'close')) as [number | null]
  const text = Buffer.concat(out!).toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const stderr = Buffer.concat(err!).toString()
  return { code, head: text.slice(0, end + 2), body: end === -1 ? '' : text.slice(end + 4), stderr }
}

/** Runs the program once with the whole input. */
async function ran(variables: Record<string, string>, input: string = '', module?: string): Promise<Ran> {
  const child = start(variables, module)
  const result = ended(child)
  child.stdin.end(input)
  return await result
}

describe('gantry cgi', () => {
  it('answers with a Status line, and gets only CGI’s variables of the environment', async () => {
    const { code, head, body, stderr } = await ran({ PATH_INFO: '/environ', SCRIPT_NAME: '/app', QUERY_STRING: 'a=b' })
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(head, /^Status: 200 OK\r\nContent-Type: application\/json\r\nContent-Length: \d+\r\n$/)
    const environ = JSON.parse(body) as Record<string, unknown>
    assert.deepEqual(
      ['PATH_INFO', 'QUERY_STRING', 'wsgi.run_once', 'wsgi.multithread', 'wsgi.multiprocess', 'PATH', 'API_KEY'].map(
        (name) => environ[name],
      ),
      ['/environ', 'a=b', true, false, true, undefined, undefined],
    )
  })

  it('does not get the client’s forwarded fields', async () => {
    const fields = { HTTP_X_FORWARDED_FOR: '6.6.6.6', HTTP_X_FORWARDED_PROTO: 'https', HTTP_FORWARDED: 'for=6.6.6.6' }
    const spelled = { 'HTTP_X.REAL.IP': '6.6.6.6', HTTP_X_FORWARDED_USER: 'root', REMOTE_ADDR: '192.0.2.7' }
    const { body } = await ran({ PATH_INFO: '/environ', ...fields, ...spelled })
    const environ = JSON.parse(body) as Record<string, unknown>
    assert.deepEqual(
      Object.keys(environ).filter((name) => /FORWARDED|REAL/.test(name)),
      [],
    )
    assert.deepEqual([environ['REMOTE_ADDR'], environ['wsgi.url_scheme']], ['192.0.2.7', 'http'])
  })

  it('explains itself if no web server has started it', () => {
    const env = { PATH: process.env['PATH'] }
    const { status, stdout, stderr } = spawnSync(process.execPath, [GANTRY, 'cgi', MODULE], { env, encoding: 'utf8' })
    assert.equal(status, 0)
    assert.match(stdout, /^Status: 200 OK\r\n/)
    assert.match(stderr, /^gantry: no web server has started this CGI program/)
  })

  it('reads CONTENT_LENGTH bytes, though its input does not end', async () => {
    const child = start({ REQUEST_METHOD: 'POST', PATH_INFO: '/echo', CONTENT_LENGTH: '5' })
    const result = ended(child)
    child.stdin.write('12345678')
    const { code, body } = await result
    assert.deepEqual([code, body], [0, '12345'])
  })

  it('keeps a HEAD’s length and sends no body', async () => {
    const { head, body } = await ran({ REQUEST_METHOD: 'HEAD', PATH_INFO: '/cookies' })
    assert.match(head, /Content-Length: 7\r\n/)
    assert.equal(body, '')
  })

  it('answers 500 if the application fails, and writes the reason only to standard error', async () => {
    const { code, head, body, stderr } = await ran({ PATH_INFO: '/error' })
    assert.equal(code, 0)
    assert.match(head, /^Status: 500 Internal Server Error\r\n/)
    assert.doesNotMatch(body, /secret|cgi\.ts/)
    assert.match(stderr, /^about to fail\ngantry: the application failed \(request \S+\): Error: a secret/)
  })

  for (const [what, variables, module, message] of [
    ['there is no application', {}, '/none/such.ts', /there is no file \/none\/such\.ts/],
    ['the application never answers', { PATH_INFO: '/never' }, MODULE, /has not answered/],
    ['there is an uncaught exception', { PATH_INFO: '/uncaught' }, MODULE, /thrown in a timer/],
  ] as const) {
    it(`answers 500 and exits with 1 if ${what}`, async () => {
      const { code, head, body, stderr } = await ran(variables, '', module)
      assert.equal(code, 1)
      assert.match(head, /^Status: 500 Internal Server Error\r\n/)
      assert.match(stderr, message)
      assert.doesNotMatch(body, message)
    })
  }

  it('answers 400 to an invalid CONTENT_LENGTH', async () => {
    const { code, head } = await ran({ CONTENT_LENGTH: 'many' })
    assert.deepEqual([code, head.slice(0, 23)], [1, 'Status: 400 Bad Request'])
  })

  it('exits with 1 after a truncated response', async () => {
    const { code, head, body } = await ran({ PATH_INFO: '/cut' })
    assert.match(head, /Content-Length: 100\r\n/)
    assert.deepEqual([code, body], [1, 'begun'])
  })

  it('treats a truncated request body as a client that disconnected', async () => {
    const { code, body, stderr } = await ran(
      { REQUEST_METHOD: 'POST', PATH_INFO: '/echo', CONTENT_LENGTH: '10' },
      'half',
    )
    assert.deepEqual([code, body], [1, ''])
    // One line for the operator: neither the server nor the application logs anything about it.
    assert.match(
      stderr,
      /^gantry: the request's body ended 6 bytes before its CONTENT_LENGTH \(10\): .*CGI_BODY_SHORT.*\n$/,
    )
  })

  it('removes Location from a 200, which servers would treat as a redirect', async () => {
    const { head, body, stderr } = await ran({ PATH_INFO: '/location' })
    assert.doesNotMatch(head, /Location/)
    assert.equal(body, 'no redirect')
    assert.match(stderr, /CGI_LOCATION/)
  })

  it('aborts the application when its output is closed, and closes the body', async () => {
    const notes = join(directory, 'epipe')
    const child = start({ PATH_INFO: '/forever', QUERY_STRING: notes })
    child.stdin.end()
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = (await once(child, 'exit')) as [number]
    assert.equal(code, 1)
    assert.equal(await readFile(notes, 'utf8'), 'aborted CLIENT_GONE\nclosed\n')
  })

  it('emits the end of its response to a (req, res) application before the process exits', async () => {
    const module = join(directory, 'hears.mjs')
    await writeFile(
      module,
      `export default (req, res) => {
        res.on('close', () => setImmediate(() => process.stderr.write('an iteration later')))
        res.end('hello')
      }\n`,
    )
    const { code, body, stderr } = await ran({ GANTRY_INTERFACE: 'node' }, '', module)
    assert.deepEqual({ code, body, stderr }, { code: 0, body: 'hello', stderr: 'an iteration later' })
  })

  it('ends at SIGTERM while its module is still loading, even if loading hangs', async () => {
    const module = join(directory, 'hangs.mjs')
    await writeFile(module, 'process.stderr.write("loading");setInterval(() => {}, 1000);await new Promise(() => {})\n')
    const child = start({}, module)
    await once(child.stderr, 'readable')
    child.kill('SIGTERM')
    child.stdin.end()
    const [code, signal] = (await once(child, 'exit')) as [number, string | null]
    assert.deepEqual({ code, signal }, { code: 1, signal: null })
  })

  it('ends in order at SIGTERM, even if its output is not read', async () => {
    const notes = join(directory, 'sigterm')
    const child = start({ PATH_INFO: '/forever', QUERY_STRING: notes })
    child.stdin.end()
    await once(child.stdout, 'readable')
    child.kill('SIGTERM')
    await until(() => existsSync(notes))
    child.stdout.resume()
    const [code] = (await once(child, 'exit')) as [number]
    assert.equal(code, 1)
    assert.equal(await readFile(notes, 'utf8'), 'aborted DRAIN_TIMEOUT\nclosed\n')
  })
})

/** A web server that runs `gantry cgi` for each request below /app. */
interface Server {
  readonly port: number
  stop(): Promise<void>
}

async function wrapper(): Promise<string> {
  const path = join(directory, 'gantry.cgi')
  await writeFile(path, `#!/bin/sh\nexec ${process.execPath} ${GANTRY} cgi ${MODULE}\n`)
  await chmod(path, 0o755)
  return path
}

async function nginxWithFcgiwrap(): Promise<Server> {
  const program = await wrapper()
  const wrap = await startFcgiwrap()
  const parameters = [
    ['SCRIPT_FILENAME', program],
    ['SCRIPT_NAME', '/app'],
    // This parameter of fcgiwrap switches off its buffering of the program's output.
    ['NO_BUFFERING', '1'],
    ['PATH_INFO', '$fastcgi_path_info'],
    ...['QUERY_STRING', 'REQUEST_METHOD', 'CONTENT_TYPE', 'CONTENT_LENGTH', 'REQUEST_URI', 'SERVER_PROTOCOL'].map(
      (name) => [name, `$${name.toLowerCase()}`],
    ),
    ...['REMOTE_ADDR', 'REMOTE_PORT', 'SERVER_ADDR', 'SERVER_PORT', 'SERVER_NAME'].map((name) => [
      name,
      `$${name.toLowerCase()}`,
    ]),
  ]
  try {
    const nginx = await startNginx(`
      fastcgi_split_path_info ^(/app)(/.*)$;
      fastcgi_buffering off;
      fastcgi_pass ${wrap.socket};
${parameters.map(([name, value]) => `      fastcgi_param ${name} ${value};`).join('\n')}`)
    return {
      port: nginx.port,
      async stop() {
        await nginx.stop()
        await wrap.stop()
      },
    }
  } catch (error) {
    await wrap.stop()
    throw error
  }
}

for (const { name, missing, begin } of [
  { name: 'Apache’s mod_cgi', missing: noApache, begin: async () => startApache(await wrapper()) },
  { name: 'nginx and fcgiwrap', missing: noNginx ?? noFcgiwrap, begin: nginxWithFcgiwrap },
]) {
  describe(`gantry cgi under ${name}`, { skip: missing !== undefined && !process.env['CI'] && missing }, () => {
    let server: Server
    let client: HttpClient
    before(async () => {
      assert.equal(missing, undefined)
      server = await begin()
    })
    after(() => server?.stop())
    const open = async (): Promise<HttpClient> => {
      client = await HttpClient.connect({ port: server.port, host: '127.0.0.1' })
      return client
    }
    const ask = async (request: Parameters<HttpClient['fetch']>[0]) => {
      const asking = await open()
      try {
        return await asking.fetch(request)
      } finally {
        asking.destroy()
      }
    }

    it('gets the path, the query and the headers', async () => {
      const answer = await ask({ target: '/app/environ?q=%20x', headers: [['X-A', 'b']] })
      const environ = JSON.parse(String(answer.body)) as Record<string, unknown>
      assert.deepEqual(
        ['REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'HTTP_X_A', 'REMOTE_ADDR', 'PATH', 'HTTPS'].map(
          (variable) => environ[variable],
        ),
        ['GET', '/app', '/environ', 'q=%20x', 'b', '127.0.0.1', undefined, undefined],
      )
      assert.equal(environ['wsgi.run_once'], true)
    })

    it('gets a path that is not valid UTF-8', async () => {
      const answer = await ask({ target: '/app/caf%E9' })
      assert.equal(answer.body.toString('latin1'), 'path /caf\xe9')
    })

    it('receives an upload of some megabytes and sends it back', async () => {
      const body = Buffer.alloc(3 * 1024 * 1024, 'gantry cgi ')
      const answer = await ask({ method: 'POST', target: '/app/echo', body })
      assert.ok(answer.body.equals(body))
      assert.equal(answer.complete, true)
    })

    it('gets a chunked upload', async () => {
      const answer = await ask({ method: 'POST', target: '/app/echo', body: 'chunked body', chunked: true })
      assert.equal(String(answer.body), 'chunked body')
    })

    it('repeats headers as often as the application does, and adds a length', async () => {
      const answer = await ask({ target: '/app/cookies' })
      assert.deepEqual(fields(answer, 'set-cookie'), ['a=1', 'b=2'])
      assert.deepEqual(fields(answer, 'content-length'), ['7'])
      assert.deepEqual(fields(answer, 'status'), [])
    })

    it('answers HEAD, 204, a redirect and an error unchanged', async () => {
      const head = await ask({ method: 'HEAD', target: '/app/cookies' })
      assert.deepEqual([head.status, head.body.length], [200, 0])
      assert.equal((await ask({ target: '/app/nothing' })).status, 204)
      const redirect = await ask({ target: '/app/redirect' })
      assert.equal(redirect.status, 303)
      assert.match(fields(redirect, 'location')[0]!, /\/app\/cookies$/)
      const error = await ask({ target: '/app/error' })
      assert.equal(error.status, 500)
      assert.doesNotMatch(String(error.body), /secret/)
    })

    it('streams its response', async () => {
      const go = join(directory, `go ${name.length}`.replace(' ', '-'))
      const client = await open()
      const sent = client.request({ target: `/app/stream?${go}` })
      assert.equal(String(await sent.has(4)), 'one\n')
      await writeFile(go, '')
      assert.equal(String((await sent.whole()).body), 'one\ntwo\n')
      client.destroy()
    })

    it('shows that a response of known length is truncated', async () => {
      const answer = await ask({ target: '/app/cut' })
      assert.deepEqual([answer.status, answer.complete], [200, false])
    })

    it('aborts the application when the client disconnects', async () => {
      const notes = join(directory, `gone-${name.length}`)
      const client = await open()
      await client.request({ target: `/app/forever?${notes}` }).has(1)
      client.destroy('reset')
      await until(() => existsSync(notes))
      let text = ''
      while (!text.includes('closed')) text = await readFile(notes, 'utf8')
      assert.match(text, /^aborted (?:CLIENT_GONE|DRAIN_TIMEOUT)\nclosed\n$/)
    })
  })
}
