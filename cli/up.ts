/**
 * `gantry up`: starts, restarts and stops a proxy and a container on this machine, connected by a Unix socket that only
 * this user can reach.
 */

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { childOf, describeExit } from '../process/children.ts'
import { privateDirectory, sweepPrivateDirectories } from '../process/private-directory.ts'
import { withGroup } from '../process/process-group.ts'
import { onStopSignals, type StopSignal } from '../process/signals.ts'
import { keepProcessAlive, STOP_GRACE_MILLISECONDS } from '../process/stay-alive.ts'
import { type Child, Supervised } from '../process/supervise.ts'
import { guardStandardStreams, writeToStderr } from '../protocol/log/stderr-log.ts'
import { type Address, printAddress } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import type { ParsedOptions } from '../protocol/options/options.ts'
import { childEnvironment, containerArguments, devCommandLine, proxyArguments, type upOptions } from './up-options.ts'

/**
 * Serves until a signal. The first SIGTERM, SIGINT or SIGHUP drains both processes and exits with the container's code
 * (0 unless the application set another); a second one exits immediately. If either process cannot start, exits with
 * its code (1 for a signal); that process has logged the reason.
 *
 * Each child has its own process group, so that Ctrl-C in a terminal reaches this process only, and the children stop
 * in order: first the proxy, and then the container when every remaining request has started its response. Both have an
 * IPC channel: if this process is killed, the channels close and both drain.
 *
 * @param entry the file whose `container` and `proxy` commands are run
 */
export async function up(parsed: ParsedOptions<typeof upOptions>, entry: string): Promise<void> {
  const { values, given, warnings } = parsed
  if (values.dev) {
    // Loaded only here: without --dev no process contains development code.
    const { upDev } = await import('../dev/serve.ts')
    return upDev({ ...parsed, ...devCommandLine }, { say: (line) => writeToStderr(`${line}\n`), visitable })
  }
  void sweepPrivateDirectories()
  const socket = join(privateDirectory(), 'container.sock')

  guardStandardStreams()
  // Both children may have ended while a restart is scheduled: this process must stay alive.
  keepProcessAlive()

  let restarted = false
  /** The address of the application: the container's socket, or the port on which a child process of it listens. */
  let upstream: Address = { kind: 'unix', path: socket }
  const containerReady = ([address]: readonly Address[]): void => {
    if (restarted) say('the container serves again')
    const now: Address = address?.kind === 'http' ? address : { kind: 'unix', path: socket }
    if (printAddress(now) === printAddress(upstream)) return
    upstream = now
    if (now.kind === 'http') say(describeChildServer(values.module, now.url))
    // The proxy's upstreams are on its command line.
    proxy.restart()
  }
  const container: Supervised<readonly Address[]> = new Supervised({
    clock: systemClock,
    random: Math.random,
    start: () =>
      startChild(entry, containerArguments(given, values.module, socket), childEnvironment(process.env, 'container')),
    onReady: containerReady,
    onCrash: (exit, wait) => {
      restarted = true
      say(`the container ended (${describeExit(exit)}): restarting it in ${Math.round(wait)} ms`)
    },
    onOverdue: () => say('the container did not exit in time: killing it'),
  })
  const proxy: Supervised<readonly Address[]> = new Supervised({
    clock: systemClock,
    random: Math.random,
    start: () => startChild(entry, proxyArguments(given, upstream), childEnvironment(process.env, 'proxy')),
    onReady: (addresses) => writeToStderr(`${values.module} is served at ${addresses.map(visitable).join(' and ')}\n`),
    onCrash: (exit, wait) => {
      say(`the proxy ended (${describeExit(exit)}): restarting it in ${Math.round(wait)} ms`)
    },
    onOverdue: () => say('the proxy did not exit in time: killing it'),
  })

  let stopping = false
  const stop = async (signal: StopSignal): Promise<void> => {
    stopping = true
    const skipNotice = signal !== 'SIGTERM'
    const time = (skipNotice ? 0 : values.drainDelay) + values.drainTimeout
    const end = systemClock.now() + time
    let ended: ReturnType<typeof container.stop> | undefined
    // The container gets the rest of the time, and the signal of this process: its application may handle only SIGINT.
    const stopContainer = (): ReturnType<typeof container.stop> =>
      (ended ??= container.stop(Math.max(0, end - systemClock.now()) + STOP_GRACE_MILLISECONDS, signal))
    // When no request can arrive any more, the application gets its signal: it may close WebSockets and event streams
    // itself.
    void proxy.noMoreRequests.then(stopContainer)
    await proxy.stop(time + STOP_GRACE_MILLISECONDS, 'SIGTERM', skipNotice)
    const exit = await stopContainer()
    // The application's own exit code, as with `node`.
    process.exit(exit?.code ?? 0)
  }
  onStopSignals(process, systemClock, {
    finish: (signal) => void stop(signal),
    quit: (code) => {
      proxy.kill()
      container.kill()
      process.exit(code)
    },
  })

  for (const warning of warnings) say(warning)
  // One after the other: the container serves before the line with the URL is printed.
  for (const one of [container, proxy]) {
    const taken = one === proxy ? takenPort(upstream, values.listen) : undefined
    if (taken !== undefined) {
      say(
        `${values.module} listens on port ${taken} in a child process, and --listen names the same port: set PORT=N to give the application another port`,
      )
    }
    const first = taken === undefined ? await one.start() : { exit: undefined }
    if (stopping) return
    if ('exit' in first) {
      await container.stop(STOP_GRACE_MILLISECONDS)
      // The application's own code, also if it ends immediately: `-- --help`.
      process.exit(first.exit?.code ?? 1)
    }
  }
}

/** Prints a line for people on standard error; the log is on standard output. */
function say(line: string): void {
  writeToStderr(`gantry: ${line}\n`)
}

function startChild(
  entry: string,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Child<readonly Address[]> {
  let pid: number | undefined
  const child = childOf(
    () => {
      const started = spawn(process.execPath, [...process.execArgv, entry, ...argv], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        detached: true,
        env,
      })
      pid = started.pid
      return started
    },
    (error) => say(error.message),
    {
      clock: systemClock,
      onBlocked: (seconds) =>
        say(
          `${argv[0]} process ${pid}: still starting after ${seconds} s, and its event loop is blocked (a synchronous call, such as spawnSync, has not returned)`,
        ),
    },
  )
  return withGroup(child, pid, systemClock)
}

/** Explains what differs for an application that listens in a child process. */
function describeChildServer(module: string, url: string): string {
  return `${module} listens in a child process, at ${url}: the proxy sends requests to it over HTTP. --slots and --id have no effect, and clients that connect to its port bypass the proxy`
}

/** The port of an application that listens itself, if `--listen` names the same port. */
function takenPort(upstream: Address, listen: readonly Address[]): number | undefined {
  if (upstream.kind !== 'http') return undefined
  const port = Number(new URL(upstream.url).port || 80)
  return listen.some((address) => address.kind === 'tcp' && address.port === port) ? port : undefined
}

/** The URL for a browser: localhost in place of a wildcard address. */
function visitable(address: Address): string {
  if (address.kind !== 'tcp') return address.kind === 'http' ? address.url : `unix:${address.path}`
  const wildcard = address.host === '' || address.host === '0.0.0.0' || address.host === '::'
  const host = wildcard ? 'localhost' : address.host.includes(':') ? `[${address.host}]` : address.host
  return `http://${host}:${address.port}/`
}
