/**
 * The options both processes have: how they log, drain and authenticate, and the limits of the HTTP gateway and the
 * frames that both of them use. Only words, defaults and reasons: whoever is limited enforces it.
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
import { OptionError, type OptionValues } from './options.ts'

/** Workers that one proxy may have, and a container has links with: no machine has more cores by far, and nobody's word may make it dial without end. */
export const WORKERS_MAX = 256

export const commonOptions = {
  token: {
    kind: 'text',
    secret: true,
    sentence:
      'The secret that proxy and containers prove to each other on frame links over TCP; it is never sent. Each line is a token: see --token-file.',
    unset: 'links over TCP are not authenticated',
  },
  tokenFile: {
    kind: 'file',
    value: 'FILE',
    sentence:
      'A file that holds the token, as Docker and Kubernetes mount secrets; white space around it is dropped. Each line, at most 8, is a token: the first is proved to peers, all are accepted from them. A changed file is read again without a restart.',
  },
  forwardedFields: {
    kind: 'text',
    list: true,
    value: 'NAMES',
    default: 'x-forwarded-for,x-forwarded-proto',
    sentence:
      'The header fields of --trusted-peers that are trusted over HTTP, or none. Other X-Forwarded-*, Forwarded, X-Real-IP and X-Scheme fields are dropped. Name a field only if every trusted peer sets it: nginx passes X-Forwarded-Host and Forwarded of its clients on. X-Forwarded-* is preferred to Forwarded.',
  },
  accessLog: {
    kind: 'choice',
    choices: ['json', 'combined', 'off'],
    default: 'json',
    sentence:
      'One line on standard output for each request that clients or web servers send to this process: JSON, or the combined format of Apache and nginx.',
  },
  logLevel: {
    kind: 'choice',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    sentence: 'The least serious lines to log; access lines have their own switch.',
  },
  drainTimeout: {
    kind: 'duration',
    default: '30s',
    unlimited: true,
    sentence:
      'How long requests may take to finish after SIGTERM before they are aborted. Kubernetes kills after 30s, Docker after 10s: set it below their grace period. With none, a process waits for requests without a limit; a second signal ends it at once.',
  },
  drainDelay: {
    kind: 'duration',
    default: '0s',
    sentence:
      'How long requests are still accepted after SIGTERM: load balancers need time to notice that /ready answers 503, or that each response closes its connection. Then the listeners close and --drain-timeout begins. Default 0s, since only a load balancer needs it; Kubernetes takes 5s to 10s. SIGINT and SIGHUP skip it, and so does a container that only proxies have linked to.',
  },
  keepAliveGrace: {
    kind: 'duration',
    default: '2s',
    sentence:
      'How long an idle connection stays open after the listeners have closed, at most half of --drain-timeout: a load balancer may just be sending a request on it. Default 2s: a balancer with 32 idle connections (nginx’s keepalive 32) and 16 requests per second uses each of them once. SIGINT and SIGHUP skip it.',
  },
  maxConnections: {
    kind: 'integer',
    minimum: 1,
    value: 'COUNT',
    sentence:
      'How many connections of clients and web servers may be open at once; one client may have nine tenths of them. Links, joining containers and health probes do not count. At the limit a new client replaces an idle connection, or else a stalled one; if there is none, it gets 503, which a load balancer sees while a full backlog is invisible. A process without free file descriptors cannot dial.',
    unset:
      'what `ulimit -n` leaves after a reserve of a tenth of the free file descriptors (at least 256, but at most half of them); half of that where a client may take two file descriptors: in containers, in front of http upstreams, with middleware',
  },
  headLimit: {
    kind: 'size',
    default: '64KiB',
    minimum: 1024,
    maximum: 16777216,
    sentence:
      'Longest request head in bytes, else 431. 64KiB is the most that a uwsgi packet holds, so that every wire refuses alike; for more, tell proxy and containers the same.',
  },
  targetLimit: {
    kind: 'size',
    default: '8KiB',
    minimum: 256,
    sentence:
      'Longest request target, else 414. RFC 9112 §3 asks for at least 8000 bytes; nginx and Apache have this limit too.',
  },
  bodyLimit: {
    kind: 'size',
    default: 'none',
    unlimited: true,
    sentence: 'Longest request body, else 413. None, since bodies are streamed under flow control and fill no memory.',
  },
  headTimeout: {
    kind: 'duration',
    default: '30s',
    unlimited: true,
    sentence:
      'How long a client may take to send a whole request head, else 408. It is what ends a slow-header attack.',
  },
  bodyTimeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a client may pause between two reads of a body that the application waits for, else 408. As nginx has it.',
  },
  keepAliveTimeout: {
    kind: 'duration',
    default: '75s',
    unlimited: true,
    sentence:
      'How long an idle client connection is kept. Above the 60s of common load balancers, which must be the first to close.',
  },
  bodyBuffer: {
    kind: 'size',
    default: '64KiB',
    maximum: 1048576,
    sentence:
      'How much of a request body is read before the request takes a slot, so that a slow upload holds none. Most forms and API calls are below 64KiB, which is also what is read ahead of an application. A request does not wait while more than half of the slots are free. 0 switches this off.',
  },
  bodyBufferTotal: {
    kind: 'size',
    default: '64MiB',
    sentence:
      'How much --body-buffer may hold for all requests together; above it, requests wait for a slot without their bodies. 64MiB: the full buffers of 1000 slow uploads, as many as a container has slots.',
  },
  slowClientRate: {
    kind: 'size',
    default: '1KiB',
    minimum: 1,
    sentence:
      'Bytes per second that a client must send of an upload, or accept of a response, while other requests wait for a slot. Default 1KiB: no usable connection is slower, and a page of 64KiB takes a minute.',
  },
  slowClientPatience: {
    kind: 'duration',
    default: '5s',
    minimum: 100,
    unlimited: true,
    sentence:
      'How far a client may fall behind --slow-client-rate before its request is aborted for a waiting one: with 408, or by a reset if its response has begun. A client with more than an equal share of the slots gets a tenth of it. Default 5s: half of --queue-timeout, so that waiting requests are served in time. A client is an address, or an IPv6 /64.',
  },
  sendTimeout: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'How long a client may accept no byte of a pending response or upgraded stream before its connection is reset. 60s is nginx’s default too.',
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
      'How long an upgraded stream (a WebSocket, say) may be silent in both directions before it is closed. Default none, since some streams are silent for days; --tcp-keep-alive finds lost clients.',
  },
  tcpKeepAlive: {
    kind: 'duration',
    default: '60s',
    unlimited: true,
    sentence:
      'Silence after which the operating system probes a TCP client; without an answer the connection ends 10s later. Below the 4 to 6 minutes after which NATs and load balancers forget a silent connection.',
  },
  halfClose: {
    kind: 'choice',
    choices: ['abort', 'serve'],
    default: 'abort',
    sentence:
      'What the end of a client’s sending means: abort its request, as nginx takes it, or serve it, for clients that half-close.',
  },
  window: {
    kind: 'size',
    default: '128KiB',
    minimum: 1024,
    sentence:
      'Body bytes a peer may send ahead on one stream of a link: the memory that a stalled stream costs. Two frames: one on its way while one is read.',
  },
  frameLimit: {
    kind: 'size',
    default: '64KiB',
    minimum: 1024,
    maximum: 16777216,
    sentence: 'Most body bytes that a peer may put in one frame: how long one stream holds a link that others share.',
  },
  pingInterval: {
    kind: 'duration',
    default: '5s',
    minimum: 10,
    sentence:
      'Time between two PINGs on each link. A stopped peer is noticed after at most this time plus --suspect-after; a PING and its PONG take 34 bytes.',
  },
  suspectAfter: {
    kind: 'duration',
    default: '2s',
    minimum: 10,
    sentence:
      'How long a link may be silent after a PING before it gets no new request and a second connection is dialled. Any byte counts as an answer. Longer than a large garbage collection, shorter than most clients wait.',
  },
  probeGrace: {
    kind: 'duration',
    default: '1s',
    minimum: 10,
    sentence:
      'How long a silent link has to answer after the same peer has answered on another connection, and again after a PONG on that connection; then the link is closed. Long enough to retransmit two lost packets; bytes still on their way extend it.',
  },
  connectTimeout: {
    kind: 'duration',
    default: '3s',
    minimum: 10,
    sentence:
      'Timeout for connecting to the other process: a host that is down does not answer at all. Long enough for one lost packet, which the system retransmits after 1s.',
  },
  silenceTimeout: {
    kind: 'duration',
    default: '60s',
    minimum: 10,
    unlimited: true,
    sentence: 'How long a silent link without requests is kept: its peer may only be stopped, and continue later.',
  },
} as const

