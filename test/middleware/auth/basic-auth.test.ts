import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { hashSync } from 'bcryptjs'
import { accessLog } from '../../../middleware/access-log/access-log.ts'
import { type BasicAuthOptions, basicAuth } from '../../../middleware/auth/basic-auth.ts'
import type { HtpasswdError } from '../../../middleware/auth/htpasswd.ts'
import { PasswordCheck } from '../../../middleware/auth/password-check.ts'
import type { WorkOwner } from '../../../middleware/shared/work-owner.ts'
import type { Application, Environ } from '../../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../../protocol/contract/call.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { FakeClock } from '../../support/clock.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'
import { temporary } from '../../support/sockets.ts'

/** The lowest cost: these tests do not check how slow hashing is. */
const BCRYPT = hashSync('secret', 4)
/** The hash of `secret`. */
const SHA = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='

const whoami: Application = (environ, start) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from(String(environ['REMOTE_USER']), 'latin1')]
}

function as(user: string, password: string): CallRequest {
  return { headers: { Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` } }
}

async function statusOf(options: BasicAuthOptions, request: CallRequest): Promise<number> {
  return (await call(basicAuth(options)(whoami), request)).status
}

describe('a known user', () => {
  for (const [kind, hash] of Object.entries({ bcrypt: BCRYPT, SHA })) {
    it(`is admitted with the correct password only (${kind})`, async () => {
      const application = basicAuth({ users: { ann: hash } })(whoami)
      const good = await call(application, as('ann', 'secret'))
      assert.deepEqual([good.status, good.text], [200, 'ann'])
      assert.equal((await call(application, as('ann', 'Secret'))).status, 401)
      assert.equal((await call(application, as('ann', ''))).status, 401)
      assert.equal((await call(application, as('bob', 'secret'))).status, 401)
    })
  }

  it('may have $2a$ and $2b$ hashes, colons in the password, and non-ASCII characters', async () => {
    for (const version of ['$2a$', '$2b$', '$2y$']) {
      const users = { jörg: hashSync('pä:ß:', 4).replace(/^\$2.\$/, version) }
      const { status, text } = await call(basicAuth({ users })(whoami), as('jörg', 'pä:ß:'))
      assert.equal(status, 200)
      assert.equal(text, 'jörg')
    }
  })

  it('is REMOTE_USER in the environ, which no longer has the password', async () => {
    let seen: Environ | undefined
    const application = basicAuth({ users: { ann: SHA } })((environ, start) => {
      seen = environ
      return whoami(environ, start)
    })
    const { headers } = as('ann', 'secret')
    await call(application, {
      headers: { ...headers, 'Remote-User': 'root', 'X-Forwarded-User': 'root' } as Record<string, string>,
      environ: { REMOTE_USER: 'root', AUTH_TYPE: 'none' },
    })
    assert.equal(seen?.['REMOTE_USER'], 'ann')
    assert.equal(seen?.['AUTH_TYPE'], 'Basic')
    for (const name of ['HTTP_AUTHORIZATION', 'HTTP_REMOTE_USER', 'HTTP_X_FORWARDED_USER']) {
      assert.equal(seen?.[name], undefined, name)
    }
    assert.ok(!seen?.gantry.rawHeaders.some(([name]) => name === 'Authorization'))
  })

  it('has the Authorization field passed on if the option says so', async () => {
    let field: unknown
    const application = basicAuth({ users: { ann: SHA }, passAuthorization: true })((environ, start) => {
      field = environ['HTTP_AUTHORIZATION']
      return whoami(environ, start)
    })
    await call(application, as('ann', 'secret'))
    assert.match(String(field), /^Basic /)
  })

  it('appears in the access log, and the password does not', async () => {
    const log = new RecordingLog()
    await call(accessLog({ log })(basicAuth({ users: { ann: SHA } })(whoami)), as('ann', 'secret'))
    assert.equal(log.lines[0]?.fields['user'], 'ann')
    assert.doesNotMatch(JSON.stringify(log.lines), /secret|Basic/)
  })

  it('is remembered, so that the second request does not wait for a hash', async () => {
    const application = basicAuth({ users: { ann: BCRYPT } })(whoami)
    assert.equal((await call(application, as('ann', 'secret'))).status, 200)
    let asynchronous = false
    await call(
      (environ, start) => {
        const given = application(environ, start)
        asynchronous = given instanceof Promise
        return given
      },
      as('ann', 'secret'),
    )
    assert.equal(asynchronous, false)
  })
})

describe('an unknown user', () => {
  it('is asked for a password in the realm', async () => {
    const { status, header, text } = await call(basicAuth({ users: {}, realm: 'the "back" \\ office' })(whoami))
    assert.equal(status, 401)
    assert.equal(header('www-authenticate'), 'Basic realm="the \\"back\\" \\\\ office", charset="UTF-8"')
    assert.doesNotMatch(text, /undefined/)
  })

  it('does not reach the application', async () => {
    let called = false
    const application = basicAuth({ users: { ann: SHA } })((environ, start) => {
      called = true
      return whoami(environ, start)
    })
    await call(application, as('ann', 'wrong'))
    await call(application)
    assert.equal(called, false)
  })

  it('costs a comparison too', async () => {
    const asked: string[] = []
    const original = PasswordCheck.prototype.matches
    PasswordCheck.prototype.matches = function (password, hash, owner) {
      asked.push(hash)
      return original.call(this, password, hash, owner)
    }
    try {
      assert.equal(await statusOf({ users: { ann: BCRYPT } }, as('bob', 'secret')), 401)
    } finally {
      PasswordCheck.prototype.matches = original
    }
    assert.deepEqual(asked, [BCRYPT])
  })

  const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64')
  const malformed: Record<string, string> = {
    'no scheme': base64('ann:secret'),
    'another scheme': `Bearer ${base64('ann:secret')}`,
    'no colon': `Basic ${base64('annsecret')}`,
    'a control character': `Basic ${base64('ann\0:secret')}`,
    'what is no base64': 'Basic ann:secret',
    'two of them': `Basic ${base64('ann:secret')}, Basic ${base64('ann:secret')}`,
    'far too much': `Basic ${base64(`ann:${'x'.repeat(5_000)}`)}`,
  }
  for (const [name, field] of Object.entries(malformed)) {
    it(`is also a client that sends ${name}`, async () => {
      assert.equal(await statusOf({ users: { ann: SHA } }, { headers: { Authorization: field } }), 401)
    })
  }

  it('is also a name that every object has', async () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      assert.equal(await statusOf({ users: { ann: SHA } }, as(name, 'secret')), 401)
    }
  })
})

/** Comparisons that settle when the test says so, in the order of their calls. */
class HeldHashes {
  readonly begun: { readonly password: string; readonly settle: (matches: boolean) => void }[] = []

  readonly compare = (password: string): Promise<boolean> =>
    new Promise((settle) => this.begun.push({ password, settle }))

  /** Ends the comparison in progress, and resolves with the password of the next one. */
  async next(): Promise<string | undefined> {
    this.begun.at(-1)?.settle(false)
    await new Promise(setImmediate)
    return this.begun.at(-1)?.password
  }
}

function from(client: string, signal: AbortSignal = new AbortController().signal): WorkOwner {
  return { client, signal }
}

describe('password comparisons', () => {
  it('are refused with 503 when too many wait', async () => {
    const check = new PasswordCheck()
    const given = Array.from({ length: 65 }, () => check.matches('secret', BCRYPT, from('a')) as Promise<boolean>)
    const results = await Promise.allSettled(given)
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 64)
    await assert.rejects(given[64]!, { status: 503, code: 'TOO_MANY_LOGINS' })
    assert.equal(await check.matches('secret', BCRYPT, from('a')), true, 'later comparisons are accepted again')
  })

  it('of a client that guesses delay another client by one comparison, and never refuse its login', async () => {
    const hashes = new HeldHashes()
    const check = new PasswordCheck(hashes.compare)
    const guesses = Array.from({ length: 100 }, (_, at) =>
      Promise.resolve(check.matches(`guess ${at}`, BCRYPT, from('guesser'))),
    )
    const refused = Promise.allSettled(guesses.slice(63))
    const login = Promise.resolve(check.matches('login', BCRYPT, from('other')))
    assert.equal(hashes.begun.at(-1)?.password, 'guess 0')
    assert.equal(await hashes.next(), 'login')
    hashes.begun.at(-1)?.settle(true)
    assert.equal(await login, true)
    for (const { status } of await refused) assert.equal(status, 'rejected')
    for (let at = 1; at < 63; at++) {
      assert.equal(hashes.begun.at(-1)?.password, `guess ${at}`)
      await hashes.next()
    }
  })

  it('of a hundred clients that guess repeatedly delay the first login of another client by one comparison', async () => {
    const hashes = new HeldHashes()
    const check = new PasswordCheck(hashes.compare)
    const guess = (client: string): void =>
      void Promise.resolve(check.matches(client, BCRYPT, from(client))).catch(() => {})
    for (let at = 0; at < 100; at++) guess(`guesser ${at}`)
    for (let round = 0; round < 300; round++) {
      // Each guesser guesses again after an answer or a refusal.
      await hashes.next()
      for (let at = 0; at < 100; at++) guess(`guesser ${at}`)
    }
    const login = Promise.resolve(check.matches('login', BCRYPT, from('other')))
    assert.equal(await hashes.next(), 'login')
    hashes.begun.at(-1)?.settle(true)
    assert.equal(await login, true)
  })

  it('do not start after their client has disconnected', async () => {
    const hashes = new HeldHashes()
    const check = new PasswordCheck(hashes.compare)
    const leaving = new AbortController()
    check.matches('first', BCRYPT, from('a'))
    const left = Promise.resolve(check.matches('second', BCRYPT, from('a', leaving.signal)))
    check.matches('third', BCRYPT, from('a'))
    leaving.abort(new Error('gone'))
    await assert.rejects(left, /gone/)
    await assert.rejects(
      Promise.resolve(check.matches('fourth', BCRYPT, from('a', leaving.signal))),
      /gone/,
      'nor when it had before',
    )
    assert.equal(await hashes.next(), 'third')
    assert.equal(await hashes.next(), 'third', 'no other comparison begins')
  })

  it('continue after a failed comparison', async () => {
    let count = 0
    const check = new PasswordCheck(async () => {
      if (count++ === 0) throw new Error('the thread has ended')
      return true
    })
    const [first, second] = [check.matches('x', BCRYPT, from('a')), check.matches('x', BCRYPT, from('a'))]
    await assert.rejects(Promise.resolve(first), /ended/)
    assert.equal(await second, true)
  })

  it('are shared by client address, and an IPv6 /64 is one client', async () => {
    const clients: string[] = []
    const original = PasswordCheck.prototype.matches
    PasswordCheck.prototype.matches = (_, __, { client }) => {
      clients.push(client)
      return false
    }
    try {
      const users = { ann: BCRYPT }
      for (const user of ['ann', 'bob']) {
        for (const remoteAddress of ['192.0.2.1', '2001:db8::1', '2001:db8::2']) {
          await statusOf({ users }, { ...as(user, 'x'), remoteAddress })
        }
      }
    } finally {
      PasswordCheck.prototype.matches = original
    }
    const once = ['192.0.2.1', '2001:db8:0:0::/64', '2001:db8:0:0::/64']
    assert.deepEqual(clients, [...once, ...once])
  })

  it('admit the first login of another address while one address guesses', async () => {
    const application = basicAuth({ users: { ann: BCRYPT } })(whoami)
    const answered: string[] = []
    const asked = async (name: string, request: CallRequest): Promise<number> => {
      const { status } = await call(application, request)
      answered.push(name)
      return status
    }
    const guesses = Array.from({ length: 100 }, (_, at) =>
      asked('guess', { ...as('ann', `guess ${at}`), remoteAddress: '192.0.2.1' }),
    )
    assert.equal(await asked('login', { ...as('ann', 'secret'), remoteAddress: '192.0.2.2' }), 200)
    const statuses = await Promise.all(guesses)
    assert.equal(statuses.filter((status) => status === 401).length, 63, 'one of 64 was refused in favour of the login')
    assert.equal(statuses.filter((status) => status === 503).length, 37)
    assert.ok(answered.indexOf('login') <= 38, 'behind those that were refused at once and one comparison')
  })
})

describe('a verify function', () => {
  it('may decide at once or later, and gets the request', async () => {
    const verify = (user: string, password: string, environ: Environ): boolean | Promise<boolean> =>
      environ.PATH_INFO === '/late' ? Promise.resolve(password === 'p') : user === 'u'
    assert.equal(await statusOf({ verify }, as('u', 'x')), 200)
    assert.equal(await statusOf({ verify }, as('v', 'p')), 401)
    assert.equal(await statusOf({ verify }, { ...as('v', 'p'), path: '/late' }), 200)
    assert.equal(await statusOf({ verify }, { ...as('u', 'x'), path: '/late' }), 401)
  })

  it('that takes longer than the client waits does not lead to a call of the application', async () => {
    const asked = Promise.withResolvers<boolean>()
    let called = false
    const running = run(
      basicAuth({ verify: () => asked.promise })((environ, start) => {
        called = true
        return whoami(environ, start)
      }),
      { headers: ['Host', 'h', 'Authorization', 'Basic dTpw'] },
    )
    running.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    asked.resolve(true)
    await running.whenSettled
    assert.equal(called, false)
    assert.deepEqual(running.log.messages(), [])
  })

  it('admits nobody with a value other than true', async () => {
    for (const given of ['yes', 1, undefined]) {
      assert.equal(await statusOf({ verify: (() => given) as never }, as('u', 'x')), 401)
      assert.equal(await statusOf({ verify: (() => Promise.resolve(given)) as never }, as('u', 'x')), 401)
    }
  })

  it('that throws leads to a 500', async () => {
    const verify = (): boolean => {
      throw new Error('the directory is down')
    }
    assert.equal(await statusOf({ verify }, as('u', 'x')), 500)
  })
})

describe('a password file', () => {
  let directory: string
  let path: string
  before(async () => {
    directory = await temporary()
    path = join(directory, 'htpasswd')
  })
  after(() => rm(directory, { recursive: true }))

  it('is read again after a change, and its last valid content stays in effect while it is invalid', async () => {
    const clock = new FakeClock()
    const log = new RecordingLog()
    await writeFile(path, `ann:${SHA}\n`)
    const application = basicAuth({ htpasswd: path, clock, log })(whoami)
    const status = async (user: string): Promise<number> => (await call(application, as(user, 'secret'))).status
    assert.equal(await status('ann'), 200)

    await writeFile(path, `bob:${SHA}\n# a comment\n`)
    assert.equal(await status('ann'), 200, 'the file is checked once a second')
    clock.advance(1_000)
    assert.deepEqual([await status('ann'), await status('bob')], [401, 200])

    await writeFile(path, `bob:${SHA}\ncat:secret-in-the-clear\n`)
    for (let second = 0; second < 3; second++) {
      clock.advance(1_000)
      assert.equal(await status('bob'), 200)
    }
    assert.equal(log.lines.length, 1, 'the failure is logged once')
    assert.match(String(log.lines[0]?.fields['reason']), /htpasswd, line 2: it has a crypt hash or a plain password/)
    assert.doesNotMatch(JSON.stringify(log.lines), /secret-in-the-clear/)

    await unlink(path)
    for (let second = 0; second < 3; second++) {
      clock.advance(1_000)
      assert.equal(await status('bob'), 200)
    }
    assert.equal(log.lines.length, 2)

    await writeFile(path, `ann:${SHA}\n`)
    clock.advance(1_000)
    assert.deepEqual([await status('ann'), await status('bob')], [200, 401])
  })

  it('admits nobody with an old password after a change', async () => {
    const clock = new FakeClock()
    await writeFile(path, `ann:${BCRYPT}\n`)
    const application = basicAuth({ htpasswd: path, clock })(whoami)
    assert.equal((await call(application, as('ann', 'secret'))).status, 200)
    await writeFile(path, `ann:${hashSync('another', 4)}\n`)
    clock.advance(1_000)
    assert.equal((await call(application, as('ann', 'secret'))).status, 401)
    assert.equal((await call(application, as('ann', 'another'))).status, 200)
  })

  it('that is missing or invalid is refused at once', async () => {
    assert.throws(
      () => basicAuth({ htpasswd: join(directory, 'none') }),
      (error: HtpasswdError) => {
        assert.equal(error.name, 'HtpasswdError')
        assert.equal((error.cause as NodeJS.ErrnoException).code, 'ENOENT')
        const file = join(directory, 'none')
        assert.equal(
          error.message,
          `basicAuth: the htpasswd file ${file} does not exist: correct the path, or create the file (htpasswd -B -c ${file} NAME)`,
        )
        return true
      },
    )
    assert.throws(
      () => basicAuth({ htpasswd: directory }),
      /the htpasswd file \/.* is a folder: give the path of a file/,
    )
    assert.throws(() => basicAuth({ htpasswd: `${path}/x` }), /does not exist/)
    await writeFile(path, 'ann:$apr1$abc$def\n')
    assert.throws(() => basicAuth({ htpasswd: path }), { code: 'BAD_HTPASSWD' })
  })

  const binary = ['/usr/bin/htpasswd', '/usr/local/bin/htpasswd'].find((file) => existsSync(file))
  // With CI=true a missing program is a failure.
  const skip = !binary && !process.env['CI'] && 'htpasswd is not installed'
  it("is read as Apache's own program writes it", { skip }, async () => {
    execFileSync(binary!, ['-cbB', '-C', '4', path, 'ann', 'secret'], { stdio: 'ignore' })
    execFileSync(binary!, ['-bs', path, 'bob', 'hidden'], { stdio: 'ignore' })
    const application = basicAuth({ htpasswd: path })(whoami)
    assert.equal((await call(application, as('ann', 'secret'))).status, 200)
    assert.equal((await call(application, as('bob', 'hidden'))).status, 200)
    assert.equal((await call(application, as('bob', 'secret'))).status, 401)
  })
})

it('refuses options that contradict each other', () => {
  assert.throws(() => basicAuth({}), /expected exactly one of htpasswd, users and verify, got none/)
  assert.throws(() => basicAuth(), /expected exactly one of htpasswd, users and verify, got none/)
  assert.throws(() => basicAuth({ users: {}, verify: () => true }), /got users and verify/)
  assert.throws(() => basicAuth({ users: {}, realm: 'a\r\nb' }), /the option realm is .*, expected printable ASCII/)
  assert.throws(() => basicAuth({ users: { ann: 'plain' } }), /the user "ann": it has a crypt hash or a plain password/)
})

for (const place of places) {
  describe(`basic authentication ${place.name}`, () => {
    it('admits known users under their names, and nobody else', async () => {
      await using placed = await place.put(basicAuth({ users: { ann: BCRYPT } }), whoami)
      assert.equal((await call(placed.application)).status, 401)
      assert.equal((await call(placed.application, as('ann', 'wrong'))).status, 401)
      for (let again = 0; again < 2; again++) {
        assert.equal((await call(placed.application, as('ann', 'secret'))).text, 'ann')
      }
    })
  })
}
