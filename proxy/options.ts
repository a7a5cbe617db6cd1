/** The proxy's options: words, defaults, reasons. Knows nothing of what is done with them. */

import { availableParallelism } from 'node:os'
import { RETRIES } from '../pool/replay.ts'
import { printAddress } from '../protocol/net/address.ts'
import { checkCommonOptions, commonOptions, WORKERS_MAX } from '../protocol/options/common-options.ts'
import { healthOptions } from '../protocol/options/health-lane-options.ts'
import { flagName, OptionError, type OptionValues } from '../protocol/options/options.ts'

const ownOptions = {
  listen: {
    kind: 'address',
    forms: ['tcp', 'unix'],
    list: true,
    default: '127.0.0.1:8080',
    value: 'ADDRESS',
    sentence: 'Where clients connect, over HTTP/1.1.',
  },
  upstream: {
    kind: 'address',
    forms: ['tcp', 'unix', 'unix-directory', 'http'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Containers to dial: a name is resolved about once a second to all its addresses, a directory stands for every socket in it, http:// and https:// for a server of any kind.',
    unset: 'none; --upstream or --join-listen must be given',
  },
  joinListen: {
    kind: 'address',
    forms: ['tcp', 'unix'],
    list: true,
    value: 'ADDRESS',
    sentence:
      'Where containers register by dialling in with --join. Apart from --listen, so that clients never reach it.',
  },
  middleware: {
    kind: 'text',
    list: true,
    value: 'MODULE[:EXPORT]',
    sentence:
      'Middleware to put before the containers: a module, and the export that takes an application and gives one. Of several the first is outermost; the access log and the forwarded fields are outside of all.',
    unset: 'none; EXPORT is middleware if there is one, else the default export',
  },
  workers: {
    kind: 'integer',
    default: 1,
    minimum: 1,
    maximum: WORKERS_MAX as number,
    auto: (): number => availableParallelism(),
    value: 'COUNT',
    sentence:
      'Processes that serve clients, all on the same ports; auto: one for each core. One is started again when it crashes. Each has links, a queue, and what its middleware remembers, of its own. More than one listen on TCP alone.',
  },
  workerOf: {
    kind: 'text',
    hidden: true,
    value: 'ID/INDEX',
    sentence: 'Which of several workers this process is; given by the one that starts them.',
  },
  createToken: {
    kind: 'flag',
    default: false,
    sentence:
      'Make --token-file with a random token, for this user alone, when it is not there: containers that share the volume need no other secret.',
  },
  socketMode: {
    kind: 'mode',
    value: 'MODE',
    sentence: 'Permissions of the Unix sockets it listens on.',
    unset: 'what the umask leaves',
  },
  queueSize: {
    kind: 'integer',
    default: 1000,
    value: 'COUNT',
    sentence:
      'Requests held while no container has room; the next one gets 503 with Retry-After at once. As many as one container runs.',
  },
  queueTimeout: {
    kind: 'duration',
    default: '10s',
    sentence:
      'How long a request is held before 503: long enough for a container to restart, short enough for a person to wait.',
  },
  retries: {
    kind: 'integer',
    default: RETRIES as number,
    maximum: 10,
    value: 'COUNT',
    sentence:
      'How often a request that may have run is sent to another container after its container was lost: only GET, HEAD, OPTIONS, TRACE, PUT and DELETE without a response. Default 1, since a request that crashes its container must not crash all containers. Requests that a container refused are not counted.',
  },
  timeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence: 'How long a container may take to the head of its response, else 504. As nginx’s proxy_read_timeout.',
  },
  idleTimeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a container may pause between bytes of a response, before it is aborted. Upgraded connections are exempt.',
  },
  trustedPeers: {
    kind: 'peers',
    list: true,
    value: 'RANGES',
    default: 'none',
    sentence:
      'Clients (a load balancer, say) whose --forwarded-fields and X-Request-Id are trusted: addresses, CIDR ranges, loopback, private, unix, all, none. Default none: the proxy is taken for the edge, and behind a published port of Docker every client has a private address.',
  },
} as const

export const proxyOptions: typeof ownOptions & typeof healthOptions & typeof commonOptions = {
  ...ownOptions,
  ...healthOptions,
  ...commonOptions,
}

export type ProxyOptions = OptionValues<typeof proxyOptions>

/** What the single options cannot say: @throws OptionError for values that contradict each other. */
export function checkProxyOptions(options: ProxyOptions): void {
  checkCommonOptions(options)
  if (options.upstream.length === 0 && options.joinListen.length === 0) {
    throw new OptionError(
      'MISSING_OPTION',
      '--upstream',
      'the proxy has no upstream; set --upstream ADDRESS, or --join-listen ADDRESS for containers that dial in',
    )
  }
  if (options.workers > 1) {
    for (const key of ['listen', 'joinListen', 'healthListen'] as const) {
      const unix = [options[key] ?? []].flat().find(({ kind }) => kind === 'unix')
      if (!unix) continue
      throw new OptionError(
        'BAD_VALUE',
        flagName(key),
        `${flagName(key)} ${printAddress(unix)} cannot be shared by several workers; use HOST:PORT, or --workers 1`,
      )
    }
  }
  if (options.createToken && options.tokenFile === undefined) {
    throw new OptionError('MISSING_OPTION', '--token-file', '--create-token needs --token-file FILE')
  }
  for (const address of options.upstream) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new OptionError('BAD_VALUE', '--upstream', '--upstream: expected the port of a container, got port 0')
    }
  }
}
