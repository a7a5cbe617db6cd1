import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nearest } from '../../../protocol/options/nearest.ts'
import { environmentName, flagName, OptionError, type OptionErrorCode } from '../../../protocol/options/option-table.ts'
import { parseDuration, parseSize } from '../../../protocol/options/option-values.ts'
import { parseOptions } from '../../../protocol/options/options.ts'

const table = {
  module: { kind: 'text', positional: true, sentence: 'A module.' },
  listen: { kind: 'address', forms: ['unix', 'tcp'], list: true, default: ':8000', sentence: 'Where.' },
  accessLog: { kind: 'choice', choices: ['json', 'off'], default: 'json', sentence: 'Lines.' },
  wires: { kind: 'choice', choices: ['frames', 'http'], list: true, sentence: 'Wires.' },
  queueSize: { kind: 'integer', default: 10, minimum: 1, maximum: 100, sentence: 'Size.' },
  workers: { kind: 'integer', minimum: 1, auto: (): number => 4, sentence: 'Count.' },
  timeout: { kind: 'duration', default: '60s', unlimited: true, sentence: 'Time.' },
  grace: { kind: 'duration', sentence: 'Time.' },
  interval: { kind: 'duration', minimum: 10, sentence: 'Time.' },
  bodyLimit: { kind: 'size', default: 'none', minimum: 16, unlimited: true, sentence: 'Bytes.' },
  socketMode: { kind: 'mode', sentence: 'Permissions.' },
  reload: { kind: 'flag', sentence: 'Reload.' },
  compress: { kind: 'flag', default: true, sentence: 'Compress.' },
  peers: { kind: 'peers', list: true, default: 'loopback', sentence: 'Peers.' },
  token: { kind: 'text', secret: true, sentence: 'Secret.' },
} as const

function parse(argv: string[], environment: Record<string, string | undefined> = {}) {
  return parseOptions(table, argv, environment)
}

function refusal(argv: string[], environment: Record<string, string> = {}): OptionError {
  try {
    parse(argv, environment)
  } catch (error) {
    assert.ok(error instanceof OptionError)
    return error
  }
  assert.fail('nothing was refused')
}

test('an option that is not given has its default, and a list without a default is empty', () => {
  const { values, given, warnings } = parse([])
  assert.deepEqual(values.listen, [{ kind: 'tcp', host: '', port: 8000 }])
  assert.equal(values.accessLog, 'json')
  assert.deepEqual(values.wires, [])
  assert.equal(values.queueSize, 10)
  assert.equal(values.timeout, 60_000)
  assert.equal(values.grace, undefined)
  assert.equal(values.bodyLimit, Number.POSITIVE_INFINITY)
  assert.equal(values.reload, false)
  assert.equal(values.compress, true)
  assert.equal(values.module, undefined)
  assert.equal(given.size, 0)
  assert.deepEqual(warnings, [])
})

test('a value follows its name or an equals sign, and arguments come between', () => {
  const { values } = parse(['--queue-size', '7', 'app.ts', '--timeout=250ms', '--socket-mode=660', '--reload'])
  assert.equal(values.queueSize, 7)
  assert.equal(values.module, 'app.ts')
  assert.equal(values.timeout, 250)
  assert.equal(values.socketMode, 0o660)
  assert.equal(values.reload, true)
})

test('the command line counts over the environment, and that over the default', () => {
  const environment = { GANTRY_ACCESS_LOG: 'off', GANTRY_QUEUE_SIZE: '3' }
  assert.equal(parse([], environment).values.accessLog, 'off')
  assert.equal(parse(['--queue-size', '4'], environment).values.queueSize, 4)
  assert.equal(parse([], environment).values.queueSize, 3)
})

test('an empty environment variable counts as unset', () => {
  assert.equal(parse([], { GANTRY_QUEUE_SIZE: '' }).values.queueSize, 10)
})

test('a list gathers repeated options and commas, and replaces its default and the environment', () => {
  const { values } = parse(['--listen', ':1,[::1]:2', '--listen=unix:/run/x'], { GANTRY_LISTEN: ':9' })
  assert.deepEqual(values.listen, [
    { kind: 'tcp', host: '', port: 1 },
    { kind: 'tcp', host: '::1', port: 2 },
    { kind: 'unix', path: '/run/x' },
  ])
  assert.deepEqual(parse([], { GANTRY_WIRES: 'frames, http' }).values.wires, ['frames', 'http'])
})

