/** The container's options: words, defaults, reasons. Knows nothing of what is done with them. */

import type { TcpAddress, UnixAddress } from '../protocol/net/address.ts'
import { checkCommonOptions, commonOptions } from '../protocol/options/common-options.ts'
import { healthOptions } from '../protocol/options/health-lane-options.ts'
import { OptionError, type OptionValues } from '../protocol/options/options.ts'

const ownOptions = {
  module: {
    kind: 'text',
    positional: true,
    required: true,
    value: 'MODULE[:EXPORT]',
    sentence: 'The module to load (.js, .mjs, .ts) and the export to serve.',
    unset: 'EXPORT is application if there is one, else the default export',
  },
  arguments: {
    kind: 'text',
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
    choices: ['wsgi', 'node', 'fetch'],
    value: 'INTERFACE',
    sentence:
      'What EXPORT is: wsgi, a function of (environ, startResponse); node, a listener of (req, res), an Express, Koa, Fastify or NestJS application or an http.Server; fetch, a function of (request) or an object with fetch(), as a Hono application is. With node the module may also start its server itself: it runs as the main module, listen() binds no port, and the container serves the server.',
    unset: 'what EXPORT says of itself; a plain function is wsgi',
  },
  appPort: {
    kind: 'integer',
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
      'Report where a child process of the application listens instead of refusing to serve it; given by the process that passes requests on.',
  },
  fetchClasses: {
    kind: 'choice',
    choices: ['light', 'platform'],
    default: 'light',
    sentence:
      'What fetch handlers are given and make: light, Request and Response objects that become the platform’s own as soon as more than their plain parts is asked for, at a fraction of the cost; platform, those of Node as it has them.',
  },
  middleware: {
    kind: 'text',
    list: true,
    value: 'MODULE[:EXPORT]',
    sentence:
      'Middleware to put around the application: a module, and the export that takes an application and gives one. Of several the first is outermost. Health is answered apart from it.',
    unset: 'none; EXPORT is middleware if there is one, else the default export',
  },
  listen: {
    kind: 'address',
    forms: ['unix', 'tcp', 'unix-directory'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Where to listen. One port takes frames, uwsgi and HTTP, told apart by their first bytes. In a directory (unix:/run/gantry/) each container makes a socket of its own, ID.sock.',
    unset: '127.0.0.1:8000, or nowhere when --join is given',
  },
  join: {
    kind: 'address',
    forms: ['tcp', 'unix'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Proxies to dial and serve (their --join-listen). A name is resolved about once a second, and every address is joined.',
  },
  accept: {
    kind: 'choice',
    choices: ['frames', 'uwsgi', 'http'],
    list: true,
    value: 'WIRES',
    sentence: 'Wires that are served; others are closed and logged once for each peer.',
    unset: 'all on unix: and loopback; elsewhere frames if there is a token, http, and uwsgi from trusted peers',
  },
  trustedPeers: {
    kind: 'peers',
    list: true,
    value: 'RANGES',
    default: 'loopback,unix',
    sentence:
      'Web servers whose uwsgi variables, X-Request-Id and --forwarded-fields are trusted: addresses, CIDR ranges, loopback, private, unix, all, none. Not private by default: behind a published port of Docker every client has a private address.',
  },
  slots: {
    kind: 'integer',
    default: 1000,
    minimum: 1,
    maximum: 1_000_000,
    value: 'COUNT',
    sentence:
      'Requests that may run at once; proxies are granted no more. JavaScript applications mostly wait, so that many fit.',
  },
  queueSize: {
    kind: 'integer',
    default: 1000,
    value: 'COUNT',
    sentence:
      'Requests held while no slot is free, of those that come straight to the port; the next one gets 503 with Retry-After at once. As many as run by default. With 0, a web server in front can try another container at once.',
  },
  queueTimeout: {
    kind: 'duration',
    default: '10s',
    sentence:
      'How long such a request is held before 503: twice --slow-client-patience, so that slow clients make room before. Requests from proxies wait in the proxy.',
  },
  socketMode: {
    kind: 'mode',
    value: 'MODE',
    sentence: 'Permissions of the Unix sockets it listens on.',
    unset: 'what the umask leaves',
  },
  id: {
    kind: 'text',
    value: 'NAME',
    sentence: 'The name of this container in logs and at its proxies.',
    unset: 'the host’s name and the process id',
  },
} as const

export const containerOptions: typeof ownOptions & typeof healthOptions & typeof commonOptions = {
  ...ownOptions,
  ...healthOptions,
  ...commonOptions,
}

export type ContainerOptions = OptionValues<typeof containerOptions>

/**
 * Where to listen, by the rule for when nothing was said.
 *
 * @param id this container's: its socket in a directory that it shares with others is called after it
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

/** A name that stays in its directory, and that those who watch it take for a socket's: none that begins with a dot. */
function socketName(id: string): string {
  return `${id.replace(/[^\w.-]/g, '_').replace(/^\./, '_')}.sock`
}

/** What the single options cannot say: @throws OptionError for values that contradict each other. */
export function checkContainerOptions(options: ContainerOptions): void {
  checkCommonOptions(options)
  for (const address of options.join) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new OptionError('BAD_VALUE', '--join', "--join: expected the port of a proxy's --join-listen, got port 0")
    }
  }
}
