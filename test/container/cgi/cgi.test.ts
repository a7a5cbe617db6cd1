import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { cgi } from '../../../container/cgi/cgi.ts'
import type { CgiOptions } from '../../../container/cgi/program-options.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { repositoryFile } from '../../support/child.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'
import { temporary } from '../../support/sockets.ts'
import { until } from '../../support/until.ts'

let directory = ''
let programs = 0

before(async () => {
  directory = await temporary()
})
after(() => rm(directory, { recursive: true, force: true }))

/** A program that a test writes. */
async function script(text: string): Promise<string> {
  const path = join(directory, `${++programs}.cgi`)
  await writeFile(path, `#!/bin/sh\n${text}`)
  await chmod(path, 0o755)
  return path
}

interface Running {
  readonly application: Application
  ask(request?: CallRequest): Promise<CallResult>
  /** The program's standard error. */
  readonly stderr: RecordingLog
  /** The log of the gateway. */
  readonly log: RecordingLog
}

/** Runs a program under lint. */
async function running(text: string, options: CgiOptions = {}): Promise<Running> {
  const [log, stderr] = [new RecordingLog(), new RecordingLog()]
  const application = lint(cgi(await script(text), { log: stderr, killGrace: 300, ...options }))
  return { application, stderr, log, ask: (request = {}) => call(application, { log, ...request }) }
}

const codes = ({ log }: Running): unknown[] => log.lines.map(({ fields }) => fields['code'])
const TEXT = 'printf "Content-Type: text/plain\\n\\n"\n'

/** The content of a file that a program writes to its directory; waits for the file. */
async function written(name: string): Promise<string> {
  const path = join(directory, name)
  // A shell creates the file before it writes to the file.
  await until(() => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0)
  return await readFile(path, 'utf8')
}