test('the last value of a repeated option counts, unless it is a list', () => {
  assert.equal(parse(['--queue-size=1', '--queue-size=2']).values.queueSize, 2)
})

test('a flag is negated by --no-, and the environment says it in words', () => {
  assert.equal(parse(['--no-compress']).values.compress, false)
  for (const word of ['true', '1', 'yes', 'on', 'ON'])
    assert.equal(parse([], { GANTRY_RELOAD: word }).values.reload, true)
  for (const word of ['false', '0', 'no', 'off'])
    assert.equal(parse([], { GANTRY_COMPRESS: word }).values.compress, false)
})

test('what follows a double dash is an argument', () => {
  assert.equal(parse(['--', '--odd-name.ts']).values.module, '--odd-name.ts')
})

test('arguments of the application follow a double dash unchanged, after missing positional arguments', () => {
  const table = {
    module: { kind: 'text', positional: true, required: true, value: 'MODULE', sentence: 'What runs.' },
    rest: { kind: 'text', positional: true, list: true, rest: true, value: 'ARGUMENT', sentence: 'What it gets.' },
    slots: { kind: 'integer', sentence: 'How many.' },
  } as const
  for (const [argv, environment, module, rest] of [
    [['a', '--', 'b', '--slots', '1,2', '--', '-x'], {}, 'a', ['b', '--slots', '1,2', '--', '-x']],
    [['--slots=1', '--', '-a', 'b'], {}, '-a', ['b']],
    [['--', 'b'], { GANTRY_MODULE: 'a' }, 'a', ['b']],
    [['c', '--', 'b'], { GANTRY_MODULE: 'a' }, 'c', ['b']],
    [['a', '--'], { GANTRY_REST: 'x' }, 'a', ['x']],
    [['a'], { GANTRY_REST: ' b  c,d ' }, 'a', ['b', 'c,d']],
    [['a', '--', 'e'], { GANTRY_REST: 'b' }, 'a', ['e']],
    [['a'], {}, 'a', []],
  ] as const) {
    const { values } = parseOptions(table, argv, environment)
    assert.deepEqual([values.module, values.rest], [module, rest], argv.join(' '))
  }
  assert.throws(() => parseOptions(table, ['a', 'b']), /unexpected argument "b"; put .* after --, for example: -- b/)
  assert.throws(() => parseOptions(table, ['a', '-x=1']), /unknown option -x; put .* after --, for example: -- -x=1/)
  assert.throws(() => parseOptions(table, ['a', '--slot=1']), /did you mean --slots\?; .* -- --slot=1/)
})

test('peers are one set of all that was given', () => {
  const { peers } = parse(['--peers', '10.0.0.0/8', '--peers', 'unix']).values
  assert.equal(peers.has('10.1.2.3'), true)
  assert.equal(peers.has('127.0.0.1'), false)
})

test('the given options are kept as texts, to be passed to another process', () => {
  const { given } = parse(['app.ts', '--listen=:1', '--listen=:2', '--reload'], { GANTRY_QUEUE_SIZE: '3' })
  assert.deepEqual(Object.fromEntries(given), { module: ['app.ts'], listen: [':1', ':2'], reload: ['true'] })
})

