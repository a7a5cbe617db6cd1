/**
 * The options that both processes have: how they log, drain and authenticate, and the limits of HTTP and frames. Names,
 * defaults and their reasons; the code that uses an option enforces it.
 */

import { randomBytes } from 'node:crypto'
import { linkSync, rmSync, writeFileSync } from 'node:fs'
import { isForwardedFieldName } from '../client/forwarded-fields.ts'
import type { TrustedPeers } from '../client/peers.ts'
import { ForwardedRules, notAForwardedField } from '../client/resolve-client.ts'
import { HEAD_MAX } from '../frames/codec/constants.ts'
import type { LivenessTimes } from '../frames/codec/liveness.ts'
import { defaultLimits } from '../http1/codec/limits.ts'
import type { Http1Options } from '../http1/options.ts'
import { type Address, printAddress } from '../net/address.ts'
import { flagName, OptionError, type OptionValues } from './option-table.ts'

/**
 * The most workers that one proxy may have, and with which a container keeps links: far more than the cores of any
 * machine. A container must not dial without end because a peer claims to have more.
 */
export const WORKERS_MAX = 256

export const commonOptions = {
  token: {
    kind: 'text',
    secret: true,
    sentence:
      'The secret that proxy and containers prove to each other on frame links over TCP; the secret itself is never sent. Each line is a token: see --token-file.',
    unset: 'links over TCP are not authenticated',
  },
  tokenFile: {
    kind: 'file',
    value: 'FILE',
    sentence:
      'A file that holds the token, as Docker and Kubernetes mount secrets; surrounding white space is ignored. Each line is a token, at most 8: this process proves the first one to its peers, and accepts all of them from peers. A changed file is read again without a restart.',
  },
  forwardedFields: {
    kind: 'text',
    list: true,
    value: 'NAMES',
    default: 'x-forwarded-for,x-forwarded-proto',
    sentence:
      'Which header fields from --trusted-peers are trusted over HTTP, or none. Other X-Forwarded-*, Forwarded, X-Real-IP and X-Scheme fields are removed. Name a field only if every trusted peer sets it: nginx forwards the X-Forwarded-Host and Forwarded fields of its clients. X-Forwarded-* takes precedence over Forwarded.',
  },
  accessLog: {
    kind: 'choice',
    choices: ['json', 'combined', 'off'],
    default: 'json',
    sentence:
      'Write one line on standard output for each request that clients or web servers send to this process: as JSON, or in the combined format of Apache and nginx.',
  },
  logLevel: {
    kind: 'choice',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    sentence: 'The lowest level to log. --access-log controls access lines.',
  },
  drainTimeout: {
    kind: 'duration',
    default: '30s',
    unlimited: true,
    sentence:
      'How long requests may take to finish after SIGTERM before they are aborted. Kubernetes kills a process after 30s and Docker after 10s: set this below their grace period. With none, the process waits for requests without a limit; a second signal ends it immediately.',
  },
  drainDelay: {
    kind: 'duration',
    up: 'proxy alone',
    default: '0s',
    sentence:
      'How long requests are still accepted after SIGTERM: load balancers need time to notice that /ready answers 503, or that each response closes its connection. Then the listeners close and --drain-timeout begins. Default 0s, since only load balancers need a delay; Kubernetes needs 5s to 10s. SIGINT and SIGHUP skip the delay, and so does a container whose only peers are proxies.',
  },
  keepAliveGrace: {
    kind: 'duration',
    default: '2s',
    sentence:
      'How long an idle connection stays open after the listeners have closed, at most half of --drain-timeout: a load balancer may be sending a request on it. Default 2s: a balancer with 32 idle connections (nginx’s keepalive 32) and 16 requests per second uses each of them once in that time. SIGINT and SIGHUP skip it.',
  },
  maxConnections: {
    kind: 'integer',
    minimum: 1,
    value: 'COUNT',
    sentence:
      'How many connections of clients and web servers may be open at once; one client may have nine tenths of them. Links, joining containers and health probes do not count. At the limit a new client replaces an idle connection, else a stalled one, else it gets 503: a load balancer sees a 503, but cannot see a full backlog. The limit keeps file descriptors free for connections to containers.',
    unset:
      '`ulimit -n` minus the open file descriptors and a reserve of a tenth of the free ones (at least 256, at most half of them); half of the result if a client may need two file descriptors: in containers, in front of http upstreams, and with middleware',
  },
  headLimit: {
    kind: 'size',
    default: '64KiB',
    minimum: 1024,
    maximum: 16777216,
    sentence:
      'Longest request head in bytes, else 431. Default 64KiB: the maximum of a uwsgi packet, so every wire protocol has the same limit. To raise it, set it on the proxy and on its containers.',
  },
  targetLimit: {
    kind: 'size',
    default: '8KiB',
    minimum: 256,
    sentence:
      'Longest request target in bytes, else 414. RFC 9112 §3 recommends at least 8000 bytes; nginx and Apache have the same default.',
  },
  bodyLimit: {
    kind: 'size',
    default: 'none',
    unlimited: true,
    sentence:
      'Longest request body in bytes, else 413. Default none: bodies are streamed with flow control and do not fill memory.',
  },
  headTimeout: {
    kind: 'duration',
    default: '30s',
    unlimited: true,
    sentence:
      'How long a client may take to send a complete request head, else 408. This limit ends slow-header attacks.',
  },
  bodyTimeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a client may pause in the middle of a request body that the application waits for, else 408. Same default as nginx.',
  },
  keepAliveTimeout: {
    kind: 'duration',
    default: '75s',
    unlimited: true,
    sentence:
      'How long an idle client connection is kept open. Default 75s: above the 60s of common load balancers, which must close first.',
  },
  bodyBuffer: {
    kind: 'size',
    default: '64KiB',
    maximum: 1048576,
    sentence:
      'How much of a request body is read before the request takes a slot, so that a slow upload holds none. Default 64KiB: most forms and API calls are smaller, and as much is read ahead of an application anyway. A request does not wait while more than half of the slots are free. 0 switches this off.',
  },
  bodyBufferTotal: {
    kind: 'size',
    default: '64MiB',
    sentence:
      'How many bytes --body-buffer may hold for all requests together. Above this, requests wait for a slot without their bodies. Default 64MiB: the full buffers of 1000 slow uploads, as many as a container has slots.',
  },
  slowClientRate: {
    kind: 'size',
    default: '1KiB',
    minimum: 1,
    sentence:
      'Bytes per second that a client must send of an upload, or accept of a response, while other requests wait for a slot. Default 1KiB: no usable connection is slower; at this rate a page of 64KiB takes a minute.',
  },
  slowClientPatience: {
    kind: 'duration',
    default: '5s',
    minimum: 100,
    unlimited: true,
    sentence:
      'How far a client may fall behind --slow-client-rate before its request is aborted in favour of a waiting one: with 408, or with a reset if its response has begun. A client that holds more than an equal share of the slots gets a tenth of this time. Default 5s: half of --queue-timeout, so waiting requests are served in time. A client is an IPv4 address or an IPv6 /64.',
  },
  sendTimeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a client may accept no byte of a pending response or upgraded stream before its connection is reset. Same default as nginx.',
  },
  writeTimeout: {
    kind: 'duration',
    unlimited: true,
    hidden: true,
    sentence: 'The former name of --send-timeout.',
  },
  upgradeIdleTimeout: {
    kind: 'duration',
    default: 'none',
    unlimited: true,
    sentence:
      'How long an upgraded stream, for example a WebSocket, may be silent in both directions before it is closed. Default none: some streams are silent for days, and --tcp-keep-alive detects lost clients.',
  },
  tcpKeepAlive: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'Silence after which the operating system probes a TCP client; without an answer the connection ends 10s later. Default 60s: below the 4 to 6 minutes after which NATs and load balancers drop a silent connection.',
  },
  halfClose: {
    kind: 'choice',
    choices: ['abort', 'serve'],
    default: 'abort',
    sentence:
      'What to do if a client closes its sending side before the response: abort the request, as nginx does, or serve it, for clients that half-close.',
  },
  tuneV8: {
    kind: 'flag',
    default: true,
    sentence:
      'Adjust V8 for a server process. It keeps optimised code while no request arrives: otherwise the first seconds of requests after 8s of silence take twice the CPU time. It collects short-lived garbage every 4MiB of bodies: otherwise a process that passes large bodies on grows by 60MiB instead of 10MiB. The settings apply to the whole process, so switch them off for an application that sets V8 flags of its own.',
  },
  window: {
    kind: 'size',
    default: '128KiB',
    minimum: 1024,
    sentence:
      'Body bytes that a peer may send ahead on one stream of a link: the memory that a stalled stream needs. Default 128KiB: two frames, one in transit while the other is read.',
  },
  frameLimit: {
    kind: 'size',
    default: '64KiB',
    minimum: 1024,
    maximum: 16777216,
    sentence:
      'Most body bytes that a peer may send in one frame. Streams share a link, so a larger frame delays the other streams longer.',
  },
  pingInterval: {
    kind: 'duration',
    default: '5s',
    minimum: 10,
    sentence:
      'Time between two PINGs on each link. A stopped peer is detected after at most this time plus --suspect-after; a PING and its PONG take 34 bytes.',
  },
  suspectAfter: {
    kind: 'duration',
    default: '2s',
    minimum: 10,
    sentence:
      'How long a link may be silent after a PING before it gets no new request and a second connection is dialled. Any byte counts as an answer. Default 2s: longer than a large garbage collection, and shorter than most clients wait.',
  },
  probeGrace: {
    kind: 'duration',
    default: '1s',
    minimum: 10,
    sentence:
      'How long a silent link may take to answer after the same peer has answered on another connection, and again after a PONG on that connection; then the link is closed. Default 1s: enough to retransmit two lost packets. Bytes in transit extend the time.',
  },
  connectTimeout: {
    kind: 'duration',
    default: '3s',
    minimum: 10,
    sentence:
      'Timeout for connecting to the other process: a host that is down does not answer at all. Default 3s: enough for one lost packet, which the system retransmits after 1s.',
  },
  silenceTimeout: {
    kind: 'duration',
    default: '60s',
    minimum: 10,
    unlimited: true,
    sentence: 'How long a silent link without requests is kept: its peer may be suspended, and continue later.',
  },
} as const

