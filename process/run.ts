/**
 * Runs a server as a process: its logger, signals, fatal errors, V8 flags, and the connection to a parent process. The
 * container and the proxy both use it.
 */

import { pino, stdSerializers } from 'pino'
import type { AccessLine } from '../middleware/access-log/access-line.ts'
import { combinedLine } from '../middleware/access-log/combined-log.ts'
import type { OtherCode } from '../protocol/contract/error-codes.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import { jsonLines } from '../protocol/log/json-lines.ts'
import { LogOutput } from '../protocol/log/log-output.ts'
import { type Logger, silent } from '../protocol/log/logger.ts'
import { printableStack } from '../protocol/log/printable.ts'
import { guardStandardStreams, standardError, writeToStderr } from '../protocol/log/stderr-log.ts'
import { type Address, isAddress, printAddress } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { watchDescriptors } from '../protocol/net/descriptors.ts'
import type { CommonOptions } from '../protocol/options/common-options.ts'
import { keepChannel } from './channel.ts'
import { keepCompiledCode } from './compiled-code.ts'
import { DelayedSignals } from './delayed-signals.ts'
import type { DrainOptions } from './drain.ts'
import { onStopSignals, type StopSignal } from './signals.ts'
import { type KeepAlive, keepProcessAlive } from './stay-alive.ts'
import { onUncaught } from './uncaught.ts'
import { collectYoungGeneration } from './young-collection.ts'

/** A server that has started. */
export interface RunningServer {
  /** The addresses on which it listens, with the ports that the system chose. */
  readonly addresses: readonly Address[]
  /** Whether the process exits when its event loop is empty. Default: false, it runs until a signal. */
  readonly endsItself?: boolean
  /**
   * Stops accepting after the drain delay, finishes requests within the drain timeout, resolves when everything is
   * closed.
   */
  drain(options?: DrainOptions): Promise<void>
}

export interface RunOptions {
  readonly logLevel: CommonOptions['logLevel']
  readonly accessLog: CommonOptions['accessLog']
  /**
   * How long running requests may take to finish after the drain began, ms; Infinity: without a limit. Every other step
   * of a stop has its own deadline.
   */
  readonly drainTimeout: number
  /** How long requests are still accepted after SIGTERM, ms. Default: 0. */
  readonly drainDelay?: number
  /** How long after the drain timeout the drain counts as hanging, ms. Default: 6,000. */
  readonly drainGrace?: number
  /** Whether V8 is adjusted for a process that does nothing but serve (`--tune-v8`). Default: true. */
  readonly tuneV8?: boolean
  /**
   * Formats a line of the log, which is JSON with a newline; '' drops the line. Default: the line is written unchanged.
   */
  readonly format?: (line: string) => string
  /** Reports an uncaught exception that ends the process. Default: logs it, and prints the stack on standard error. */
  readonly reportUncaught?: (error: unknown) => void
}

/** What a process provides to its server. */
export interface ServeEnvironment {
  readonly log: Logger
  /** Receives a line for each request; undefined: no access log. */
  readonly accessLog: Logger | undefined
  readonly lifetime: Lifetime
}

/** The lifetime of the process, for the application that it serves. */
export interface Lifetime {
  /** Whether the process was asked to stop, by a signal or by `stop`: it drains, or has drained. */
  readonly stopping: boolean
  /** Drains and exits, as after the first signal. */
  stop(reason: string): void
  /** Keeps the process alive while its event loop is empty. */
  readonly keepAlive: KeepAlive
}

/** A message from a child to its parent over the IPC channel: the child serves. */
export interface ReadyMessage {
  readonly gantry: 'ready'
  readonly addresses: readonly Address[]
}

/** From a draining child: no request can reach it any more. */
interface NoMoreRequestsMessage {
  readonly gantry: 'no-more-requests'
}

/** From a child whose start takes long: the child has logged this itself, so its event loop is not blocked. */
interface StartingMessage {
  readonly gantry: 'starting'
}

export type ChildMessage = ReadyMessage | NoMoreRequestsMessage | StartingMessage

/** To a child, before its stop: no load balancer needs notice, so the drain delay is skipped. */
export interface SkipNoticeMessage {
  readonly gantry: 'skip-notice'
}

/**
 * Checks a message of a child.
 *
 * @returns undefined for a message of the application, which shares the channel and may send anything
 */
export function childMessageOf(message: unknown): ChildMessage | undefined {
  const { gantry, addresses } = Object(message) as { gantry?: unknown; addresses?: unknown }
  if (gantry === 'no-more-requests' || gantry === 'starting') return { gantry }
  if (gantry !== 'ready' || !Array.isArray(addresses) || !addresses.every(isAddress)) return undefined
  return { gantry, addresses }
}

