/** The proxy's options: names, defaults and their reasons. The code that uses an option enforces it. */

import { availableParallelism } from 'node:os'
import { RETRIES } from '../pool/replay.ts'
import { printAddress } from '../protocol/net/address.ts'
import {
  checkCommonOptions,
  checkListenAddresses,
  commonOptions,
  WORKERS_MAX,
} from '../protocol/options/common-options.ts'
import { healthOptions } from '../protocol/options/health-lane-options.ts'
import { flagName, OptionError, type OptionValues } from '../protocol/options/option-table.ts'

const ownOptions = {
  listen: {
    kind: 'address',
    up: 'given',
    forms: ['tcp', 'unix'],
    list: true,
    default: '127.0.0.1:8080',
    value: 'ADDRESS',
    sentence: 'Where clients connect, over HTTP/1.1.',
  },
  upstream: {
    kind: 'address',
    up: 'withheld',
    forms: ['tcp', 'unix', 'unix-directory', 'http'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Containers to connect to. A host name is resolved about once a second to all its addresses; a directory means every socket in it; http:// and https:// mean any HTTP server.',
    unset: 'none; --upstream or --join-listen is required',
  },
  joinListen: {
    kind: 'address',
    up: 'withheld',
    forms: ['tcp', 'unix'],
    list: true,
    value: 'ADDRESS',
    sentence: 'Where containers connect with --join. It is separate from --listen, so clients never reach it.',
  },
  middleware: {
    kind: 'text',
    up: 'proxy alone',
    list: true,
    value: 'MODULE[:EXPORT]',
    sentence:
      'Middleware in front of the containers: a module, and the export that takes an application and returns one. The first of several is the outermost; the access log and the forwarded fields are handled before all of them.',
    unset: 'none; EXPORT is middleware if there is one, else the default export',
  },
  workers: {
    kind: 'integer',
    up: 'withheld',
    default: 1,
    minimum: 1,
    maximum: WORKERS_MAX as number,
    auto: (): number => availableParallelism(),
    value: 'COUNT',
    sentence:
      'How many processes serve clients, all on the same ports; auto: one for each core. A process that crashes is restarted. Each has its own links and queue, and its own middleware with its own memory. Several workers can listen on TCP only.',
  },
  workerOf: {
    kind: 'text',
    hidden: true,
    value: 'ID/INDEX',
    sentence: 'Which of several workers this process is; set by the process that starts the workers.',
  },
  createToken: {
    kind: 'flag',
    default: false,
    sentence:
      'If --token-file does not exist, create it with a random token, readable by this user only. Containers that share the volume need no other secret.',
  },
  socketMode: {
    kind: 'mode',
    up: 'withheld',
    value: 'MODE',
    sentence: 'Permissions of the Unix sockets that this process listens on.',
    unset: 'set by the umask',
  },
  queueSize: {
    kind: 'integer',
    up: 'given',
    default: 1000,
    value: 'COUNT',
    sentence:
      'How many requests wait while no container has a free slot; the next request gets 503 with Retry-After immediately. Default: as many as one container runs.',
  },
  queueTimeout: {
    kind: 'duration',
    up: 'given',
    default: '10s',
    sentence:
      'How long a request waits before it gets 503. Default 10s: long enough for a container to restart, short enough for a person to wait.',
  },
  retries: {
    kind: 'integer',
    up: 'given',
    default: RETRIES as number,
    maximum: 10,
    value: 'COUNT',
    sentence:
      'How often a request that may have run is sent to another container after its container was lost: only GET, HEAD, OPTIONS, TRACE, PUT and DELETE without a response. Default 1, since a request that crashes its container must not crash all containers. Requests that a container refused are not counted.',
  },
  timeout: {
    kind: 'duration',
    up: 'given',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a container may take until the head of its response, else 504. Same default as nginx’s proxy_read_timeout.',
  },
  idleTimeout: {
    kind: 'duration',
    up: 'given',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a container may pause between bytes of a response before the response is aborted. Upgraded connections are exempt.',
  },
  trustedPeers: {
    kind: 'peers',
    up: 'given',
    list: true,
    value: 'RANGES',
    default: 'none',
    sentence:
      'Clients, for example a load balancer, whose --forwarded-fields and X-Request-Id are trusted: addresses, CIDR ranges, loopback, private, unix, all, none. Default none: the proxy assumes that it is the edge, and behind a published Docker port every client has a private address.',
  },
} as const

/** The option table of `gantry proxy`: names, forms, defaults and help. */
export const proxyOptions: typeof ownOptions & typeof healthOptions & typeof commonOptions = {
  ...ownOptions,
  ...healthOptions,
  ...commonOptions,
}

/** The values of a proxy's options, by name: `docs/options.md` describes each. */
export type ProxyOptions = OptionValues<typeof proxyOptions>

/**
 * Checks options that depend on each other.
 *
 * @throws OptionError if values contradict each other, or nothing says where to send requests
 * @example
 * ```ts
 * import { parseOptions } from 'gantry/protocol'
 * import { checkProxyOptions, proxyOptions } from 'gantry/proxy'
 *
 * const { values } = parseOptions(proxyOptions, ['--upstream', 'unix:/run/app.sock'])
 * checkProxyOptions(values)
 * ```
 */
export function checkProxyOptions(options: ProxyOptions): void {
  checkCommonOptions(options)
  checkListenAddresses({
    listen: options.listen,
    joinListen: options.joinListen,
    healthListen: [options.healthListen ?? []].flat(),
  })
  if (options.upstream.length === 0 && options.joinListen.length === 0) {
    throw new OptionError(
      'MISSING_OPTION',
      '--upstream',
      'the proxy has nowhere to send requests: give --upstream ADDRESS, or --join-listen ADDRESS for containers that connect with --join',
    )
  }
  if (options.workers > 1) {
    for (const key of ['listen', 'joinListen', 'healthListen'] as const) {
      const unix = [options[key] ?? []].flat().find(({ kind }) => kind === 'unix')
      if (!unix) continue
      throw new OptionError(
        'BAD_VALUE',
        flagName(key),
        `${flagName(key)} ${printAddress(unix)} cannot be shared by several workers: give HOST:PORT, or --workers 1`,
      )
    }
  }
  if (options.createToken && options.tokenFile === undefined) {
    throw new OptionError(
      'MISSING_OPTION',
      '--token-file',
      '--create-token needs --token-file FILE: where to create the token',
    )
  }
  for (const address of options.upstream) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new OptionError('BAD_VALUE', '--upstream', '--upstream: expected the port of a container, got port 0')
    }
  }
}