export type CommonOptions = OptionValues<typeof commonOptions>

/** The value of `--forwarded-fields` for no field; `--trusted-peers` has the same word. */
const NO_FIELDS = 'none'

/**
 * Checks options that depend on each other.
 *
 * @throws OptionError if values contradict each other
 */
export function checkCommonOptions(options: Pick<CommonOptions, 'token' | 'tokenFile' | 'forwardedFields'>): void {
  for (const name of options.forwardedFields) {
    if (name === NO_FIELDS || isForwardedFieldName(name.toLowerCase())) continue
    throw new OptionError('BAD_VALUE', '--forwarded-fields', `--forwarded-fields: ${notAForwardedField(name)}, or none`)
  }
  if (options.token !== undefined && options.tokenFile !== undefined) {
    throw new OptionError(
      'BAD_VALUE',
      '--token-file',
      '--token-file and GANTRY_TOKEN are both set: set only one of them',
    )
  }
}

/**
 * Checks that no two listeners of one process have the same address: the second would find the first and report another
 * process.
 *
 * @param options the addresses to listen on, by option
 * @throws OptionError if an address occurs twice
 */
export function checkListenAddresses(options: Readonly<Record<string, readonly Address[]>>): void {
  const flags: Map<string, string> = new Map()
  for (const [key, addresses] of Object.entries(options)) {
    const flag = flagName(key)
    for (const address of addresses) {
      // Each port 0 becomes a port of its own.
      if (address.kind === 'tcp' && address.port === 0) continue
      const text = printAddress(address)
      const other = flags.get(text)
      if (other !== undefined) {
        const where = other === flag ? 'is given twice' : `is an address of ${other} too`
        throw new OptionError('BAD_VALUE', flag, `${flag} ${text} ${where}: each listener needs its own port or path`)
      }
      flags.set(text, flag)
    }
  }
}

