import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { commands } from '../../cli/commands.ts'
import {
  childEnvironment,
  containerArguments,
  devContainerArguments,
  devProxyArguments,
  proxyArguments,
  upOptions,
} from '../../cli/up-options.ts'
import { checkContainerOptions, containerAddresses, containerOptions } from '../../container/options.ts'
import { SLOT_RULES } from '../../pool/fair-slots.ts'
import { DATA_MAX, HEAD_MAX, WINDOW } from '../../protocol/frames/codec/constants.ts'
import { USUAL_TIMES } from '../../protocol/frames/codec/liveness.ts'
import { tokensOf } from '../../protocol/frames/codec/tokens.ts'
import { connect } from '../../protocol/frames/connect.ts'
import { defaultLimits } from '../../protocol/http1/codec/limits.ts'
import { defaultTimeouts } from '../../protocol/http1/options.ts'
import { silent } from '../../protocol/log/logger.ts'
import { CONNECT_TIMEOUT } from '../../protocol/net/dial.ts'
import {
  checkCommonOptions,
  commonOptions,
  frameSettings,
  http1Settings,
  livenessSettings,
} from '../../protocol/options/common-options.ts'
import { nearest } from '../../protocol/options/nearest.ts'
import { environmentName, flagName, type Option } from '../../protocol/options/option-table.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { renderHelp } from '../../protocol/options/options-help.ts'
import { readToken } from '../../protocol/options/token-file.ts'
import { checkProxyOptions, proxyOptions } from '../../proxy/options.ts'
import { pool } from '../../proxy/pooled.ts'
import { withDirectory } from '../support/directory.ts'

/** The name of an option in help: a flag that is on by default is shown with `--[no-]`. */
function shownAs(key: string, option: Option): string {
  if (option.positional) return option.value!
  if (option.secret) return environmentName(key)
  return option.kind === 'flag' && option.default ? flagName(key).replace('--', '--[no-]') : flagName(key)
}

for (const [name, command] of Object.entries(commands)) {
  test(`every option of ${name} has a sentence and appears in its help`, () => {
    const help = renderHelp(command)
    for (const [key, option] of Object.entries<Option>(command.table)) {
      assert.match(option.sentence, /^[A-Z].*\.$/, key)
      if (option.hidden) {
        // Used only between Gantry's own processes.
        assert.ok(!help.includes(flagName(key)) && !help.includes(environmentName(key)), key)
        continue
      }
      assert.ok(help.replace(/\s+/g, ' ').includes(option.sentence), key)
      assert.ok(help.includes(shownAs(key, option)), key)
      assert.ok(help.includes(environmentName(key)), key)
    }
  })

  test(`every default of ${name} is a value that it accepts`, () => {
    parseOptions(command.table, [], { GANTRY_MODULE: 'app.ts', GANTRY_HEALTH_LISTEN: '127.0.0.1:1' })
  })
}

test('options of the same name mean the same kind of value everywhere', () => {
  const kinds = new Map<string, string>()
  for (const { table } of Object.values(commands)) {
    for (const [key, option] of Object.entries<Option>(table)) {
      assert.equal(kinds.get(key) ?? option.kind, option.kind, key)
      kinds.set(key, option.kind)
    }
  }
})

test('the limits and timeouts of the options are the defaults of the HTTP gateway and of the frames', () => {
  const { values } = parseOptions(commonOptions, [])
  const { limits, timeouts, halfClose } = http1Settings(values)
  assert.deepEqual({ ...defaultLimits, ...limits }, defaultLimits)
  assert.deepEqual({ ...defaultTimeouts, ...timeouts }, defaultTimeouts)
  assert.equal(halfClose, 'abort')
  assert.deepEqual(frameSettings(values), { window: WINDOW, data: DATA_MAX, head: HEAD_MAX })
})

