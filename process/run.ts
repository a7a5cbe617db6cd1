/**
 * A server as a process: its logger, signals, fatal errors and the tie to a parent. Both the container and the proxy are
 * run by it. Does not know what they serve.
 */

import { pino, stdSerializers } from 'pino'
import type { AccessLine } from '../middleware/access-log/access-line.ts'
import { combinedLine } from '../middleware/access-log/combined-log.ts'
import { textOfThrown } from '../protocol/contract/thrown.ts'
import { jsonLines } from '../protocol/log/json-lines.ts'
import { LogOutput } from '../protocol/log/log-output.ts'
import { type Logger, silent } from '../protocol/log/logger.ts'
import { printableStack } from '../protocol/log/printable.ts'
import { guardStandardStreams, standardError, writeToStderr } from '../protocol/log/stderr-log.ts'
import { type Address, isAddress, printAddress } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { watchDescriptors } from '../protocol/net/descriptors.ts'
import { keepChannel } from './channel.ts'
import { keepCompiledCode } from './compiled-code.ts'
import type { DrainOptions } from './drain.ts'
import { type KeepAlive, keepProcessAlive } from './keep-alive.ts'
import { SignalHold } from './signal-hold.ts'
import { onStopSignals, type StopSignal } from './signals.ts'
import { onUncaught } from './uncaught.ts'

/** A server that has started. */
export interface Running {
  /** Where it listens, with the ports that the system chose. */
  readonly addresses: readonly Address[]
  /** The process ends when its event loop is empty. Default: it stays until a signal. */
  readonly endsItself?: boolean
  /** Stops accepting after the drain delay, finishes requests within the drain timeout, resolves when all is closed. */
  drain(options?: DrainOptions): Promise<void>
}

export interface RunOptions {
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly accessLog: 'json' | 'combined' | 'off'
  /**
   * Drain timeout, milliseconds; Infinity: as long as requests run. Every other step of a stop has a deadline of its
   * own.
   */
  readonly drainTimeout: number
  /** How long requests are still accepted after SIGTERM, ms. Default: 0. */
  readonly drainDelay?: number
  /** Milliseconds after the drain timeout until the drain counts as hanging. Default: 6 s. */
  readonly drainGrace?: number
  /** Makes of a line of the log, JSON with its newline, what is written; '' leaves it out. Default: the line itself. */
  readonly format?: (line: string) => string
  /** Reports an uncaught exception that ends the process. Default: a line of the log, and the stack on standard error. */
  readonly reportUncaught?: (error: unknown) => void
}

/** What a server is given by its process. */
export interface ServeEnvironment {
  readonly log: Logger
  /** Takes a line for each request; undefined: they are not wanted. */
  readonly accessLog: Logger | undefined
  readonly lifetime: Lifetime
}

/** How long the process lives, for what is served in it. */
export interface Lifetime {
  /** It was asked to stop, by a signal or by `stop`: it drains, or has drained. */
  readonly stopping: boolean
  /** Drains and exits, as on the first signal. */
  stop(reason: string): void
  /** Keeps the process alive while its event loop is empty. */
  readonly keepAlive: KeepAlive
}

/** What a child tells the process that started it, over the IPC channel. */
export interface ReadyMessage {
  readonly gantry: 'ready'
  readonly addresses: readonly Address[]
}

/** From a draining child: no request can reach it any more. */
interface LastMessage {
  readonly gantry: 'last'
}

/** From a child whose start takes long: it has logged this itself, so its event loop is not blocked. */
interface StartingMessage {
  readonly gantry: 'starting'
}

export type ChildMessage = ReadyMessage | LastMessage | StartingMessage

/** To a child, before its stop: no load balancer needs notice. */
export interface HurryMessage {
  readonly gantry: 'hurry'
}

/**
 * Checks a message of a child.
 *
 * @returns undefined for a message of the application, which shares the channel and may send anything
 */