/** Whether a process runs. (A process that has exited and was not reaped does not.) */
function runs(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

for (const place of places) {
  describe(`a CGI program ${place.name}`, () => {
    it('answers with repeated headers and with the body that it read', async () => {
      const program = await script(
        'printf "Status: 201 Made\\nSet-Cookie: a=1\\nSet-Cookie: b=2\\n\\n"\nprintf "%s " "$REQUEST_METHOD" "$PATH_INFO" "$QUERY_STRING"\nexec cat\n',
      )
      await using placed = await place.put((application) => application, cgi(program))
      const answer = await call(placed.application, { method: 'POST', path: '/%C3%A9?q=%20', body: 'upload' })
      assert.deepEqual([answer.status, answer.reason], [201, 'Made'])
      assert.deepEqual(answer.headers, [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['Content-Type', 'text/plain'],
      ])
      assert.equal(answer.text, 'POST /é q=%20 upload')
    })

    it('runs to its end although HEAD has no body', async () => {
      const program = await script(`${TEXT}echo body\necho done > "$0.head"\n`)
      await using placed = await place.put((application) => application, cgi(program))
      const answer = await call(placed.application, { method: 'HEAD' })
      assert.deepEqual([answer.status, answer.body.length, answer.aborted], [200, 0, undefined])
      await until(() => existsSync(`${program}.head`))
    })

    it('has its response truncated if it fails in its body', async () => {
      const program = await script(`${TEXT}echo part\nexit 3\n`)
      await using placed = await place.put((application) => application, cgi(program))
      const answer = await call(placed.application)
      assert.equal(answer.text, 'part\n')
      assert.notEqual(answer.aborted, undefined)
    })

    it('is killed when the client disconnects', async () => {
      const program = await script(`${TEXT}echo begun\necho $$ > "$0.pid"\nexec sleep 60\n`)
      await using placed = await place.put((application) => application, cgi(program))
      const leave = new AbortController()
      const answer = call(placed.application, { signal: leave.signal })
      await until(() => existsSync(`${program}.pid`) && readFileSync(`${program}.pid`, 'utf8') !== '')
      const pid = Number(readFileSync(`${program}.pid`, 'utf8'))
      leave.abort()
      assert.equal((await answer).aborted?.code, 'CLIENT_GONE')
      await until(() => !runs(pid))
    })
  })
}

describe('the environment of a CGI program', () => {
  it('consists of the request’s variables and a few of this process', async () => {
    process.env['GANTRY_TEST_SECRET'] = 'secret'
    try {
      const { ask } = await running(`${TEXT}env\n`, { variables: { MINE: 'é' }, documentRoot: '/srv' })
      const { text } = await ask({
        path: '/a?b',
        headers: { Host: 'h', Proxy: 'http://evil', Authorization: 'Basic x', 'X-A': 'b' },
      })
      const env = new Map(text.split('\n').map((line) => line.split('=', 2) as [string, string]))
      assert.deepEqual(
        ['PATH_INFO', 'QUERY_STRING', 'HTTP_X_A', 'HTTP_HOST', 'MINE', 'DOCUMENT_ROOT', 'PATH_TRANSLATED', 'PATH'].map(
          (name) => env.get(name),
        ),
        ['/a', 'b', 'b', 'h', 'é', '/srv', '/srv/a', process.env['PATH']],
      )
      for (const name of ['HTTP_PROXY', 'HTTP_AUTHORIZATION', 'GANTRY_TEST_SECRET', 'HOME']) {
        assert.ok(!env.has(name), name)
      }
    } finally {
      delete process.env['GANTRY_TEST_SECRET']
    }
  })

  it('never contains a changed path: a path that is not UTF-8 is refused, and such a header is left out', async () => {
    const run = await running(`${TEXT}echo "[$HTTP_X_A]"\n`)
    assert.equal((await run.ask({ path: '/%FF' })).status, 400)
    assert.deepEqual(codes(run), ['CGI_BYTES'])
    assert.equal((await run.ask({ headers: { 'X-A': '\xff' } })).text, '[]\n')
  })

  it('comes with the arguments and the directory of the options, without a shell', async () => {
    const { ask } = await running(`${TEXT}echo "$1"; pwd\n`, { args: ['$(echo x); *'], cwd: '/' })
    assert.equal((await ask()).text, '$(echo x); *\n/\n')
  })
})

describe('a CGI program’s input', () => {
  it('is the whole upload, and the response is the whole output, under backpressure', async () => {
    const { ask } = await running(`${TEXT}exec cat\n`)
    const body = Buffer.alloc(3 * 1024 * 1024, 'gantry ')
    const answer = await ask({ method: 'POST', body })
    assert.ok(answer.body.equals(body))
  })

  it('ends with an upload of unknown length', async () => {
    const { ask } = await running(`${TEXT}echo "$CONTENT_LENGTH $HTTP_TRANSFER_ENCODING"\nexec cat\n`)
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('one ')
      yield Buffer.from('two')
    }
    assert.equal((await ask({ method: 'POST', body: chunks() })).text, ' chunked\none two')
    assert.equal((await ask()).text, ' \n')
  })

  it('need not be read', async () => {
    const { ask } = await running(`${TEXT}echo early\n`)
    assert.equal((await ask({ method: 'POST', body: Buffer.alloc(1024 * 1024) })).text, 'early\n')
  })

  it('does not look complete if the client disconnects in the middle', async () => {
    const { ask } = await running(
      'trap "echo killed > $0.told; exit" TERM\ncat > /dev/null & wait\necho whole > "$0.told"\n',
    )
    const leave = new AbortController()
    const never = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('half')
      leave.abort()
      await new Promise(() => {})
    }
    const { aborted } = await ask({ method: 'POST', body: never(), signal: leave.signal })
    assert.equal(aborted?.code, 'CLIENT_GONE')
    assert.ok(
      !existsSync(join(directory, `${programs}.cgi.told`)) || (await written(`${programs}.cgi.told`)) === 'killed\n',
    )
  })
})