test('options set the timeouts for clients that accept no bytes; --write-timeout is the former name of one', () => {
  const timeoutsOf = (...argv: string[]) => http1Settings(parseOptions(commonOptions, argv).values).timeouts
  const { write, upgradeIdle } = timeoutsOf('--send-timeout=5s', '--upgrade-idle-timeout=1h') ?? {}
  assert.deepEqual([write, upgradeIdle], [5_000, 3_600_000])
  assert.equal(timeoutsOf('--write-timeout=7s')?.write, 7_000)
  assert.equal(timeoutsOf('--send-timeout=none')?.write, Number.POSITIVE_INFINITY)
})

test('the defaults of the options equal the defaults for watching and dialling links', () => {
  const { values } = parseOptions(commonOptions, [])
  assert.deepEqual(livenessSettings(values), { liveness: USUAL_TIMES, connectTimeout: CONNECT_TIMEOUT })
})

test('the rules for slots that a pool has by default are the defaults of the options', () => {
  const { bodyBuffer, bodyBufferTotal, slowClientRate, slowClientPatience } = parseOptions(commonOptions, []).values
  assert.deepEqual({ bodyBuffer, bodyBufferTotal, slowClientRate, slowClientPatience }, SLOT_RULES)
})

test('a longer head limit lets longer heads cross a link, however they grow on it', () => {
  const { values } = parseOptions(commonOptions, ['--head-limit=1MiB', '--frame-limit=32KiB', '--window=1MiB'])
  assert.deepEqual(frameSettings(values), { window: 1_048_576, data: 32_768, head: 4_194_304 })
})

test('a container that joins a proxy listens only if --listen is given', () => {
  const addresses = (argv: string[]) =>
    containerAddresses(parseOptions(containerOptions, ['app.ts', ...argv]).values, '../one two')
  assert.deepEqual(addresses([]), [{ kind: 'tcp', host: '127.0.0.1', port: 8000 }])
  assert.deepEqual(addresses(['--join', 'proxy:9000']), [])
  assert.deepEqual(addresses(['--join', 'proxy:9000', '--listen', ':1']), [{ kind: 'tcp', host: '', port: 1 }])
})

test('in a directory a container makes a socket of its own, whatever it is called', () => {
  const { values } = parseOptions(containerOptions, ['app.ts', '--listen', 'unix:/run/gantry/'])
  const path = (id: string) => containerAddresses(values, id)
  assert.deepEqual(path('web-1.a'), [{ kind: 'unix', path: '/run/gantry/web-1.a.sock' }])
  assert.deepEqual(path('../one two'), [{ kind: 'unix', path: '/run/gantry/_._one_two.sock' }])
})

test('values that contradict each other are refused', () => {
  const proxy = (argv: string[], environment = {}) =>
    checkProxyOptions(parseOptions(proxyOptions, argv, environment).values)
  const container = (argv: string[]) => checkContainerOptions(parseOptions(containerOptions, ['a.ts', ...argv]).values)
  assert.throws(() => proxy([]), { code: 'MISSING_OPTION', message: /--upstream ADDRESS, or --join-listen/ })
  assert.throws(() => proxy(['--upstream=:0']), { code: 'BAD_VALUE', message: /port 0/ })
  assert.throws(() => container(['--join=:0']), { code: 'BAD_VALUE', message: /port 0/ })
  assert.throws(() => container(['--head-limit=1GiB']), { code: 'BAD_VALUE', message: /from 1024 to 16777216 bytes/ })
  assert.throws(() => proxy(['--upstream=:1', '--token-file=x'], { GANTRY_TOKEN: 'hush' }), {
    code: 'BAD_VALUE',
    message: /both/,
  })
  for (const unix of ['--listen=unix:/a', '--join-listen=unix:/a', '--health-listen=unix:/a']) {
    proxy([unix, '--upstream=:1'])
    assert.throws(() => proxy([unix, '--upstream=:1', '--workers=2']), {
      code: 'BAD_VALUE',
      message: `${unix.split('=')[0]} unix:/a cannot be shared by several workers: give HOST:PORT, or --workers 1`,
    })
  }
  proxy(['--upstream=unix:/a', '--workers=2'])
  proxy(['--join-listen=:1'])
  container(['--head-limit=1MiB'])
  checkCommonOptions(parseOptions(commonOptions, []).values)
})

