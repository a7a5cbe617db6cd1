/**
 * A server as a process: its logger, signals, fatal errors and the tie to a parent. Both the container and the proxy are
 * run by it. Does not know what they serve.
 */

import { pino } from 'pino'
import { LogOutput } from './log-output.ts'
import type { AccessLine } from './middleware/access-log.ts'
import { combinedLine } from './middleware/combined-log.ts'
import { type Address, printAddress } from './protocol/address.ts'
import { systemClock } from './protocol/clock.ts'
import { type Logger, silent } from './protocol/log.ts'
import { keepCode } from './quiet.ts'
import { onStopSignals } from './signals.ts'

/** A server that has started. */
export interface Running {
  /** Where it listens, with the ports that the system chose. */
  readonly addresses: readonly Address[]
  /** The process ends when its event loop is empty. Default: it stays until a signal. */
  readonly endsItself?: boolean
  /**
   * Takes nothing new, finishes what runs within the drain timeout, and resolves when all is closed.
   *
   * @param onLast no request can come any more: what still runs has begun to be answered
   */
  drain(onLast?: () => void): Promise<void>
}

export interface RunOptions {
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly accessLog: 'json' | 'combined' | 'off'
  /** Milliseconds. */
  readonly drainTimeout: number
  /** Makes of a line of the log, JSON with its newline, what is written; '' leaves it out. Default: the line itself. */
  readonly format?: (line: string) => string
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
  /** Drains and exits, as the first signal does. */
  stop(reason: string): void
}

/** What a child tells the process that started it, over the IPC channel. */
export interface ReadyMessage {
  readonly gantry: 'ready'
  readonly addresses: readonly Address[]
}

/** The same, of one that drains: no request can come to it any more. */
export interface LastMessage {
  readonly gantry: 'last'
}

export type ChildMessage = ReadyMessage | LastMessage

/** What takes access lines, in the format that was asked for. */
function accessLogger(format: RunOptions['accessLog'], json: () => Logger, output: LogOutput): Logger | undefined {
  if (format === 'off') return undefined
  if (format === 'json') return json()
  return { ...silent, info: (line) => output.write(combinedLine(line as AccessLine, Date.now())) }
}

// A drain aborts what is left at its timeout, and an aborted application has 5 s to settle: past that and a little, the
// process would hang.
const DRAIN_GRACE_MILLISECONDS = 6_000
/** A start that takes this long is worth a line, again and again. */
const SLOW_START_MILLISECONDS = 10_000

// For a start that is all but done to end by itself and take its sockets away.
const START_GRACE_MILLISECONDS = 1_000

/** One clear report of why a process cannot go on. An error with a `code` speaks for itself; any other is a bug and shows its stack. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause instanceof Error ? `\n${error.cause.stack ?? error.cause.message}` : ''
  return 'code' in error ? `${error.message}${cause}` : (error.stack ?? error.message)
}

/**
 * Starts a server and stays until a signal, or the loss of a parent that holds an IPC channel, has drained it. The first
 * SIGTERM or SIGINT (or SIGHUP) drains and exits 0, or with the application's own exit code; a second exits at once with
 * 128 + its number. Exits 1 when the start fails, after an uncaught exception, or when a drain hangs.
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
  const output = new LogOutput(1, { shared: process.connected === true })
  const settings = { name, formatters: { level: (label: string) => ({ level: label }) } }
  const { format } = options
  const lines = format ? { write: (line: string) => output.write(format(line)) } : output
  const log = pino({ ...settings, level: options.logLevel }, lines)
  const accessLog = accessLogger(options.accessLog, () => pino({ ...settings, level: 'info' }, lines), output)
  for (const warning of warnings) log.warn({}, warning)
  // An application's own calls of it wait for the drain (container/interfaces/held-exit.ts); these do not.
  const leave: (code?: number) => never = process.exit.bind(process)

  const exit = async (code?: number): Promise<never> => {
    // A reader that takes nothing must not keep us here.
    await Promise.race([output.close(), new Promise((resolve) => setTimeout(resolve, 1_000))])
    // Given undefined, Node would forget the code that was set.
    if (code === undefined) leave()
    leave(code)
  }
  const fail = (error: unknown): Promise<never> => {
    process.stderr.write(`gantry ${name}: ${describeFailure(error)}\n`)
    return exit(1)
  }
  process.on('exit', () => output.flushSync())
  process.on('uncaughtException', (error) => {
    // Node would print it and exit; the log is where someone looks for it.
    log.error({ err: error }, 'an error was caught by nobody')
    output.flushSync()
    process.stderr.write(`gantry ${name}: ${error instanceof Error ? error.stack : String(error)}\n`)
    leave(1)
  })

  const tell = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {})
  }

  let draining = false
  let hasStarted = false
  const started = Promise.withResolvers<Running | undefined>()
  // Nothing else would say that an application never ends loading.
  const slow = setInterval(() => log.warn({}, 'the start has not ended yet'), SLOW_START_MILLISECONDS)
  slow.unref()
  const drain = async (reason: string): Promise<void> => {
    log.info({ reason }, 'draining')
    setTimeout(() => {
      if (hasStarted) return
      // An application that hangs while it loads would keep us for good; nothing was served that could be finished.
      log.warn({}, 'stopped before the start had ended')
      void exit(0)
    }, START_GRACE_MILLISECONDS).unref()
    const running = await started.promise
    if (Number.isFinite(options.drainTimeout)) {
      const late = (): unknown => fail(new Error('the drain did not end'))
      // An application's shutdown code is over when nothing is left in the event loop.
      setTimeout(late, options.drainTimeout + DRAIN_GRACE_MILLISECONDS).unref()
    }
    await running?.drain(() => tell({ gantry: 'last' }))
    log.info({}, 'stopped')
    // With the code that the application set, if it did: process.exit(3) in a handler of the signal, or process.exitCode.
    await exit()
  }
  const stop = (reason: string): void => {
    if (draining) return
    draining = true
    drain(reason).catch(fail)
  }
  const quit = supervised ? () => {} : (code: number) => leave(code)
  onStopSignals(process, systemClock, { finish: stop, quit }, supervised ? ['SIGTERM'] : undefined)
  if (process.connected) process.on('disconnect', () => stop('the parent process has gone'))

  try {
    const lifetime: Lifetime = {
      get stopping() {
        return draining
      },
      stop,
    }
    const running = await start({ log, accessLog, lifetime })
    if (running.endsItself) process.channel?.unref()
    keepCode()
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
