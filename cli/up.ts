/**
 * `gantry up`: a proxy and a container as two processes on this machine, over a Unix socket that only this user reaches.
 * Starts, restarts and stops them; what they do is their own matter.
 *
 * The children are process groups of their own, so that Ctrl-C in a terminal reaches this process alone and they are
 * stopped in order: the proxy first, and its container once every request that is left has started its response. Both
 * have an IPC channel: when this process is killed the channel closes, and they drain by themselves.
 */

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { childOf, describeExit } from '../process/children.ts'
import { keepProcessAlive, STOP_GRACE_MILLISECONDS } from '../process/keep-alive.ts'
import { privateDirectory, sweepPrivateDirectories } from '../process/private-directory.ts'
import { withGroup } from '../process/process-group.ts'
import { onStopSignals, type StopSignal } from '../process/signals.ts'
import { type Child, Supervised } from '../process/supervise.ts'
import { guardStandardStreams, writeToStderr } from '../protocol/log/stderr-log.ts'
import { type Address, printAddress } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import type { ParsedOptions } from '../protocol/options/options.ts'
import { childEnvironment, containerArguments, devCommandLine, proxyArguments, type upOptions } from './up-options.ts'

/**
 * Serves until a signal. The first SIGTERM or SIGINT (or SIGHUP) drains both and exits with the container's code (0,
 * unless the application chose another), a second exits at once. When either process does not start at all, exits with
 * its code (1 for a signal); that process has logged why.
 *
 * @param entry The file whose `container` and `proxy` commands are run.
 */
export async function up(parsed: ParsedOptions<typeof upOptions>, entry: string): Promise<void> {
  const { values, given, warnings } = parsed
  if (values.dev) {
    // Loaded here alone: without --dev there is nothing of it in any process.
    const { upDev } = await import('../dev/serve.ts')
    return upDev({ ...parsed, ...devCommandLine }, { say: (line) => writeToStderr(`${line}\n`), visitable })
  }
  void sweepPrivateDirectories()
  const socket = join(privateDirectory(), 'container.sock')

  guardStandardStreams()
  // A restart that is due must keep this process, though both children may be gone just then.
  keepProcessAlive()

  let restarted = false
  /** Where the application is: at the container's socket, or where a child process of it listens. */
  let upstream: Address = { kind: 'unix', path: socket }
  const containerReady = ([address]: readonly Address[]): void => {
    if (restarted) say('the container is back')
    const now: Address = address?.kind === 'http' ? address : { kind: 'unix', path: socket }
    if (printAddress(now) === printAddress(upstream)) return
    upstream = now
    if (now.kind === 'http') say(describeChildServer(values.module, now.url))
    // Its upstreams are on its command line.
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
      say(`the container ended (${describeExit(exit)}); starting it again in ${Math.round(wait)} ms`)
    },
    onOverdue: () => say('the container did not exit in time; killing it'),
  })
  const proxy: Supervised<readonly Address[]> = new Supervised({
    clock: systemClock,
    random: Math.random,
    start: () => startChild(entry, proxyArguments(given, upstream), childEnvironment(process.env, 'proxy')),
    onReady: (addresses) => writeToStderr(`${values.module} is served at ${addresses.map(visitable).join(' and ')}\n`),
    onCrash: (exit, wait) => {
      say(`the proxy ended (${describeExit(exit)}); starting it again in ${Math.round(wait)} ms`)
    },
    onOverdue: () => say('the proxy did not exit in time; killing it'),
  })

  let stopping = false
  const stop = async (signal: StopSignal): Promise<void> => {
    stopping = true
    const hurry = signal !== 'SIGTERM'
    const time = (hurry ? 0 : values.drainDelay) + values.drainTimeout
    const end = systemClock.now() + time
    let ended: ReturnType<typeof container.stop> | undefined
    // The container gets what is left of the time, and our own signal: its application may handle SIGINT alone.
    const stopContainer = (): ReturnType<typeof container.stop> =>
      (ended ??= container.stop(Math.max(0, end - systemClock.now()) + STOP_GRACE_MILLISECONDS, signal))
    // Once no request can arrive, the application gets its signal: it may want to close WebSockets and event streams
    // itself.
    void proxy.last.then(stopContainer)
    await proxy.stop(time + STOP_GRACE_MILLISECONDS, 'SIGTERM', hurry)
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
  // One after the other: the proxy finds its container there, so that the line with the URL is true.
  for (const one of [container, proxy]) {
    const taken = one === proxy ? takenPort(upstream, values.listen) : undefined
    if (taken !== undefined) {
      say(
        `${values.module} listens on port ${taken} itself, in a child process, and --listen names the same port: set PORT=N to give the application another port`,
      )
    }
    const first = taken === undefined ? await one.start() : { exit: undefined }
    if (stopping) return
    if ('exit' in first) {
      await container.stop(STOP_GRACE_MILLISECONDS)
      // The application's own code, also where it ends at once: `-- --help`.
      process.exit(first.exit?.code ?? 1)
    }
  }
}

/** Lines for a person, apart from the log on standard output. */
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

/** What is different for an application that listens in a child process. */
function describeChildServer(module: string, url: string): string {
  return `${module} listens in a child process, at ${url}: the proxy passes requests on to it over HTTP. --slots and --id do not apply, and clients that reach its port pass by the proxy`
}

/** The port of an application that listens by itself, if the proxy is to listen on it too. */
function takenPort(upstream: Address, listen: readonly Address[]): number | undefined {
  if (upstream.kind !== 'http') return undefined
  const port = Number(new URL(upstream.url).port || 80)
  return listen.some((address) => address.kind === 'tcp' && address.port === port) ? port : undefined
}

/** What to type into a browser. A wildcard is not a place to go to. */
function visitable(address: Address): string {
  if (address.kind !== 'tcp') return address.kind === 'http' ? address.url : `unix:${address.path}`
  const wildcard = address.host === '' || address.host === '0.0.0.0' || address.host === '::'
  const host = wildcard ? 'localhost' : address.host.includes(':') ? `[${address.host}]` : address.host
  return `http://${host}:${address.port}/`
}
