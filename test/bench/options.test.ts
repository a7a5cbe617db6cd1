import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseIntegers, parseOptions, select, UsageError } from '../../bench/options.ts'

test('without options everything runs, as long as each experiment says', () => {
  assert.deepEqual(parseOptions([]), {
    help: false,
    list: false,
    quick: false,
    record: false,
    redraw: false,
    only: [],
    compare: undefined,
    rounds: undefined,
    seconds: undefined,
    rate: undefined,
  })
})

test('options are parsed, and names of --only may have spaces around them', () => {
  const options = parseOptions(['--quick', '--only', 'pair, cold,', '--rounds=3', '--seconds', '2', '--rate', '5000'])
  assert.deepEqual(options.only, ['pair', 'cold'])
  assert.deepEqual([options.quick, options.rounds, options.seconds, options.rate], [true, 3, 2, 5000])
  assert.equal(parseOptions(['--compare', 'v1']).compare, 'v1')
})

const refused: readonly (readonly [readonly string[], RegExp])[] = [
  [['--nope'], /Unknown option '--nope'/],
  [['hello'], /Unexpected argument 'hello'/],
  [['--rounds', '0'], /--rounds: expected an integer from 1 to 1000, got "0"/],
  [['--rounds', '1e2'], /--rounds: expected an integer from 1 to 1000, got "1e2"/],
  [['--rounds', '99999999999999999999'], /--rounds: expected an integer/],
  [['--seconds', '1.5'], /--seconds: expected an integer from 1 to 600, got "1.5"/],
  [['--seconds='], /--seconds: expected an integer from 1 to 600, got ""/],
  [['--rate', 'fast'], /--rate: expected an integer from 100 to 200000, got "fast"/],
  [['--only', ' , '], /--only: expected names separated by commas, got none/],
  [['--compare', ''], /--compare: expected a revision of git, got an empty string/],
  [['--compare', 'v1', '--record'], /a comparison is no record/],
  [['--quick', '--record'], /only a full run is recorded/],
  [['--only', 'pair', '--record'], /only a full run is recorded/],
]
for (const [args, message] of refused) {
  test(`${JSON.stringify(args)} is refused with what was expected`, () => {
    assert.throws(
      () => parseOptions(args),
      (error) => error instanceof UsageError && message.test(error.message),
    )
  })
}

test('a part’s options are integers with a default, and are refused like those of the bench', () => {
  const table = { rounds: { default: 5, most: 10 }, seconds: { default: 2, most: 10 } }
  assert.deepEqual(parseIntegers(['--seconds', '3'], table), { rounds: 5, seconds: 3 })
  for (const [args, message] of [
    [['--rounds', '11'], /--rounds: expected an integer from 1 to 10, got "11"/],
    [['--minutes', '1'], /Unknown option '--minutes'/],
  ] as const) {
    assert.throws(
      () => parseIntegers(args, table),
      (error) => error instanceof UsageError && message.test(error.message),
    )
  }
})

const experiments = ['hello', 'hello-logs', 'cold']
const setups = ['pair', 'pair-http', 'nginx-node', 'nginx-uwsgi']
const chosen = (...words: readonly string[]) => {
  const selection = select(words, experiments, setups)
  return [[...(selection.experiments ?? [])], [...(selection.setups ?? [])]]
}

test('a whole name selects itself alone, and the beginning of a name all that begin with it', () => {
  assert.deepEqual(chosen('pair'), [[], ['pair']])
  assert.deepEqual(chosen('nginx'), [[], ['nginx-node', 'nginx-uwsgi']])
  assert.deepEqual(chosen('hello'), [['hello'], []])
  assert.deepEqual(chosen('hell', 'pair-h'), [['hello', 'hello-logs'], ['pair-http']])
})

test('a kind without a named entry is not narrowed', () => {
  assert.equal(select([], experiments, setups).experiments, undefined)
  assert.equal(select(['cold'], experiments, setups).setups, undefined)
  assert.equal(select(['pair'], experiments, setups).experiments, undefined)
})

test('an unknown name is refused with all names', () => {
  assert.throws(
    () => select(['apache'], experiments, setups),
    /no experiment or setup is called "apache"; experiments: hello, hello-logs, cold; setups: pair, pair-http,/,
  )
})

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function bench(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ended> {
  const file = join(import.meta.dirname, '..', '..', 'bench', 'run.ts')
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}

test('the command line is refused in one line, with exit code 2', async () => {
  for (const [args, message] of [
    [['--rounds', 'many'], /^--rounds: expected an integer from 1 to 1000, got "many"\n$/],
    [
      ['--only', 'deno,express'],
      /^--only: none of these experiments has any of these setups \(--list prints them\)\n$/,
    ],
    [['--compare', 'HEAD', '--only', 'hello,node'], /^--only: .*, or they do not run Gantry \(--list prints them\)\n$/],
    [['--compare', 'no-such-revision'], /^--compare: .*, got "no-such-revision"\n$/],
  ] as const) {
    const { code, stderr } = await bench(args)
    assert.equal(code, 2)
    assert.match(stderr, message)
  }
})

test('--list prints the experiments and the setups', async () => {
  const { code, stdout } = await bench(['--list'])
  assert.equal(code, 0)
  assert.match(stdout, /^ {2}\* fixed-rate /m)
  assert.match(stdout, /^ {4}haproxy-node +HAProxy → node:http$/m)
})
