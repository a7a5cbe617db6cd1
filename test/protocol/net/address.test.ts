import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type Address,
  AddressError,
  dialTarget,
  listenTarget,
  parseAddress,
  printAddress,
} from '../../../protocol/net/address.ts'
import { OptionError } from '../../../protocol/options/option-table.ts'
import { parseOptions } from '../../../protocol/options/options.ts'

const good: [text: string, address: Address, printed: string][] = [
  ['unix:/run/app.sock', { kind: 'unix', path: '/run/app.sock' }, 'unix:/run/app.sock'],
  ['unix:///run/app.sock', { kind: 'unix', path: '/run/app.sock' }, 'unix:/run/app.sock'],
  ['unix:./@app', { kind: 'unix', path: './@app' }, 'unix:./@app'],
  ['unix:/run/@app', { kind: 'unix', path: '/run/@app' }, 'unix:/run/@app'],
  ['unix:app.sock', { kind: 'unix', path: 'app.sock' }, 'unix:app.sock'],
  ['unix:/a b:c', { kind: 'unix', path: '/a b:c' }, 'unix:/a b:c'],
  ['unix:/run/gantry/', { kind: 'unix-directory', path: '/run/gantry/' }, 'unix:/run/gantry/'],
  ['tcp:container:8000', { kind: 'tcp', host: 'container', port: 8000 }, 'container:8000'],
  ['127.0.0.1:0', { kind: 'tcp', host: '127.0.0.1', port: 0 }, '127.0.0.1:0'],
  ['my_app.internal:65535', { kind: 'tcp', host: 'my_app.internal', port: 65535 }, 'my_app.internal:65535'],
  [':8080', { kind: 'tcp', host: '', port: 8080 }, ':8080'],
  ['*:8080', { kind: 'tcp', host: '', port: 8080 }, ':8080'],
  ['tcp::8080', { kind: 'tcp', host: '', port: 8080 }, ':8080'],
  ['[::1]:8000', { kind: 'tcp', host: '::1', port: 8000 }, '[::1]:8000'],
  ['tcp:[::]:8000', { kind: 'tcp', host: '::', port: 8000 }, '[::]:8000'],
  ['[fe80::1%eth0]:8000', { kind: 'tcp', host: 'fe80::1%eth0', port: 8000 }, '[fe80::1%eth0]:8000'],
  ['http://localhost:3000', { kind: 'http', url: 'http://localhost:3000/' }, 'http://localhost:3000/'],
  ['HTTPS://Example.com/base', { kind: 'http', url: 'https://example.com/base' }, 'https://example.com/base'],
]

for (const [text, address, printed] of good) {
  test(`${text} is read, and printed as ${printed}`, () => {
    assert.deepEqual(parseAddress(text), address)
    assert.equal(printAddress(address), printed)
    assert.deepEqual(parseAddress(printed), address)
  })
}

const bad: [text: string, message: RegExp][] = [
  ['', /expected unix:\/path/],
  ['host', /the port is missing/],
  ['tcp:host', /the port is missing/],
  ['[::1]', /the port is missing/],
  ['8080', /write a port alone as :8080/],
  ['tcp:8080', /write a port alone as :8080/],
  ['host:', /expected/],
  ['host:http', /expected a number after the colon/],
  [':80x', /expected a number after the colon/],
  ['[::1]:80x', /expected a number after the colon/],
  ['host:65536', /at most 65535/],
  ['host:-1', /expected/],
  ['::1:8000', /in brackets: \[::1\]:8000/],
  ['fe80::1', /brackets/],
  ['[localhost]:80', /expected an IPv6 address in brackets/],
  ['[]:80', /expected an IPv6 address in brackets/],
  ['ho st:80', /expected a host name/],
  ['a/b:80', /expected a host name/],
  ['unix:', /expected a path after/],
  ['unix:@gantry', /abstract sockets are not supported, because they have no file permissions; write unix:\/path/],
  ['unix:@', /abstract sockets are not supported/],
  ['unix:@a/b', /abstract sockets are not supported/],
  ['unix:@gantry/', /abstract sockets are not supported/],
  ['unix://@gantry', /abstract sockets are not supported/],
  ['@gantry', /abstract sockets are not supported/],
  ['unix://run/app.sock', /with one slash/],
  ['unix:/a\0b', /must not contain a NUL/],
  [`unix:/${'a'.repeat(120)}`, /the path has 121 bytes; the path of a socket has at most \d+/],
  ['uwsgi://host:1', /the scheme uwsgi is not supported/],
  ['http://', /expected http/],
  ['http://host/?a', /without query/],
  ['http://host/#a', /and fragment/],
]