/** The logger for access lines in the given format; undefined for `off`. */
function accessLogger(format: RunOptions['accessLog'], json: () => Logger, output: LogOutput): Logger | undefined {
  if (format === 'off') return undefined
  if (format === 'json') return json()
  return { ...silent, info: (line) => output.write(combinedLine(line as AccessLine, Date.now())) }
}

// At the drain timeout running requests are aborted, and an aborted application has 5 s to settle. A drain that takes
// longer hangs.
const DRAIN_GRACE_MILLISECONDS = 6_000
/** A start that has not finished is logged at this interval. */
const SLOW_START_MILLISECONDS = 10_000

/** Time for writing the rest of the log before exit: a stalled reader must not keep the process. */
const LOG_MILLISECONDS = 1_000

// How long a start that is nearly complete may take to finish and remove its sockets, after a signal.
const START_GRACE_MILLISECONDS = 1_000

/** The start or the drain hangs: the process prints one line and exits. */
class HangError extends Error {
  readonly code: OtherCode = 'NEVER_ENDS'
}

/** Serializes an error for the log. pino's serializer sets a property on each error, which fails for frozen ones. */
function serialized(error: unknown): unknown {
  try {
    return stdSerializers.err(error as Error)
  } catch {
    const stack = textOfThrown(error)
    return { type: 'Error', message: stack.split('\n', 1)[0], stack }
  }
}

/** Describes why log lines are lost. @param error of the write; undefined: the buffer is full */
function describeLoss(error: unknown): string {
  if (error === undefined) return 'the reader of standard output does not read it, and the buffer is full'
  return `standard output cannot be written (${(error as NodeJS.ErrnoException).code ?? String(error)})`
}

/**
 * Describes why a process cannot continue. An error with a `code` has a clear message; any other is a bug, and its
 * stack is shown.
 */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return textOfThrown(error)
  const cause = error.cause instanceof Error ? `\n${error.cause.stack ?? error.cause.message}` : ''
  return 'code' in error ? `${error.message}${cause}` : (error.stack ?? error.message)
}

/**
 * Starts a server, and drains it after a signal, or when the parent process at the other end of an IPC channel is gone.
 * The first SIGTERM, SIGINT or SIGHUP drains and exits with 0, or with the application's exit code; a second one exits
 * immediately with 128 + its number. Only SIGTERM, the signal of service managers, is followed by the drain delay: a
 * terminal has no load balancer. Exits with 1 if the start fails, after an uncaught exception without a handler, or if
 * a drain hangs.
 *
 * @param name the name in log lines and messages: `container`, `proxy`
 * @param start starts the server
 * @param warnings sentences to log first
 * @param supervised whether this is one of several workers that a supervisor starts and stops. Then each SIGTERM drains
 *   it (a service manager and the supervisor may both send one), and SIGINT and SIGHUP of a terminal are left to the
 *   supervisor, which ends the worker by SIGKILL.
 */
