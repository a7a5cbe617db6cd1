/**
 * The options of `gantry up`, and the command lines and environments of the two processes that it starts. Which of
 * their options `up` has is marked in their tables (`up`); the options that both processes share are options of `up`
 * too.
 */

import { containerOptions } from '../container/options.ts'
import type { DevCommand } from '../dev/serve.ts'
import { type Address, printAddress } from '../protocol/net/address.ts'
import { commonOptions } from '../protocol/options/common-options.ts'
import { environmentName, type Option, type OptionTable } from '../protocol/options/option-table.ts'
import { argumentsOf } from '../protocol/options/options.ts'
import { proxyOptions } from '../proxy/options.ts'

/** The options of one process that `up` has, without those that both processes share. */
type Taken<T> = {
  readonly [K in Exclude<keyof T, keyof typeof commonOptions> as T[K] extends { up: 'given' | 'proxy alone' }
    ? K
    : never]: T[K]
}

function takenFrom<T extends OptionTable>(table: T): Taken<T> {
  const taken = Object.entries<Option>(table).filter(
    ([key, { up }]) => (up === 'given' || up === 'proxy alone') && !Object.hasOwn(commonOptions, key),
  )
  return Object.fromEntries(taken) as Taken<T>
}

const ownOptions = {
  dev: {
    kind: 'flag',
    default: false,
    sentence:
      'Development mode: reload when a file that the application imports changes, show errors with their source code in the browser and the terminal, check both sides of the contract, and write a log for people. Everyone who can connect to --listen sees source code and environ.',
  },
} as const

const ofContainer: Taken<typeof containerOptions> = takenFrom(containerOptions)
const ofProxy: Taken<typeof proxyOptions> = takenFrom(proxyOptions)

export const upOptions: typeof ofContainer & typeof ownOptions & typeof ofProxy & typeof commonOptions = {
  ...ofContainer,
  ...ownOptions,
  ...ofProxy,
  ...commonOptions,
}

type Given = ReadonlyMap<string, readonly string[]>
type Role = 'container' | 'proxy'

/** The arguments of `up` that a process gets: those of its own options, and of the options that both share. */
function argumentsFor(role: Role, own: OptionTable, given: Given): string[] {
  const taken: OptionTable = { ...own, ...commonOptions }
  return argumentsOf(
    [...given].filter(([key]) => {
      const option = Object.hasOwn(taken, key) ? taken[key] : undefined
      return option !== undefined && !option.positional && (role === 'proxy' || option.up !== 'proxy alone')
    }),
  )
}

/**
 * The end of a container's command line: after `--` the module, which was not given before, and then the application's
 * arguments.
 */
function moduleAndArguments(module: string, given: Given): string[] {
  return ['--', module, ...(given.get('arguments') ?? [])]
}

/** The container's command line, listening on `socket`. */
export function containerArguments(given: Given, module: string, socket: string): string[] {
  const own = [`--listen=unix:${socket}`, '--pass-to-child']
  return ['container', ...own, ...argumentsFor('container', ofContainer, given), ...moduleAndArguments(module, given)]
}

/**
 * The proxy's command line, sending to `upstream`. `--listen` comes from the command line or the environment of `up`.
 */
export function proxyArguments(given: Given, upstream: Address): string[] {
  return ['proxy', `--upstream=${printAddress(upstream)}`, ...argumentsFor('proxy', ofProxy, given)]
}

/** The environment variables of those options of either process for which `isWanted` holds. */
function variablesOf(isWanted: (option: Option) => boolean): ReadonlySet<string> {
  return new Set(
    [containerOptions, proxyOptions].flatMap((table) =>
      Object.entries<Option>(table).flatMap(([key, option]) => (isWanted(option) ? [environmentName(key)] : [])),
    ),
  )
}

/**
 * Kept from both processes: what is meant for processes elsewhere, and the module. The module is passed as an argument,
 * which the container would take for the application's own if the environment set the module as well.
 */
const WITHHELD: ReadonlySet<string> = variablesOf(
  ({ up, positional, rest }) => up === 'withheld' || (positional === true && rest !== true),
)
/**
 * Kept from the container as well. Middleware would run twice, in both processes: the container's command line does not
 * name it, so nothing would override the variable.
 */
const PROXY_ALONE: ReadonlySet<string> = variablesOf(({ up }) => up === 'proxy alone')

/**
 * The environment of a process of the pair, whose addresses are on its command line. GANTRY_LISTEN is the proxy's: the
 * container has `--listen` on its command line, which overrides the variable.
 */
export function childEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  role: Role = 'proxy',
): Record<string, string | undefined> {
  const isKept = (name: string): boolean => WITHHELD.has(name) || (role === 'container' && PROXY_ALONE.has(name))
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !isKept(name)))
}

/**
 * With `--dev` the proxy runs in the process of `up`. `--middleware` wraps the application in the container instead, so
 * that errors of middleware are shown and its files are reloaded.
 */
export function devProxyArguments(given: Given): string[] {
  const { middleware, ...own } = ofProxy
  return argumentsFor('proxy', own, given)
}

/** The rest of a container's command line with `--dev`, listening on `socket`. */
export function devContainerArguments(given: Given, module: string, socket: string): string[] {
  const own = { ...ofContainer, middleware: containerOptions.middleware }
  return [`--listen=unix:${socket}`, ...argumentsFor('container', own, given), ...moduleAndArguments(module, given)]
}

/** How `dev/` gets the command lines of its two processes. */
export const devCommandLine: Pick<DevCommand, 'proxyArguments' | 'containerArguments' | 'environment'> = {
  proxyArguments: devProxyArguments,
  containerArguments: devContainerArguments,
  environment: childEnvironment,
}