export function childMessageOf(message: unknown): ChildMessage | undefined {
  const { gantry, addresses } = Object(message) as { gantry?: unknown; addresses?: unknown }
  if (gantry === 'last' || gantry === 'starting') return { gantry }
  if (gantry !== 'ready' || !Array.isArray(addresses) || !addresses.every(isAddress)) return undefined
  return { gantry, addresses }
}

/** What takes access lines, in the format that was asked for. */
function accessLogger(format: RunOptions['accessLog'], json: () => Logger, output: LogOutput): Logger | undefined {
  if (format === 'off') return undefined
  if (format === 'json') return json()
  return { ...silent, info: (line) => output.write(combinedLine(line as AccessLine, Date.now())) }
}

// A drain aborts what is left at its timeout, and an aborted application has 5 s to settle: past that and a little, the
// process would hang.
const DRAIN_GRACE_MILLISECONDS = 6_000
/** A start that has not finished is logged at this interval. */
const SLOW_START_MILLISECONDS = 10_000

/** Time for writing the rest of the log before exit: a stalled reader must not keep the process. */
const LOG_MILLISECONDS = 1_000

// For a start that is all but done to end by itself and take its sockets away.
const START_GRACE_MILLISECONDS = 1_000

/** The start or the drain hangs: the process prints one line and exits. */
class HangError extends Error {
  readonly code: string = 'NEVER_ENDS'
}

/** pino's own serializer marks the errors that it meets, which frozen ones refuse. */
function serialized(error: unknown): unknown {
  try {
    return stdSerializers.err(error as Error)
  } catch {
    const stack = textOfThrown(error)
    return { type: 'Error', message: stack.split('\n', 1)[0], stack }
  }
}

/** Why log lines are lost. @param error of the write; undefined: the buffer is full */
function describeLoss(error: unknown): string {
  if (error === undefined) return 'the reader of standard output does not read it, and the buffer is full'
  return `standard output cannot be written (${(error as NodeJS.ErrnoException).code ?? String(error)})`
}

/** One clear report of why a process cannot go on. An error with a `code` speaks for itself; any other is a bug and shows its stack. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return textOfThrown(error)
  const cause = error.cause instanceof Error ? `\n${error.cause.stack ?? error.cause.message}` : ''
  return 'code' in error ? `${error.message}${cause}` : (error.stack ?? error.message)
}

/**
 * Starts a server and stays until a signal, or the loss of a parent that holds an IPC channel, has drained it. The
 * first SIGTERM or SIGINT (or SIGHUP) drains and exits 0, or with the application's own exit code; a second exits at
 * once with 128 + its number. The drain delay follows only SIGTERM, the signal of service managers: at a terminal there
 * is no load balancer. Exits 1 when the start fails, after an uncaught exception that no handler takes, or when a drain
 * hangs.
 *
 * @param warnings Sentences for the log before anything else.
 * @param supervised One of several that another process starts and stops: SIGTERM drains it, however often it comes (a service manager sends it to
 *   all processes, and so does that one), and what a terminal sends to all is left to that one, which ends it at once by SIGKILL.
 */