for (const [text, message] of bad) {
  test(`${JSON.stringify(text.slice(0, 40))} is refused with what was expected`, () => {
    assert.throws(
      () => parseAddress(text),
      (error: Error) => error instanceof AddressError && error.code === 'BAD_ADDRESS' && message.test(error.message),
    )
  })
}

const SECRET_ADDRESSES = [
  'http://user:hush@host/',
  'http://user:hush@host:port/',
  'http://user:hu/hush@host/',
  'HTTPS://user:hu@hush@host/?x',
  'http://hush@host',
  'redis://:hush@host:1',
  'tcp://user:hush@host:1',
  'user:hush@host:80',
]

for (const text of SECRET_ADDRESSES) {
  test(`a password in ${text} is not repeated in the refusal`, () => {
    assert.throws(
      () => parseAddress(text),
      (error: AddressError) =>
        error instanceof AddressError && /…@h/.test(error.text) && !`${error.message}${error.text}`.includes('hush'),
    )
    const table = {
      upstream: { kind: 'address', forms: ['tcp', 'http'], list: true, sentence: '', default: 'host:1' },
    } as const
    assert.throws(
      () => parseOptions(table, ['--upstream', text]),
      (error: Error) => error instanceof OptionError && /…@h/.test(error.message) && !error.message.includes('hush'),
    )
  })
}

test('an @ in a path is repeated in a refusal', () => {
  assert.throws(() => parseAddress(`unix:/run/a@b/${'c'.repeat(110)}`), /"unix:\/run\/a@b\/c/)
})

test('a directory may be longer than a socket in it', () => {
  assert.equal(parseAddress(`unix:/${'a'.repeat(120)}/`).kind, 'unix-directory')
})

test('any text gives an address that prints to an equal one, or an AddressError', () => {
  const pieces = fc.array(
    fc.constantFrom(
      'unix:',
      'tcp:',
      'http://',
      '[',
      ']',
      ':',
      '/',
      '::1',
      'host',
      'unix',
      'tcp',
      '80',
      '*',
      '%',
      '@',
      '\0',
    ),
  )
  fc.assert(
    fc.property(
      fc.oneof(
        pieces.map((list) => list.join('')),
        fc.string(),
      ),
      (text) => {
        try {
          const address = parseAddress(text)
          assert.deepEqual(parseAddress(printAddress(address)), address)
        } catch (error) {
          assert.ok(error instanceof AddressError)
        }
      },
    ),
    { numRuns: 2_000 },
  )
})

test('a host with the name of a scheme is printed so that it is parsed as a host', () => {
  for (const host of ['unix', 'tcp', 'http']) {
    const address = { kind: 'tcp', host, port: 80 } as const
    assert.deepEqual(parseAddress(printAddress(address)), address)
  }
})

test('a wildcard listens on all interfaces, and dials this host', () => {
  const wildcard = { kind: 'tcp', host: '', port: 80 } as const
  assert.deepEqual(listenTarget(wildcard), { port: 80 })
  assert.deepEqual(dialTarget(wildcard), { host: 'localhost', port: 80 })
})

test('a Unix socket is listened on and dialed by its path', () => {
  const socket = { kind: 'unix', path: '/run/x' } as const
  assert.deepEqual(listenTarget(socket), { path: '/run/x' })
  assert.deepEqual(dialTarget(socket), { path: '/run/x' })
})
