/** The options of `gantry up`: those of the proxy and of the container that make sense for a pair on one machine. */

import { containerOptions } from '../container/options.ts'
import type { DevCommand } from '../dev/serve.ts'
import { type Address, printAddress } from '../protocol/net/address.ts'
import { commonOptions } from '../protocol/options/common-options.ts'
import { argumentsOf, type OptionTable, type OptionValues } from '../protocol/options/options.ts'
import { proxyOptions } from '../proxy/options.ts'

type ContainerOwn = Pick<
  typeof containerOptions,
  'module' | 'arguments' | 'interface' | 'appPort' | 'fetchClasses' | 'slots' | 'id'
>
const ownOptions = {
  dev: {
    kind: 'flag',
    default: false,
    sentence:
      'For developing: reload when a file that the application imports has changed, show errors with their source in browser and terminal, check the contract on both sides, and log for a person. Whoever reaches --listen sees source and environ.',
  },
} as const

type ProxyOwn = Pick<
  typeof proxyOptions,
  'listen' | 'middleware' | 'queueSize' | 'queueTimeout' | 'retries' | 'timeout' | 'idleTimeout' | 'trustedPeers'
>

const containerOwn: ContainerOwn = {
  module: containerOptions.module,
  arguments: containerOptions.arguments,
  interface: containerOptions.interface,
  appPort: containerOptions.appPort,
  fetchClasses: containerOptions.fetchClasses,
  slots: containerOptions.slots,
  id: containerOptions.id,
}

const proxyOwn: ProxyOwn = {
  listen: proxyOptions.listen,
  middleware: proxyOptions.middleware,
  queueSize: proxyOptions.queueSize,
  queueTimeout: proxyOptions.queueTimeout,
  retries: proxyOptions.retries,
  timeout: proxyOptions.timeout,
  idleTimeout: proxyOptions.idleTimeout,
  trustedPeers: proxyOptions.trustedPeers,
}

export const upOptions: ContainerOwn & typeof ownOptions & ProxyOwn & typeof commonOptions = {
  ...containerOwn,
  ...ownOptions,
  ...proxyOwn,
  ...commonOptions,
}

export type UpOptions = OptionValues<typeof upOptions>

/** Options of the proxy alone. All of the container's clients are the proxy's, which stops first and gives notice. */
const proxyAlone: readonly string[] = ['drainDelay']

/** What the child that has `own` options is to be given of a command line. */
function share(own: OptionTable, given: ReadonlyMap<string, readonly string[]>): string[] {
  const shares = (key: string): boolean => {
    if (proxyAlone.includes(key)) return own === proxyOwn
    return Object.hasOwn(own, key) || Object.hasOwn(commonOptions, key)
  }
  return argumentsOf([...given].filter(([key]) => key !== 'module' && key !== 'arguments' && shares(key)))
}

/**
 * The end of a container's command line: after `--` the module, which was not given before, and then the application's
 * arguments.
 */
function moduleAndArguments(module: string, given: ReadonlyMap<string, readonly string[]>): string[] {
  return ['--', module, ...(given.get('arguments') ?? [])]
}

/** The container's command line, listening on `socket`. */
export function containerArguments(
  given: ReadonlyMap<string, readonly string[]>,
  module: string,
  socket: string,
): string[] {
  const own = [`--listen=unix:${socket}`, '--pass-to-child']
  return ['container', ...own, ...share(containerOwn, given), ...moduleAndArguments(module, given)]
}

/** The proxy's command line, sending to `upstream`. `--listen` is the proxy's own, or its environment's. */
export function proxyArguments(given: ReadonlyMap<string, readonly string[]>, upstream: Address): string[] {
  return ['proxy', `--upstream=${printAddress(upstream)}`, ...share(proxyOwn, given)]
}

/**
 * The environment of both: the pair's own addresses are on their command lines, and what is meant for a container or a
 * proxy elsewhere must not reach them. GANTRY_LISTEN is the proxy's; the container's command line outweighs it. So is GANTRY_MIDDLEWARE,
 * which no command line outweighs: in both it would run twice.
 */
export function childEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  role: 'container' | 'proxy' = 'proxy',
): Record<string, string | undefined> {
  const foreign = [
    // Passed on the command line instead: if the environment set the module, that argument would be the application's
    // own.
    'GANTRY_MODULE',
    'GANTRY_JOIN',
    'GANTRY_ACCEPT',
    'GANTRY_UPSTREAM',
    'GANTRY_JOIN_LISTEN',
    'GANTRY_SOCKET_MODE',
    'GANTRY_WORKERS',
    'GANTRY_HEALTH_LISTEN',
    ...(role === 'container' ? ['GANTRY_MIDDLEWARE', 'GANTRY_DRAIN_DELAY'] : []),
  ]
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !foreign.includes(name)))
}

/**
 * With `--dev` the proxy is in the process that was started. `--middleware` is around the application then, where its errors are shown
 * and its files reloaded.
 */
export function devProxyArguments(given: ReadonlyMap<string, readonly string[]>): string[] {
  return share(proxyOwn, given).filter((argument) => !argument.startsWith('--middleware='))
}

/** The rest of a container's command line with `--dev`, listening on `socket`. */
export function devContainerArguments(
  given: ReadonlyMap<string, readonly string[]>,
  module: string,
  socket: string,
): string[] {
  const own = { ...containerOwn, middleware: containerOptions.middleware }
  return [`--listen=unix:${socket}`, ...share(own, given), ...moduleAndArguments(module, given)]
}

/** How `dev/` gets the command lines of its two processes. */
export const devCommandLine: Pick<DevCommand, 'proxyArguments' | 'containerArguments' | 'environment'> = {
  proxyArguments: devProxyArguments,
  containerArguments: devContainerArguments,
  environment: childEnvironment,
}