export async function run(
  name: string,
  options: RunOptions,
  start: (environment: ServeEnvironment) => Promise<Running>,
  warnings: readonly string[] = [],
  supervised: boolean = false,
): Promise<void> {
  // What one of ours started writes where that one does, and the others that it started.
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
  // An application's own calls of it wait for the drain (container/application/deferred-exit.ts); these do not.
  const leave: (code?: number) => never = process.exit.bind(process)

  // At the start, not at the first line: by then the process may be out of file descriptors.
  standardError()
  guardStandardStreams()

  const exit = async (code?: number): Promise<never> => {
    await Promise.race([output.close(), new Promise((resolve) => setTimeout(resolve, LOG_MILLISECONDS))])
    // Assigning undefined would reset the code that the application set.
    if (code === undefined) leave()
    leave(code)
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
    // Node would print it and exit; the log is where someone looks for it.
    log.error({ err: error }, 'uncaught exception')
    output.flushSync()
    writeToStderr(`gantry ${name}: uncaught exception: ${printableStack(textOfThrown(error))}\n`)
  }
  onUncaught(
    (error) => {
      ;(options.reportUncaught ?? report)(error)
      leave(1)
    },
    (err) => log.warn({ err }, "uncaught exception: the application's own handler decides what follows"),
  )

  const tell = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {})
  }

  const { drainDelay = 0 } = options
  /** Aborted when no load balancer needs notice of the stop. */
  const hurry = new AbortController()
  let draining = false
  let hasStarted = false
  let keepAlive: KeepAlive | undefined
  const started = Promise.withResolvers<Running | undefined>()
  // Nothing else would say that an application never ends loading.
  const began = systemClock.now()
  const slow = setInterval(() => {
    const seconds = Math.round((systemClock.now() - began) / 1_000)
    log.warn({}, `still starting after ${seconds} s: the application has not finished loading, or nothing listens yet`)
    tell({ gantry: 'starting' })
  }, SLOW_START_MILLISECONDS)
  slow.unref()
  // While the application loads, no handle keeps it alive, so that a module that awaits nothing is detected
  // (process/modules/load-module.ts): that is the first `beforeExit`. At the second one nothing has continued the start.
  let idle = 0
  process.on('beforeExit', () => {
    if (keepAlive !== undefined || hasStarted) return
    if (++idle === 1) setImmediate(() => {})
    else
      void fail(new HangError('the start cannot finish: the event loop is empty, so what it waits for never happens'))
  })
  const drain = async (reason: string, signal?: StopSignal): Promise<void> => {
    keepAlive ??= keepProcessAlive()
    log.info({ reason }, 'draining')
    setTimeout(() => {
      if (hasStarted) return
      // An application that hangs while it loads would keep us for good; nothing was served that could be finished.
      log.warn({}, 'stopped before the start had ended')
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
      hurry: hurry.signal,
      signal,
      onDraining: () => signals.release(),
      onLast: () => tell({ gantry: 'last' }),
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
    // Before the end of the start no load balancer has sent anything.
    if (signal !== 'SIGTERM' || !hasStarted) hurry.abort()
    else if (drainDelay > 0 && !hurry.signal.aborted) signals.hold()
    stop(signal, signal)
  }
  const quit = supervised ? () => {} : (code: number) => leave(code)
  const signals = new SignalHold(process)
  onStopSignals(signals, systemClock, { finish, quit }, supervised ? ['SIGTERM'] : undefined)
  if (process.connected) {
    keepChannel(process)
    process.on('disconnect', () => {
      // A worker of several still gives load balancers notice; a process of `up` does not, since its pair ends as well.
      if (!supervised) hurry.abort()
      stop('the parent process has gone')
    })
    if (drainDelay > 0) {
      process.on('message', (message: HurryMessage | null) => {
        if (message?.gantry === 'hurry') hurry.abort()
      })
    }
  }

  try {
    const lifetime: Lifetime = {
      get stopping() {
        return draining
      },
      stop: (reason) => {
        // The application ends itself: on plain Node it has closed its listener before.
        hurry.abort()
        stop(reason)
      },
      get keepAlive() {
        return (keepAlive ??= keepProcessAlive())
      },
    }
    const running = await start({ log, accessLog, lifetime })
    // A launcher ends when its child has ended, as on plain Node.
    if (running.endsItself) process.channel?.unref()
    else keepAlive ??= keepProcessAlive()
    keepCompiledCode()
    watchDescriptors(systemClock, log)
    hasStarted = true
    clearInterval(slow)
    started.resolve(running)
    log.info({ addresses: running.addresses.map(printAddress) }, 'ready')
    tell({ gantry: 'ready', addresses: running.addresses })
  } catch (error) {
    started.resolve(undefined)
    await fail(error)
  }
}