export async function run(
  name: string,
  options: RunOptions,
  start: (environment: ServeEnvironment) => Promise<RunningServer>,
  warnings: readonly string[] = [],
  supervised: boolean = false,
): Promise<void> {
  // A child process shares its standard output with its parent and with the other children.
  const output = new LogOutput(1, {
    shared: process.connected === true,
    printable: true,
    onLoss: (error) => writeToStderr(`gantry ${name}: log lines are being lost: ${describeLoss(error)}\n`),
  })
  const settings = {
    name,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: serialized },
  }
  const { format } = options
  const lines = format ? { write: (line: string) => output.write(format(line)) } : output
  const log = pino({ ...settings, level: options.logLevel }, lines)
  const accessLog = accessLogger(options.accessLog, () => jsonLines(name, (line) => lines.write(line)), output)
  for (const warning of warnings) log.warn({}, warning)
  // The application's calls of process.exit() wait for the drain (container/application/deferred-exit.ts); these do
  // not.
  const exitNow: (code?: number) => never = process.exit.bind(process)

  // Now and not at the first line: by then the process may have no free file descriptors.
  standardError()
  guardStandardStreams()

  const exit = async (code?: number): Promise<never> => {
    await Promise.race([output.close(), new Promise((resolve) => setTimeout(resolve, LOG_MILLISECONDS))])
    // Assigning undefined would reset the code that the application set.
    if (code === undefined) exitNow()
    exitNow(code)
  }
  const fail = (error: unknown): Promise<never> => {
    writeToStderr(`gantry ${name}: ${printableStack(describeFailure(error))}\n`)
    return exit(1)
  }
  process.on('exit', () => {
    output.flushSync()
    const { unwritten } = output
    if (unwritten === 0) return
    writeToStderr(
      `gantry ${name}: ${unwritten} log lines were lost: standard output could not be written, or its reader did not read it\n`,
    )
    // Its own exit handler may have run already.
    standardError().flushSync()
  })
  const report = (error: unknown): void => {
    // Node would only print it, but people look for it in the log.
    log.error({ err: error }, 'uncaught exception')
    output.flushSync()
    writeToStderr(`gantry ${name}: uncaught exception: ${printableStack(textOfThrown(error))}\n`)
  }
  onUncaught(
    (error) => {
      ;(options.reportUncaught ?? report)(error)
      exitNow(1)
    },
    (err) => log.warn({ err }, "uncaught exception: the application's own handler decides what follows"),
  )

  const sendToParent = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {})
  }

  const { drainDelay = 0 } = options
  /** Aborted if no load balancer needs notice of the stop. */
  const skipNotice = new AbortController()
  let draining = false
  let hasStarted = false
  let keepAlive: KeepAlive | undefined
  const started = Promise.withResolvers<RunningServer | undefined>()
  // Without this, nothing would report an application that never finishes loading.
  const began = systemClock.now()
  const slow = setInterval(() => {
    const seconds = Math.round((systemClock.now() - began) / 1_000)
    log.warn({}, `still starting after ${seconds} s: the application has not finished loading, or nothing listens yet`)
    sendToParent({ gantry: 'starting' })
  }, SLOW_START_MILLISECONDS)
  slow.unref()
  // While the application loads, no handle keeps it alive, so that a module that awaits nothing is detected
  // (process/modules/load-module.ts): that is the first `beforeExit`. At the second one nothing has continued the
  // start.
  let idle = 0
  process.on('beforeExit', () => {
    if (keepAlive !== undefined || hasStarted) return
    if (++idle === 1) setImmediate(() => {})
    else void fail(new HangError('the start cannot finish: it waits for something, but the event loop is empty'))
  })
  const drain = async (reason: string, signal?: StopSignal): Promise<void> => {
    keepAlive ??= keepProcessAlive()
    log.info({ reason }, 'draining')
    setTimeout(() => {
      if (hasStarted) return
      // An application that hangs while it loads would keep the process for ever, and there are no requests to finish.
      log.warn({}, 'stopped during the start')
      void exit(0)
    }, START_GRACE_MILLISECONDS).unref()
    const running = await started.promise
    if (Number.isFinite(options.drainTimeout)) {
      const deadline = drainDelay + options.drainTimeout + (options.drainGrace ?? DRAIN_GRACE_MILLISECONDS)
      const late = (): void => void fail(new HangError(`the drain did not end within ${deadline} ms`))
      // `keepAlive` keeps the event loop alive: an application's shutdown code has ended when nothing else does.
      systemClock.after(deadline, late)
    }
    await running?.drain({
      skipNotice: skipNotice.signal,
      signal,
      onDraining: () => signals.release(),
      onNoMoreRequests: () => sendToParent({ gantry: 'no-more-requests' }),
    })
    log.info({}, 'stopped')
    // With the code that the application set, if any: process.exit(3) in a handler of the signal, or process.exitCode.
    await exit()
  }
  const stop = (reason: string, signal?: StopSignal): void => {
    if (draining) return
    draining = true
    drain(reason, signal).catch(fail)
  }
  const finish = (signal: StopSignal): void => {
    // During the start no load balancer has sent requests.
    if (signal !== 'SIGTERM' || !hasStarted) skipNotice.abort()
    else if (drainDelay > 0 && !skipNotice.signal.aborted) signals.hold()
    stop(signal, signal)
  }
  const quit = supervised ? () => {} : (code: number) => exitNow(code)
  const signals = new DelayedSignals(process)
  onStopSignals(signals, systemClock, { finish, quit }, supervised ? ['SIGTERM'] : undefined)
  if (process.connected) {
    keepChannel(process)
    process.on('disconnect', () => {
      // A worker of several still gives load balancers notice. A process of `up` does not: both processes of the pair
      // end.
      if (!supervised) skipNotice.abort()
      stop('the parent process has ended')
    })
    if (drainDelay > 0) {
      process.on('message', (message: SkipNoticeMessage | null) => {
        if (message?.gantry === 'skip-notice') skipNotice.abort()
      })
    }
  }

  try {
    const lifetime: Lifetime = {
      get stopping() {
        return draining
      },
      stop: (reason) => {
        // The application ends itself: on plain Node it would have closed its listener before.
        skipNotice.abort()
        stop(reason)
      },
      get keepAlive() {
        return (keepAlive ??= keepProcessAlive())
      },
    }
    const running = await start({ log, accessLog, lifetime })
    // A launcher exits when its child has exited, as on plain Node.
    if (running.endsItself) process.channel?.unref()
    else keepAlive ??= keepProcessAlive()
    if (options.tuneV8 ?? true) {
      keepCompiledCode()
      collectYoungGeneration()
    }
    watchDescriptors(systemClock, log)
    hasStarted = true
    clearInterval(slow)
    started.resolve(running)
    log.info({ addresses: running.addresses.map(printAddress) }, 'ready')
    sendToParent({ gantry: 'ready', addresses: running.addresses })
  } catch (error) {
    started.resolve(undefined)
    await fail(error)
  }
}