describe('a CGI program’s response', () => {
  it('is streamed while the program waits', async () => {
    const program = await script(`${TEXT}echo one\nuntil [ -e "$0.go" ]; do sleep 0.01; done\necho two\n`)
    const log = new RecordingLog()
    let seen = ''
    await call(
      async (environ, startResponse) => {
        const body = (await cgi(program, { log })(environ, startResponse)) as AsyncIterable<Uint8Array>
        return {
          async *[Symbol.asyncIterator]() {
            for await (const chunk of body) {
              seen += String(chunk)
              if (seen === 'one\n') await writeFile(`${program}.go`, '')
              yield chunk
            }
          },
          close: () => (body as { close?(): void }).close?.(),
        }
      },
      { log },
    )
    assert.equal(seen, 'one\ntwo\n')
  })

  for (const [what, text, status, code] of [
    ['nothing', 'exit 0\n', 502, 'CGI_HEAD'],
    ['nothing but an exit', 'exit 7\n', 502, 'CGI_HEAD'],
    ['half a head', 'echo "Content-Type: text/plain"\n', 502, 'CGI_HEAD'],
    ['HTTP (non-parsed headers)', 'printf "HTTP/1.0 200 OK\\n\\nhello"\n', 502, 'CGI_NPH'],
    ['a head without end', 'yes "X-A: b"\n', 502, 'CGI_HEAD'],
    ['a head, and fails before any body', `${TEXT}exit 1\n`, 502, 'CGI_EXIT'],
  ] as const) {
    it(`is ${status} if the program writes ${what}`, async () => {
      const run = await running(text)
      const answer = await run.ask()
      assert.deepEqual([answer.status, answer.aborted], [status, undefined])
      assert.deepEqual(codes(run), [code])
      assert.doesNotMatch(answer.text, /cgi/i)
    })
  }

  it('is truncated if it is shorter than its Content-Length, and never longer', async () => {
    const short = await running('printf "Content-Length: 10\\n\\nfive!"\n')
    assert.notEqual((await short.ask()).aborted, undefined)
    const long = await running('printf "Content-Length: 4\\n\\nfive!"\n')
    assert.deepEqual([(await long.ask()).text, codes(long)], ['five', []])
    assert.match(long.stderr.messages()[0]!, /more than its Content-Length/)
  })

  it('redirects the client if its Location is on another host, or no application serves it', async () => {
    for (const location of ['http://elsewhere/', '/here?q']) {
      const { ask } = await running(`printf "Location: ${location}\\n\\n"\n`)
      const answer = await ask()
      assert.deepEqual([answer.status, answer.header('location')], [302, location])
    }
  })

  it('comes from the path of a local redirect, requested with GET and without the body', async () => {
    const local: Application = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'application/json']])
      const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, CONTENT_LENGTH } = environ
      const seen = [REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, CONTENT_LENGTH, environ['REDIRECT_URL']]
      return [Buffer.from(JSON.stringify(seen))]
    }
    const { ask } = await running('cat > /dev/null\nprintf "Location: /a%%20b?q=%%20#f\\n\\n"\n', {
      local: lint(local),
    })
    const answer = await ask({ method: 'POST', path: '/first', body: 'x' })
    assert.deepEqual(JSON.parse(answer.text), ['GET', '', '/a b', 'q=%20', null, '/first'])
  })

  it('is 502 if it is redirected to itself too often, one program at a time', async () => {
    const local: Application = (environ, startResponse) => looping(environ, startResponse)
    const looping = cgi(await script('echo x >> "$0.runs"\nprintf "Location: /again\\n\\n"\n'), {
      local,
      concurrency: 1,
    })
    assert.equal((await call(looping)).status, 502)
    assert.equal(await written(`${programs}.cgi.runs`), 'x\n'.repeat(11))
  })
})