test('the token comes from the environment or from its file without the white space around it', () =>
  withDirectory((directory) => {
    writeFileSync(`${directory}/token`, ' hush hush\n')
    writeFileSync(`${directory}/empty`, '\n')
    const token = (tokenFile: string | undefined, given?: string) =>
      tokensOf(readToken({ tokenFile, token: given }, silent))
    assert.equal(token(undefined), undefined)
    assert.deepEqual(token(undefined, 'a'), ['a'])
    assert.deepEqual(token(`${directory}/token`), ['hush hush'])
    assert.throws(() => token(`${directory}/empty`), { code: 'BAD_FILE', message: /is empty/ })
    assert.throws(() => token(`${directory}/none`), { code: 'BAD_FILE', message: /none does not exist; make a token/ })
  }))

test('a misspelt name of each command finds its right one', () => {
  for (const name of Object.keys(commands)) assert.equal(nearest(`${name}x`, Object.keys(commands)), name)
})

test('the pair’s processes get their own share of the command line, and addresses of their own', () => {
  const argv = ['app.ts', '--listen=:1', '--listen', ':2', '--slots=5', '--timeout=1s', '--head-limit', '8KiB']
  const { given, values } = parseOptions(upOptions, argv)
  const container = containerArguments(given, values.module, '/run/s')
  const proxy = proxyArguments(given, { kind: 'unix', path: '/run/s' })
  assert.deepEqual(container, [
    'container',
    '--listen=unix:/run/s',
    '--pass-to-child',
    '--slots=5',
    '--head-limit=8KiB',
    '--',
    'app.ts',
  ])
  assert.deepEqual(proxy, [
    'proxy',
    '--upstream=unix:/run/s',
    '--listen=:1',
    '--listen=:2',
    '--timeout=1s',
    '--head-limit=8KiB',
  ])
  parseOptions(containerOptions, container.slice(1))
  parseOptions(proxyOptions, proxy.slice(1))
})

test('the application’s arguments reach only the container of a pair, unchanged', () => {
  const { given, values } = parseOptions(upOptions, [
    'app.ts',
    '--app-port=3000',
    '--',
    'start',
    '--slots=1',
    '--',
    'a,b',
  ])
  const own = ['start', '--slots=1', '--', 'a,b']
  const container = containerArguments(given, values.module, '/run/s')
  assert.deepEqual(container, [
    'container',
    '--listen=unix:/run/s',
    '--pass-to-child',
    '--app-port=3000',
    '--',
    'app.ts',
    ...own,
  ])
  assert.deepEqual(parseOptions(containerOptions, container.slice(1)).values.arguments, own)
  const dev = devContainerArguments(given, values.module, '/run/s')
  assert.deepEqual(parseOptions(containerOptions, dev).values.arguments, own)
  assert.deepEqual(proxyArguments(given, { kind: 'unix', path: '/run/s' }), ['proxy', '--upstream=unix:/run/s'])
})

test('addresses meant for containers and proxies elsewhere do not reach the pair', () => {
  const environment = {
    PATH: '/bin',
    GANTRY_TOKEN: 'a',
    GANTRY_JOIN: ':1',
    GANTRY_UPSTREAM: ':2',
    GANTRY_ACCEPT: 'http',
  }
  assert.deepEqual(childEnvironment(environment), { PATH: '/bin', GANTRY_TOKEN: 'a' })
})

