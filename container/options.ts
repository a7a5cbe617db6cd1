/** The container's options: names, defaults and the reasons for them. Other files act on them. */

import type { TcpAddress, UnixAddress } from '../protocol/net/address.ts'
import { checkCommonOptions, checkListenAddresses, commonOptions } from '../protocol/options/common-options.ts'
import { healthOptions } from '../protocol/options/health-lane-options.ts'
import { OptionError, type OptionValues } from '../protocol/options/option-table.ts'

const ownOptions = {
  module: {
    kind: 'text',
    up: 'given',
    positional: true,
    required: true,
    value: 'MODULE[:EXPORT]',
    sentence: 'The module to load (.js, .mjs, .ts) and the export to serve.',
    unset: 'EXPORT is application if there is one, else the default export',
  },
  arguments: {
    kind: 'text',
    up: 'given',
    positional: true,
    list: true,
    rest: true,
    value: 'ARGUMENT…',
    sentence:
      'Arguments for the application: its process.argv after the file name, as with node. In the environment variable, separate them with spaces.',
    unset: 'none',
  },
  interface: {
    kind: 'choice',
    up: 'given',
    choices: ['wsgi', 'node', 'fetch'],
    value: 'INTERFACE',
    sentence:
      'What EXPORT is: wsgi, a function of (environ, startResponse); node, a listener of (req, res), an Express, Koa, Fastify or NestJS application or an http.Server; fetch, a function of (request) or an object with fetch(), for example a Hono application. With node, the module may also start its server itself: the module runs as the main module, listen() binds no port, and the container serves the server.',
    unset: 'determined from EXPORT; a plain function is wsgi',
  },
  appPort: {
    kind: 'integer',
    up: 'given',
    minimum: 1,
    maximum: 65_535,
    value: 'PORT',
    sentence:
      'The port of the server to serve, as passed to listen(), when the module starts several servers. The other servers listen on their own ports.',
    unset: 'the environment variable PORT, else the first server',
  },
  passToChild: {
    kind: 'flag',
    hidden: true,
    default: false,
    sentence:
      'Report where a child process of the application listens, and do not fail: the process that starts this one sends requests there.',
  },
  fetchClasses: {
    kind: 'choice',
    up: 'given',
    choices: ['light', 'platform'],
    default: 'light',
    sentence:
      'Which Request and Response classes fetch handlers use: light, objects that cost a fraction and turn into Node’s own when a handler needs more than their basic properties; platform, Node’s own classes.',
  },
  middleware: {
    kind: 'text',
    list: true,
    value: 'MODULE[:EXPORT]',
    sentence:
      'Middleware around the application: a module, and the export that takes an application and returns one. The first of several is the outermost. Health checks do not pass through it.',
    unset: 'none; EXPORT is middleware if there is one, else the default export',
  },
  listen: {
    kind: 'address',
    forms: ['unix', 'tcp', 'unix-directory'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Where to listen. One port accepts frames, uwsgi and HTTP and distinguishes them by their first bytes. In a directory (unix:/run/gantry/) each container creates its own socket, ID.sock.',
    unset: '127.0.0.1:8000, or nowhere if --join is given',
  },
  join: {
    kind: 'address',
    up: 'withheld',
    forms: ['tcp', 'unix'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Proxies to connect to and serve, at their --join-listen. A host name is resolved about once a second, and the container joins every address.',
  },
  accept: {
    kind: 'choice',
    up: 'withheld',
    choices: ['frames', 'uwsgi', 'http'],
    list: true,
    value: 'WIRES',
    sentence: 'Wire protocols to accept. Connections with another protocol are closed, and logged once for each peer.',
    unset: 'all on unix: and loopback; elsewhere frames if a token is given, http, and uwsgi from trusted peers',
  },
  trustedPeers: {
    kind: 'peers',
    list: true,
    value: 'RANGES',
    default: 'loopback,unix',
    sentence:
      'Web servers whose uwsgi variables, X-Request-Id and --forwarded-fields are trusted: addresses, CIDR ranges, loopback, private, unix, all, none. The default excludes private: behind a published Docker port every client has a private address.',
  },
  slots: {
    kind: 'integer',
    up: 'given',
    default: 1000,
    minimum: 1,
    maximum: 1_000_000,
    value: 'COUNT',
    sentence:
      'How many requests may run at once; proxies never send more. Default 1000: JavaScript applications mostly wait for I/O, so many requests fit.',
  },
  queueSize: {
    kind: 'integer',
    default: 1000,
    value: 'COUNT',
    sentence:
      'How many requests that arrive directly at the port wait while no slot is free; the next request gets 503 with Retry-After immediately. Default: the same number as run at once by default. With 0, a web server in front can try another container immediately.',
  },
  queueTimeout: {
    kind: 'duration',
    default: '10s',
    sentence:
      'How long such a request waits before it gets 503. Default 10s: twice --slow-client-patience, so requests of slow clients are aborted first. Requests from proxies wait in the proxy.',
  },
  socketMode: {
    kind: 'mode',
    up: 'withheld',
    value: 'MODE',
    sentence: 'Permissions of the Unix sockets that this process listens on.',
    unset: 'set by the umask',
  },
  id: {
    kind: 'text',
    up: 'given',
    value: 'NAME',
    sentence: 'The name of this container in its own logs and in those of its proxies.',
    unset: 'the host’s name and the process id',
  },
} as const

/** The option table of `gantry container`: names, forms, defaults and help. */
export const containerOptions: typeof ownOptions & typeof healthOptions & typeof commonOptions = {
  ...ownOptions,
  ...healthOptions,
  ...commonOptions,
}

/** The values of a container's options, by name: `docs/options.md` describes each. */
export type ContainerOptions = OptionValues<typeof containerOptions>

/**
 * Returns the addresses on which to listen, including the default if no option names one.
 *
 * @param id the container's id, from which its socket in a shared directory gets its name
 * @example
 * ```ts
 * import { containerAddresses, containerOptions } from 'gantry/container'
 * import { parseOptions } from 'gantry/protocol'
 *
 * const { values } = parseOptions(containerOptions, ['app.ts', '--listen', 'unix:/run/gantry/'])
 * console.log(containerAddresses(values, 'web-1')) // [ { kind: 'unix', path: '/run/gantry/web-1.sock' } ]
 * ```
 */
export function containerAddresses(
  options: Pick<ContainerOptions, 'listen' | 'join'>,
  id: string,
): readonly (UnixAddress | TcpAddress)[] {
  if (options.listen.length > 0 || options.join.length > 0) {
    return options.listen.map((address) =>
      address.kind === 'unix-directory' ? { kind: 'unix', path: `${address.path}${socketName(id)}` } : address,
    )
  }
  return [{ kind: 'tcp', host: '127.0.0.1', port: 8000 }]
}

/** A file name without slashes. It does not begin with a dot: a proxy that watches the directory skips such files. */
function socketName(id: string): string {
  return `${id.replace(/[^\w.-]/g, '_').replace(/^\./, '_')}.sock`
}

/**
 * Checks options that must fit each other.
 *
 * @throws OptionError if values contradict each other
 * @example
 * ```ts
 * import { checkContainerOptions, containerOptions } from 'gantry/container'
 * import { parseOptions } from 'gantry/protocol'
 *
 * const { values } = parseOptions(containerOptions, ['app.ts', '--join', 'proxy:9000'])
 * checkContainerOptions(values)
 * ```
 */
export function checkContainerOptions(options: ContainerOptions): void {
  checkCommonOptions(options)
  checkListenAddresses({ listen: options.listen, healthListen: [options.healthListen ?? []].flat() })
  for (const address of options.join) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new OptionError('BAD_VALUE', '--join', "--join: expected the port of a proxy's --join-listen, got port 0")
    }
  }
}