describe('a CGI program that cannot be started', () => {
  for (const [what, make, message] of [
    ['does not exist', async () => join(directory, 'none'), /no such file/],
    [
      'is not executable',
      async () => {
        const path = await script('')
        await chmod(path, 0o644)
        return path
      },
      /chmod/,
    ],
    ['is a directory', async () => directory, /not a file/],
    [
      'names an interpreter that does not exist',
      async () => {
        const path = await script('')
        await writeFile(path, '#!/none/such\n')
        return path
      },
      /interpreter/,
    ],
  ] as const) {
    it(`is answered with 500 if it ${what}, and the log explains it`, async () => {
      const log = new RecordingLog()
      const { status, text } = await call(lint(cgi(await make())), { log })
      assert.equal(status, 500)
      assert.doesNotMatch(text, /cgi|none/)
      assert.deepEqual(log.lines[0]?.fields['code'], 'CGI_START')
      assert.match(log.messages()[0]!, message)
    })
  }

  it('is refused at once if its options are invalid', () => {
    assert.throws(() => cgi(''), /the program is ''/)
    assert.throws(() => cgi('/srv/nph-x'), /nph-x.*non-parsed/)
    assert.throws(() => cgi('/x', { concurrency: 0 }), /concurrency is 0, expected a whole number, 1 or more/)
    assert.throws(
      () => cgi('/x', { headTimeout: '1s' as never }),
      /headTimeout is "1s", expected a number of milliseconds/,
    )
    assert.throws(() => cgi('/x', { variables: { 'A=B': '' } }), /variables\.A=B/)
  })
})

describe('the timeouts of a CGI program', () => {
  it('answer 504 if it writes no head', async () => {
    const clock = new FakeClock()
    const run = await running('echo $$ > "$0.pid"\nexec sleep 60\n', { clock })
    const answer = run.ask()
    const pid = Number(await written(`${programs}.cgi.pid`))
    await until(() => clock.pending > 0)
    clock.advance(59_999)
    assert.ok(runs(pid))
    clock.advance(1)
    assert.equal((await answer).status, 504)
    assert.deepEqual(codes(run), ['CGI_TIMEOUT'])
    await until(() => !runs(pid))
  })

  it('do not count a slow upload', async () => {
    const clock = new FakeClock()
    const { ask } = await running(`head -c 4 > /dev/null\necho > "$0.four"\n${TEXT}exec cat\n`, { clock })
    const slow = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('four')
      await written(`${programs}.cgi.four`)
      // Long after the head's timeout, if the program had sent nothing.
      clock.advance(50_000)
      yield Buffer.from('more')
    }
    const { status, text } = await ask({ method: 'POST', body: slow() })
    assert.deepEqual([status, text], [200, 'more'])
  })

  it('truncate the response if its body pauses for too long', async () => {
    const clock = new FakeClock()
    const program = await script(`${TEXT}echo part\necho $$ > "$0.pid"\nexec sleep 60\n`)
    const log = new RecordingLog()
    const answer = call(lint(cgi(program, { clock, idleTimeout: 5_000 })), { log })
    const pid = Number(await written(`${programs}.cgi.pid`))
    while (runs(pid)) {
      clock.advance(1_000)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    const { text, aborted } = await answer
    assert.equal(text, 'part\n')
    assert.equal(aborted?.code, 'APPLICATION')
  })

  it('kill a program with its children if it continues after its response or ignores SIGTERM', async () => {
    const run = await running(
      `trap "" TERM\n${TEXT}echo whole\nsleep 60 > /dev/null 2>&1 &\necho "$$ $!" > "$0.pids"\nexec >&- 2>&-\nwhile :; do sleep 0.05; done\n`,
      { killGrace: 50 },
    )
    const { text, aborted } = await run.ask()
    assert.deepEqual([text, aborted], ['whole\n', undefined])
    const pids = (await written(`${programs}.cgi.pids`)).trim().split(' ').map(Number)
    await until(() => !pids.some(runs))
  })
})