test('the options of up, and the variables that it keeps from its processes, are those marked in the tables', () => {
  const marked = (...marks: Option['up'][]): string[] =>
    [containerOptions, proxyOptions].flatMap((table) =>
      Object.entries<Option>(table).flatMap(([key, { up }]) => (up !== undefined && marks.includes(up) ? [key] : [])),
    )
  const ofUp = new Set([...marked('given', 'proxy alone'), ...Object.keys(commonOptions), 'dev'])
  assert.deepEqual(new Set(Object.keys(upOptions)), ofUp)
  const all = Object.fromEntries(
    [containerOptions, proxyOptions].flatMap((table) => Object.keys(table).map((key) => [environmentName(key), 'x'])),
  )
  const kept = (role: 'container' | 'proxy'): string[] =>
    Object.keys(all).filter((name) => !(name in childEnvironment(all, role)))
  const elsewhere = ['MODULE', 'JOIN', 'ACCEPT', 'SOCKET_MODE', 'HEALTH_LISTEN', 'UPSTREAM', 'JOIN_LISTEN', 'WORKERS']
  const names = (...keys: string[]): Set<string> => new Set(keys.map((key) => `GANTRY_${key}`))
  assert.deepEqual(new Set(kept('proxy')), names(...elsewhere))
  assert.deepEqual(new Set(kept('container')), names(...elsewhere, 'MIDDLEWARE', 'DRAIN_DELAY'))
  assert.deepEqual(new Set(['module', ...marked('withheld')].map(environmentName)), names(...elsewhere))
})

test('with --dev middleware is an option of the container, and the drain delay of the proxy', () => {
  const { given, values } = parseOptions(upOptions, ['app.ts', '--middleware=m.ts', '--drain-delay=1s', '--slots=5'])
  assert.deepEqual(devProxyArguments(given), ['--drain-delay=1s'])
  assert.deepEqual(devContainerArguments(given, values.module, '/run/s'), [
    '--listen=unix:/run/s',
    '--middleware=m.ts',
    '--slots=5',
    '--',
    'app.ts',
  ])
  assert.deepEqual(proxyArguments(given, { kind: 'unix', path: '/run/s' }).slice(2), [
    '--middleware=m.ts',
    '--drain-delay=1s',
  ])
  const container = containerArguments(given, values.module, '/run/s')
  assert.ok(!container.some((argument) => /middleware|drain-delay/.test(argument)), container.join(' '))
})

test('an abstract socket is refused with the reason wherever an address can be given', () => {
  let refused = 0
  for (const { table } of Object.values(commands)) {
    for (const [key, option] of Object.entries<Option>(table)) {
      if (option.kind !== 'address') continue
      // The other required options.
      const needed = Object.hasOwn(table, 'module') ? ['app.ts'] : []
      const argv = option.positional ? ['unix:@gantry'] : [`${flagName(key)}=unix:@gantry`]
      for (const parse of [
        () => parseOptions(table, [...needed, ...argv]),
        () => parseOptions(table, needed, { [environmentName(key)]: 'unix:@gantry' }),
      ]) {
        assert.throws(parse, {
          code: 'BAD_VALUE',
          message: /got "unix:@gantry" .*abstract sockets are not supported/,
        })
      }
      refused++
    }
  }
  assert.ok(refused >= 7, String(refused))
  assert.throws(() => connect('unix:@gantry'), /abstract sockets are not supported/)
  assert.throws(() => pool(['unix:@gantry']), /abstract sockets are not supported/)
})

test('an address that two listeners of one process would share is refused with both options', () => {
  const container = (...argv: string[]): void => {
    checkContainerOptions(parseOptions(containerOptions, ['app.ts', ...argv]).values)
  }
  const proxy = (...argv: string[]): void => {
    checkProxyOptions(parseOptions(proxyOptions, ['--upstream', 'unix:/a', ...argv]).values)
  }
  const says = (message: string): object => ({ code: 'BAD_VALUE', message })
  const each = 'each listener needs its own port or path'
  assert.throws(
    () => container('--listen', '127.0.0.1:80', '--health-listen', '127.0.0.1:80'),
    says(`--health-listen 127.0.0.1:80 is an address of --listen too: ${each}`),
  )
  assert.throws(() => container('--listen', 'unix:/b,unix:/b'), says(`--listen unix:/b is given twice: ${each}`))
  assert.throws(
    () => proxy('--listen', ':80', '--join-listen', ':80'),
    says(`--join-listen :80 is an address of --listen too: ${each}`),
  )
  container('--listen', '127.0.0.1:0,127.0.0.1:0', '--health-listen', '127.0.0.1:0')
  proxy('--listen', ':80', '--join-listen', ':81', '--health-listen', 'unix:/c')
})