const refusals: [title: string, argv: string[], code: OptionErrorCode, message: RegExp][] = [
  [
    'an unknown option names its nearest',
    ['--lisen', ':1'],
    'UNKNOWN_OPTION',
    /unknown option --lisen; did you mean --listen\?/,
  ],
  ['two swapped letters are one mistake', ['--quuee-size=1'], 'UNKNOWN_OPTION', /did you mean --queue-size\?/],
  ['a negated flag is a name too', ['--no-compres'], 'UNKNOWN_OPTION', /did you mean --no-compress\?/],
  ['what resembles nothing has no hint', ['--zzzzzzzz'], 'UNKNOWN_OPTION', /^unknown option --zzzzzzzz$/],
  ['only a flag can be negated', ['--no-listen'], 'UNKNOWN_OPTION', /--no-listen/],
  ['short options are not known', ['-l'], 'UNKNOWN_OPTION', /-l/],
  [
    'a value is missing at the end',
    ['--listen'],
    'MISSING_VALUE',
    /--listen needs a value: expected unix:\/path, HOST:PORT/,
  ],
  ['a value is missing before the next option', ['--listen', '--reload'], 'MISSING_VALUE', /--listen needs a value/],
  ['one argument too many', ['a.ts', 'b.ts'], 'UNEXPECTED_ARGUMENT', /"b.ts"/],
  ['an integer with a sign', ['--queue-size=-1'], 'BAD_VALUE', /expected a whole number from 1 to 100, got "-1"/],
  ['an integer below its minimum', ['--queue-size=0'], 'BAD_VALUE', /from 1 to 100/],
  ['an integer above its maximum', ['--queue-size=101'], 'BAD_VALUE', /from 1 to 100/],
  ['an integer in another notation', ['--queue-size=0x10'], 'BAD_VALUE', /whole number/],
  ['auto where it stands for nothing', ['--queue-size=auto'], 'BAD_VALUE', /from 1 to 100, got "auto"$/],
  ['a word that is not auto', ['--workers=all'], 'BAD_VALUE', /expected a whole number from 1, or auto, got "all"$/],
  ['a duration without a unit', ['--timeout=10'], 'BAD_VALUE', /expected a duration such as 250ms, 10s.*, got "10"/],
  [
    'a duration that is too short',
    ['--interval=9ms'],
    'BAD_VALUE',
    /expected a duration .* of at least 10ms.*, got "9ms"/,
  ],
  ['none where a duration must be one', ['--grace=none'], 'BAD_VALUE', /expected a duration/],
  ['a size of thousands', ['--body-limit=64KB'], 'BAD_VALUE', /expected a size such as 1024, 64KiB.*, got "64KB"/],
  ['a size below its minimum', ['--body-limit=15'], 'BAD_VALUE', /at least 16 bytes/],
  ['a mode that is not octal', ['--socket-mode=689'], 'BAD_VALUE', /octal/],
  ['a choice names its nearest', ['--access-log=jsn'], 'BAD_VALUE', /one of json, off, got "jsn"; did you mean json\?/],
  ['one of a list of choices', ['--wires=http,uwsgi'], 'BAD_VALUE', /expected any of frames, http.*, got "uwsgi"/],
  ['an empty place in a list', ['--wires=http,'], 'BAD_VALUE', /, got ""$/],
  ['an address without a port', ['--listen=host'], 'BAD_VALUE', /the port is missing/],
  [
    'an address of a kind that cannot be used',
    ['--listen=http://host/'],
    'BAD_VALUE',
    /got "http:\/\/host\/", which has the form http:\/\/HOST/,
  ],
  ['a range that is none', ['--peers=10.0.0.0/33'], 'BAD_VALUE', /"10\.0\.0\.0\/33" is not a range of peers/],
  ['an empty text', ['--'].concat(''), 'BAD_VALUE', /^MODULE.*: expected .*, got ""$/],
  ['a flag with another value', ['--reload=maybe'], 'BAD_VALUE', /true or false/],
]

for (const [title, argv, code, message] of refusals) {
  test(`refused: ${title}`, () => {
    const error = refusal(argv)
    assert.equal(error.code, code)
    assert.match(error.message, message)
  })
}

test('auto means the number that the table defines', () => {
  assert.equal(parse(['--workers=auto']).values.workers, 4)
  assert.equal(parse(['--workers=2']).values.workers, 2)
  assert.equal(parse([]).values.workers, undefined)
})

test('a bad value from the environment is refused under its name there', () => {
  const error = refusal([], { GANTRY_QUEUE_SIZE: 'many' })
  assert.equal(error.option, 'GANTRY_QUEUE_SIZE')
  assert.match(error.message, /^GANTRY_QUEUE_SIZE: expected .*, got "many"/)
})

test('a secret is read from the environment only', () => {
  assert.equal(parse([], { GANTRY_TOKEN: 'hush' }).values.token, 'hush')
  const error = refusal(['--token=hush'])
  assert.match(error.message, /set GANTRY_TOKEN/)
  assert.doesNotMatch(error.message, /hush/)
})

