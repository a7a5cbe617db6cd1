/**
 * `gantry up --dev`: runs the proxy in this process, since it shows errors to browsers, and the application in a child
 * process, which is replaced when a file that it imports changes.
 */

import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { containerOptions } from '../container/options.ts'
import type { DrainOptions } from '../process/drain.ts'
import { EXTENSIONS, parseSpecifier } from '../process/modules/load-module.ts'
import { privateDirectory, sweepPrivateDirectories } from '../process/private-directory.ts'
import { type RunningServer, run, type ServeEnvironment } from '../process/run.ts'
import { STOP_GRACE_MILLISECONDS } from '../process/stay-alive.ts'
import type { ChildExit } from '../process/supervise.ts'
import { isLoopbackHost } from '../protocol/client/peers.ts'
import type { Address, UnixAddress } from '../protocol/net/address.ts'
import { systemClock } from '../protocol/net/clock.ts'
import { environmentName, type OptionValues } from '../protocol/options/option-table.ts'
import { parseOptions } from '../protocol/options/options.ts'
import { proxyOptions } from '../proxy/options.ts'
import { type RunningProxy, serveProxy } from '../proxy/serve.ts'
import { DevChild } from './child.ts'
import { showLoadErrors } from './load-errors.ts'
import { LoadState } from './load-state.ts'
import { ABSENT, errorOf, type Failure, type ImportsMessage, signatureOf } from './messages.ts'
import { prettyLog, usesColor } from './pretty.ts'
import { type ChildLink, Reloader } from './reloader.ts'
import { describeFiles, Watcher } from './watcher.ts'

/** Prints lines for people; the log is separate. */
export interface Terminal {
  say(line: string): void
  /** The URL of an address for a browser. */
  visitable(address: Address): string
}

/** The options of `gantry up --dev`, and how to make the command lines of its processes. */
export interface DevCommand {
  readonly values: Pick<OptionValues<typeof containerOptions>, 'module'> &
    Pick<
      OptionValues<typeof proxyOptions>,
      'listen' | 'middleware' | 'logLevel' | 'accessLog' | 'drainTimeout' | 'drainDelay' | 'tuneV8'
    >
  /** The options of the command line as texts, by table key. */
  readonly given: ReadonlyMap<string, readonly string[]>
  readonly warnings: readonly string[]
  /** The command line of the proxy. */
  proxyArguments(given: ReadonlyMap<string, readonly string[]>): string[]
  /** The rest of the command line of a container that listens on `socket`. */
  containerArguments(given: ReadonlyMap<string, readonly string[]>, module: string, socket: string): string[]
  /** The environment of a process of the pair. */
  environment(
    environment: Readonly<Record<string, string | undefined>>,
    role: 'container' | 'proxy',
  ): Record<string, string | undefined>
}

/**
 * The default of --drain-timeout in development, ms: an endless response in a browser must not block the terminal after
 * Ctrl-C. A process that is replaced has the full drain timeout.
 */
const STOP_MILLISECONDS = 2_000

/** How long the application's process may take to end after the last request, ms. */
const END_MILLISECONDS = 1_500

interface Style {
  /** By default only warnings: reloads and errors have their own lines. */
  readonly logLevel: DevCommand['values']['logLevel']
  readonly pretty: boolean
  /** Milliseconds. */
  readonly drainTimeout: number
}

/** Serves until a signal, as `up` does. Continues if the application cannot be loaded. */
export async function upDev(parsed: DevCommand, terminal: Terminal): Promise<void> {
  const { values, given, warnings } = parsed
  const isGiven = (key: string): boolean => given.has(key) || (process.env[environmentName(key)] ?? '') !== ''
  const style: Style = {
    logLevel: isGiven('logLevel') ? values.logLevel : 'warn',
    // For people, unless JSON lines were requested.
    pretty: !(isGiven('accessLog') && values.accessLog === 'json'),
    drainTimeout: isGiven('drainTimeout') ? values.drainTimeout : STOP_MILLISECONDS,
  }
  const { accessLog } = values
  const { drainTimeout } = style
  const format = style.pretty ? { format: prettyLog() } : {}
  await run(
    'dev',
    {
      logLevel: style.logLevel,
      accessLog,
      drainTimeout,
      drainDelay: values.drainDelay,
      tuneV8: values.tuneV8,
      ...format,
    },
    (environment) => new Development(parsed, style, environment, terminal).start(),
    warnings,
  )
}