/**
 * Creates the token file with a random token, readable by this user only, unless it exists. The file is linked into
 * place complete, so if several processes share a volume, one creates the file and the others use it.
 *
 * @throws OptionError if the file cannot be written
 */
export function createTokenFile(file: string): void {
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(draft, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' })
    linkSync(draft, file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST') {
      throw new OptionError('BAD_FILE', '--create-token', `--create-token: ${file} cannot be created (${code})`)
    }
  } finally {
    rmSync(draft, { force: true })
  }
}

/** `--forwarded-fields` and the process's `--trusted-peers` in the form that the HTTP/1.1 gateway takes. */
export function forwardedSettings(
  options: Pick<CommonOptions, 'forwardedFields'> & { readonly trustedPeers: TrustedPeers },
): ForwardedRules {
  return new ForwardedRules(
    options.trustedPeers,
    options.forwardedFields.filter((name) => name !== NO_FIELDS),
  )
}

/** These options in the form that the HTTP/1.1 gateway takes. */
export function http1Settings(options: CommonOptions): Pick<Http1Options, 'limits' | 'timeouts' | 'halfClose'> {
  return {
    limits: {
      head: options.headLimit,
      target: options.targetLimit,
      body: options.bodyLimit,
      readAhead: Math.max(defaultLimits.readAhead, options.bodyBuffer),
    },
    timeouts: {
      head: options.headTimeout,
      body: options.bodyTimeout,
      keepAlive: options.keepAliveTimeout,
      write: options.writeTimeout ?? options.sendTimeout,
      upgradeIdle: options.upgradeIdleTimeout,
    },
    halfClose: options.halfClose,
  }
}

/** These options as settings for watching and dialling links. */
export function livenessSettings(options: CommonOptions): { liveness: LivenessTimes; connectTimeout: number } {
  const { pingInterval, suspectAfter, probeGrace, silenceTimeout, connectTimeout } = options
  return { liveness: { pingInterval, suspectAfter, probeGrace, silenceTimeout }, connectTimeout }
}

/** These options as the limits that a link's HELLO states to its peer, bytes. */
export function frameSettings(options: CommonOptions): { window: number; data: number; head: number } {
  // Latin1 strings are sent as UTF-8, up to twice as long, and a target is sent both raw and decoded.
  return { window: options.window, data: options.frameLimit, head: Math.max(HEAD_MAX, 4 * options.headLimit) }
}