export type CommonOptions = OptionValues<typeof commonOptions>

/** The value of `--forwarded-fields` that trusts no field; `--trusted-peers` has the same word. */
const NO_FIELDS = 'none'

/** What the single options cannot say: @throws OptionError for values that contradict each other. */
export function checkCommonOptions(options: Pick<CommonOptions, 'token' | 'tokenFile' | 'forwardedFields'>): void {
  for (const name of options.forwardedFields) {
    if (name === NO_FIELDS || isForwardedFieldName(name.toLowerCase())) continue
    throw new OptionError('BAD_VALUE', '--forwarded-fields', `--forwarded-fields: ${notAForwardedField(name)}, or none`)
  }
  if (options.token !== undefined && options.tokenFile !== undefined) {
    throw new OptionError('BAD_VALUE', '--token-file', '--token-file and GANTRY_TOKEN are both set; remove one of them')
  }
}

/**
 * Makes the token's file, random and readable by this user alone, when it is not there. It appears whole or not at all, so that of
 * several processes that share a volume one makes it and the others use it.
 *
 * @throws OptionError when it cannot be written
 */
export function createTokenFile(file: string): void {
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(draft, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' })
    linkSync(draft, file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST') {
      throw new OptionError('BAD_FILE', '--create-token', `--create-token: cannot create ${file} (${code})`)
    }
  } finally {
    rmSync(draft, { force: true })
  }
}

/** `--forwarded-fields` and the process's own `--trusted-peers` as the HTTP/1.1 gateway takes them. */
export function forwardedSettings(
  options: Pick<CommonOptions, 'forwardedFields'> & { readonly trustedPeers: TrustedPeers },
): ForwardedRules {
  return new ForwardedRules(
    options.trustedPeers,
    options.forwardedFields.filter((name) => name !== NO_FIELDS),
  )
}

/** These options as the HTTP/1.1 gateway takes them. */
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

/** These options as the settings for watching and dialling links. */
export function livenessSettings(options: CommonOptions): { liveness: LivenessTimes; connectTimeout: number } {
  const { pingInterval, suspectAfter, probeGrace, silenceTimeout, connectTimeout } = options
  return { liveness: { pingInterval, suspectAfter, probeGrace, silenceTimeout }, connectTimeout }
}

/** These options as a link's HELLO tells them to its peer. */
export function frameSettings(options: CommonOptions): { window: number; data: number; head: number } {
  // Latin1 strings are UTF-8 on the wire, up to twice as long, and a target is carried raw and decoded.
  return { window: options.window, data: options.frameLimit, head: Math.max(HEAD_MAX, 4 * options.headLimit) }
}