class Development {
  readonly #parsed: DevCommand
  readonly #style: Style
  readonly #environment: ServeEnvironment
  readonly #terminal: Terminal
  readonly #module: string
  readonly #directory: string = privateDirectory()
  readonly #state: LoadState = new LoadState(randomBytes(6).toString('hex'))
  readonly #watcher: Watcher
  readonly #reloader: Reloader<readonly Address[]>
  #proxy: RunningProxy | undefined
  #sockets = 0
  #loading: DevChild | undefined
  #serving: DevChild | undefined
  /** Files that have changed since the last load began. */
  readonly #changes: Set<string> = new Set()
  /** The changed files that caused the current load. */
  #reasons: readonly string[] = []
  #served = false
  /** The last error that was printed in full. */
  #printed = ''

  constructor(parsed: DevCommand, style: Style, environment: ServeEnvironment, terminal: Terminal) {
    this.#parsed = parsed
    this.#style = style
    this.#environment = environment
    this.#terminal = terminal
    this.#module = parsed.values.module
    this.#reloader = new Reloader({
      clock: systemClock,
      random: Math.random,
      grace: parsed.values.drainTimeout + STOP_GRACE_MILLISECONDS,
      start: () => this.#startChild(),
      connect: (addresses) => this.#connect(addresses),
      onLoading: () => this.#onLoading(),
      onServing: (child, milliseconds) => this.#onServing(child as DevChild, milliseconds),
      onFailed: (child, exit) => this.#onFailed(child as DevChild, exit),
      onCrashed: (child, exit, wait) => this.#onCrashed(child as DevChild, exit, wait),
    })
    this.#watcher = new Watcher({
      clock: systemClock,
      log: environment.log,
      onChange: (file) => {
        this.#changes.add(file)
        this.#reloader.changed()
      },
    })
    // However this process ends, its children end with it.
    process.on('exit', () => this.#reloader.kill())
    void sweepPrivateDirectories()
  }

  async start(): Promise<RunningServer> {
    const { given } = this.#parsed
    const { values } = parseOptions(
      proxyOptions,
      this.#parsed.proxyArguments(given),
      this.#parsed.environment(process.env, 'container'),
      Object.keys(process.env),
    )
    // The proxy starts first: requests wait while the application loads, and show its error if it fails.
    const { drainTimeout } = this.#style
    const proxy = await serveProxy(
      { ...values, drainTimeout },
      {
        ...this.#environment,
        middleware: showLoadErrors({ state: this.#state, clock: systemClock, module: this.#module }),
      },
    )
    this.#proxy = proxy
    for (const address of values.listen) {
      if (address.kind === 'unix' || isLoopbackHost(address.host)) continue
      this.#terminal.say(
        `gantry: --dev shows source code and environ to everyone who can connect to port ${address.port}: use --listen 127.0.0.1:${address.port} to show them on this machine only`,
      )
    }
    for (const file of this.#always) this.#watcher.add(file, signatureNow(file))
    this.#reloader.start()
    return { addresses: proxy.addresses, drain: (options) => this.#drain(proxy, options) }
  }

  async #drain(proxy: RunningProxy, options: DrainOptions | undefined): Promise<void> {
    // Before the proxy drains: browsers that wait for a change would delay it.
    this.#state.close()
    await this.#watcher.close()
    await proxy.drain(options)
    const exit = await this.#reloader.stop(END_MILLISECONDS, options?.signal)
    // The application's own exit code, as with `node`.
    process.exitCode = exit?.code ?? 0
  }

  /**
   * Files that are watched even if they are not imported: the module under each possible name, .env and package.json.
   */
  get #always(): string[] {
    const files = [this.#module, ...this.#parsed.values.middleware].flatMap((specifier) => {
      const { module } = parseSpecifier(specifier)
      const path = module.startsWith('file:') ? fileURLToPath(module) : resolve(module)
      return [path, ...EXTENSIONS.map((extension) => path + extension)]
    })
    return [...files, resolve('.env'), resolve('package.json')]
  }

  // ---- the application's process -----------------------------------------------------------------------------------

  #startChild(): DevChild {
    const { given } = this.#parsed
    const { logLevel, pretty } = this.#style
    const socket = join(this.#directory, `${++this.#sockets}.sock`)
    // In the built package, both files end in `.js`.
    const entry = fileURLToPath(new URL(`./container${import.meta.url.slice(-3)}`, import.meta.url))
    const command = this.#parsed.containerArguments(new Map([...given, ['logLevel', [logLevel]]]), this.#module, socket)
    const child = new DevChild({
      argv: [
        ...process.execArgv,
        // Error pages of a compiled application show its sources.
        '--enable-source-maps',
        entry,
        this.#state.next,
        pretty ? 'pretty' : 'json',
        ...command,
      ],
      env: this.#parsed.environment(process.env, 'proxy'),
      onImports: (from, message) => this.#onImports(from, message),
    })
    this.#loading = child
    return child
  }

  #connect(addresses: readonly Address[]): ChildLink {
    const ready = Promise.withResolvers<void>()
    const added = this.#proxy!.add(addresses[0] as UnixAddress, ready.resolve)
    return { ready: ready.promise, stop: (reason) => added.stop(reason) }
  }

  #onImports(child: DevChild, { imported, missing }: ImportsMessage): void {
    if (child !== this.#loading && child !== this.#serving) return
    for (const { file, signature } of imported) this.#watcher.add(file, signature)
    for (const file of missing) this.#watcher.add(file, ABSENT)
  }

  // ---- results of a load -------------------------------------------------------------------------------------------

  #onLoading(): void {
    this.#reasons = [...this.#changes]
    this.#changes.clear()
    this.#state.loadBegan(this.#reasons.length > 0)
  }

  #onServing(child: DevChild, milliseconds: number): void {
    this.#loading = undefined
    this.#serving = child
    this.#watcher.keep(new Set([...child.files, ...this.#always]))
    this.#state.loaded()
    if (this.#reasons.length > 0) this.#printed = ''
    const took = `${Math.round(milliseconds)} ms`
    if (this.#served) {
      const why = this.#reasons.length === 0 ? 'restarted' : `${describeFiles(this.#reasons)} changed, reloaded`
      this.#terminal.say(`${this.#module}: ${why} in ${took}`)
    } else {
      this.#served = true
      const places = this.#proxy!.addresses.map((address) => this.#terminal.visitable(address)).join(' and ')
      this.#terminal.say(`${this.#module} is served at ${places} and reloads when its files change (loaded in ${took})`)
    }
  }

  #onFailed(child: DevChild, exit: ChildExit): void {
    const failure = child.failure ?? silentEnd(exit, 'before it was loaded')
    this.#state.loadFailed(failure)
    const what = this.#serving
      ? 'the previous version is still served'
      : `see ${this.#proxy!.addresses.map((address) => this.#terminal.visitable(address)).join(' and ')} for the error`
    void this.#print(`gantry: ${this.#module} cannot be loaded; ${what}`, failure)
  }

  #onCrashed(child: DevChild, exit: ChildExit, wait: number): void {
    if (this.#serving === child) this.#serving = undefined
    const failure = child.failure ?? silentEnd(exit, 'by itself')
    this.#state.crashed(failure, systemClock.now())
    void this.#print(`gantry: ${this.#module} has crashed: restarting it in ${Math.round(wait)} ms`, failure)
  }

  async #print(line: string, failure: Failure): Promise<void> {
    const { errorText } = await import('./page.ts')
    const text = await errorText(errorOf(failure), usesColor(process.stderr))
    // A browser may repeat a request that crashes the application: print the same error only once.
    this.#terminal.say(text === this.#printed ? `${line} (as before)` : `${line}\n${text.trimEnd()}\n`)
    this.#printed = text
  }
}

function silentEnd({ code, signal }: ChildExit, when: string): Failure {
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`
  const message = `its process ended ${when}, ${how}: see the terminal for its output`
  return { name: 'ProcessEnded', message, stack: `ProcessEnded: ${message}` }
}

function signatureNow(file: string): string {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false })
  return stats ? signatureOf(stats) : ABSENT
}