test('a secret of the wrong form is not repeated', () => {
  const secret = { pin: { kind: 'integer', secret: true, sentence: 'Secret.' } } as const
  assert.throws(
    () => parseOptions(secret, [], { GANTRY_PIN: 'hush' }),
    (error: Error) => /GANTRY_PIN: expected a whole number/.test(error.message) && !error.message.includes('hush'),
  )
})

test('a required option that is missing is named, with its environment name', () => {
  const required = {
    module: { kind: 'text', positional: true, required: true, value: 'MODULE', sentence: 'It.' },
  } as const
  assert.throws(() => parseOptions(required, []), {
    code: 'MISSING_OPTION',
    message: /^MODULE is required \(or GANTRY_MODULE/,
  })
  assert.equal(parseOptions(required, [], { GANTRY_MODULE: 'a.ts' }).values.module, 'a.ts')
})

test('an environment variable that is nearly an option is worth a warning, others are not ours', () => {
  const environment = { GANTRY_ACCES_LOG: 'off', GANTRY_HOME: '/', ACCESS_LOG: 'off', GANTRY_JOIN: ':1' }
  const { warnings } = parseOptions(table, [], environment, ['GANTRY_JOIN'])
  assert.equal(warnings.length, 1)
  assert.match(warnings[0]!, /GANTRY_ACCES_LOG is not an option and is ignored; did you mean GANTRY_ACCESS_LOG\?/)
})

test('an option of another command is not reported as misspelt', () => {
  const near = { queueSizes: table.queueSize }
  assert.equal(parseOptions(near, [], { GANTRY_QUEUE_SIZE: '1' }).warnings.length, 1)
  assert.equal(parseOptions(near, [], { GANTRY_QUEUE_SIZE: '1' }, ['GANTRY_QUEUE_SIZE']).warnings.length, 0)
})

test('a table with a key like a property of every object is only a table', () => {
  const odd = { constructor: { kind: 'integer', default: 1, sentence: 'Odd.' } } as const
  assert.equal(parseOptions(odd, ['--constructor=2']).values.constructor, 2)
  assert.equal(refusal(['--constructor']).code, 'UNKNOWN_OPTION')
  assert.equal(refusal(['--__proto__=1']).code, 'UNKNOWN_OPTION')
})

test('names on the command line and in the environment derive from the key', () => {
  assert.equal(flagName('keepAliveTimeout'), '--keep-alive-timeout')
  assert.equal(environmentName('keepAliveTimeout'), 'GANTRY_KEEP_ALIVE_TIMEOUT')
})

test('durations have a unit, and are milliseconds', () => {
  const good = { '250ms': 250, '10s': 10_000, '1.5s': 1_500, '5m': 300_000, '1h': 3_600_000, '0': 0, '0s': 0 }
  for (const [text, milliseconds] of Object.entries(good)) assert.equal(parseDuration(text), milliseconds, text)
  for (const text of ['', '10', '10 s', 's', '-1s', '1d', '1e3s', '10S', '.5s', '1s5', '600h', 'none']) {
    assert.equal(parseDuration(text), undefined, text)
  }
})

test('the longest duration is what a timer can hold', () => {
  assert.equal(parseDuration('2147483647ms'), 2147483647)
  assert.equal(parseDuration('2147483648ms'), undefined)
})

test('sizes are bytes, in powers of 1024', () => {
  const good = {
    '1024': 1024,
    '0': 0,
    '7B': 7,
    '64KiB': 65_536,
    '1MiB': 1_048_576,
    '1.5KiB': 1536,
    '2GiB': 2 ** 31,
    '1TiB': 2 ** 40,
  }
  for (const [text, bytes] of Object.entries(good)) assert.equal(parseSize(text), bytes, text)
  for (const text of ['', '1k', '1KB', '1kib', '1 KiB', '-1', '0.3B', '1e3', '99999999TiB', 'none']) {
    assert.equal(parseSize(text), undefined, text)
  }
})

test('the nearest name is the one with the fewest edits, if they are few', () => {
  assert.equal(nearest('--tiemout', ['--timeout', '--idle-timeout']), '--timeout')
  assert.equal(nearest('--up', ['--listen', '--timeout']), undefined)
})