describe('many CGI programs', () => {
  it('run a few at once; the others wait, and further ones are refused', async () => {
    const run = await running(
      `${TEXT}echo $$ > "$0.$PATH_PART"\nuntil [ -e "$0.go" ]; do sleep 0.01; done\necho done\n`,
      {
        concurrency: 1,
        queue: 1,
      },
    )
    const first = run.ask()
    await written(`${programs}.cgi.`)
    const leave = new AbortController()
    const gone = run.ask({ signal: leave.signal })
    const refused = await run.ask()
    assert.deepEqual([refused.status, refused.header('retry-after')], [503, '1'])
    // A request that leaves the queue frees its place, and is not run.
    leave.abort()
    assert.equal((await gone).aborted?.code, 'CLIENT_GONE')
    const second = run.ask()
    await writeFile(join(directory, `${programs}.cgi.go`), '')
    assert.deepEqual([(await first).text, (await second).text], ['done\n', 'done\n'])
    assert.equal((await run.ask()).text, 'done\n')
  })

  it('share the queue: a client without a program runs next although another client has filled the queue', async () => {
    const run = await running(
      `${TEXT}echo $$ > "$0.$PATH_PART"\nuntil [ -e "$0.go" ]; do sleep 0.01; done\necho done\n`,
      { concurrency: 1, queue: 1 },
    )
    const first = run.ask({ remoteAddress: '2001:db8::1' })
    await written(`${programs}.cgi.`)
    const dropped = run.ask({ remoteAddress: '2001:db8::2' })
    const other = run.ask({ remoteAddress: '192.0.2.1' })
    assert.equal((await dropped).status, 503)
    await writeFile(join(directory, `${programs}.cgi.go`), '')
    assert.deepEqual([(await first).text, (await other).text], ['done\n', 'done\n'])
  })
})

describe('a CGI program’s standard error', () => {
  it('is logged line by line with the request’s id', async () => {
    const run = await running(`echo one >&2\nprintf two >&2\n${TEXT}echo ok\n`)
    await run.ask()
    assert.deepEqual(run.stderr.messages('warn'), ['one', 'two'])
    const [line] = run.stderr.lines
    assert.equal(typeof line?.fields['requestId'], 'string')
    assert.equal(line?.fields['source'], 'cgi')
  })

  it('goes to wsgi.errors without a log', async () => {
    const log = new RecordingLog()
    await call(cgi(await script(`echo one >&2\n${TEXT}`)), { log })
    assert.deepEqual(log.messages('error'), ['one'])
  })

  it('is bounded, and the program does not have to wait', async () => {
    const run = await running(`yes | head -c 300000 >&2\n${TEXT}echo ok\n`, { stderrLimit: 100 })
    assert.equal((await run.ask()).text, 'ok\n')
    assert.equal(run.stderr.lines.length, 51)
    assert.match(run.stderr.messages().at(-1)!, /more than 100 bytes/)
  })
})

describe('a CGI program that is gantry cgi', () => {
  it('returns the response of the application, with lint around both', async () => {
    const module = join(directory, 'application.ts')
    await writeFile(
      module,
      `import { lint } from '${repositoryFile('protocol/contract/lint.ts')}'
export const application = lint(async (environ, startResponse) => {
  let size = 0
  for await (const chunk of environ['wsgi.input']) size += chunk.length
  startResponse('203 Fine', [['Content-Type', 'text/plain'], ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2']])
  return [Buffer.from([environ.REQUEST_METHOD, environ.PATH_INFO, environ['wsgi.run_once'], environ.PATH, size].join(' '), 'latin1')]
})\n`,
    )
    const { ask, log } = await running(`exec ${process.execPath} ${repositoryFile('cli/gantry.ts')} cgi ${module}\n`)
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      for (let turn = 0; turn < 20; turn++) yield Buffer.alloc(50_000)
    }
    for (const body of [Buffer.alloc(1_000_000), chunks()]) {
      const answer = await ask({ method: 'POST', path: '/%C3%A9', body })
      assert.deepEqual([answer.status, answer.reason, answer.text], [203, 'Fine', 'POST /é true  1000000'])
      assert.equal(answer.headers.filter(([name]) => name === 'Set-Cookie').length, 2)
    }
    assert.deepEqual(log.lines, [])
  })
})
