/**
 * `gantry up --dev`: the proxy in this process, the application in one of its own, which is replaced when a file that it imports has changed.
 * Here is only who is given to whom. The proxy is in this process since what browsers are to be shown is known here.
 */

import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { containerOptions } from '../container/options.ts'
import type { DrainOptions } from '../process/drain.ts'
import { STOP_GRACE_MILLISECONDS } from '../process/keep-alive.ts'
import { EXTENSIONS, parseSpecifier } from '../process/modules/load-module.ts'
import { privateDirectory, sweepPrivateDirectories } from '../process/private-directory.ts'
import { type Running, run, type ServeEnvironment } from '../process/run.ts'
import type { ChildExit } from '../process/supervise.ts'
import { TrustedPeers } from '../protocol/client/peers.ts'
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

/** How the command line speaks to a person, apart from the log. */
export interface Terminal {
  say(line: string): void
  /** What to type into a browser. */
  visitable(address: Address): string
}

/** What `gantry up --dev` was given; the command line passes it on. */
export interface DevCommand {
  readonly values: Pick<OptionValues<typeof containerOptions>, 'module'> &
    Pick<
      OptionValues<typeof proxyOptions>,
      'listen' | 'middleware' | 'logLevel' | 'accessLog' | 'drainTimeout' | 'drainDelay' | 'tuneV8'
    >
  /** What was given on the command line, by option. */
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
 * For requests to finish after Ctrl-C, where nothing else was asked for: an endless response that is open in a browser should not keep a terminal.
 * A process that is replaced has the container's whole time.
 */
const STOP_MILLISECONDS = 2_000

/** For the application's process to end once there is nobody any more whom it could answer. */
const END_MILLISECONDS = 1_500

interface Style {
  /** What the log is to leave out, if it was not said: lines of their own tell of reloads and errors. */
  readonly logLevel: DevCommand['values']['logLevel']
  readonly pretty: boolean
  /** Milliseconds. */
  readonly drainTimeout: number
}

/** Serves until a signal, as `up` does. An application that cannot be loaded does not end it. */
export async function upDev(parsed: DevCommand, terminal: Terminal): Promise<void> {
  const { values, given, warnings } = parsed
  const isGiven = (key: string): boolean => given.has(key) || (process.env[environmentName(key)] ?? '') !== ''
  const style: Style = {
    logLevel: isGiven('logLevel') ? values.logLevel : 'warn',
    // For a person, unless lines for a program were asked for.
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
  /** Those that the present load began for. */
  #reasons: readonly string[] = []
  #served = false
  /** What was last told in full. */
  #told = ''

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

  async start(): Promise<Running> {
    const { given } = this.#parsed
    const { values } = parseOptions(
      proxyOptions,
      this.#parsed.proxyArguments(given),
      this.#parsed.environment(process.env, 'container'),
      Object.keys(process.env),
    )
    // First of all: whoever comes while the application is loaded waits for it, and sees what it fails of.
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
      if (address.kind === 'unix' || isLoopback(address.host)) continue
      this.#terminal.say(
        `gantry: --dev shows source and environ to whoever reaches port ${address.port}; 127.0.0.1:${address.port} would keep them on this machine`,
      )
    }
    for (const file of this.#always) this.#watcher.add(file, signatureNow(file))
    this.#reloader.start()
    return { addresses: proxy.addresses, drain: (options) => this.#drain(proxy, options) }
  }

  async #drain(proxy: RunningProxy, options: DrainOptions | undefined): Promise<void> {
    // Before the proxy: browsers that wait for news would keep it.
    this.#state.close()
    await this.#watcher.close()
    await proxy.drain(options)
    const exit = await this.#reloader.stop(END_MILLISECONDS, options?.signal)
    // The application's own exit code, as with `node`.
    process.exitCode = exit?.code ?? 0
  }

  /** Files that count whether they are imported or not: the module under each of its names, and what it is started with. */
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
    // Built, this file and its neighbour end in `.js`.
    const entry = fileURLToPath(new URL(`./container${import.meta.url.slice(-3)}`, import.meta.url))
    const command = this.#parsed.containerArguments(new Map([...given, ['logLevel', [logLevel]]]), this.#module, socket)
    const child = new DevChild({
      argv: [
        ...process.execArgv,
        // Of an application that was compiled the sources are to be shown.
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

  // ---- what becomes of it ------------------------------------------------------------------------------------------

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
    if (this.#reasons.length > 0) this.#told = ''
    const took = `${Math.round(milliseconds)} ms`
    if (this.#served) {
      const why = this.#reasons.length === 0 ? 'started again' : `${describeFiles(this.#reasons)} changed, reloaded`
      this.#terminal.say(`${this.#module}: ${why} in ${took}`)
    } else {
      this.#served = true
      const places = this.#proxy!.addresses.map((address) => this.#terminal.visitable(address)).join(' and ')
      this.#terminal.say(`${this.#module} is served at ${places} and reloads when its files change (loaded in ${took})`)
    }
  }

  #onFailed(child: DevChild, exit: ChildExit): void {
    const failure = child.failure ?? silentEnd(exit, 'before it had been loaded')
    this.#state.loadFailed(failure)
    const what = this.#serving
      ? 'what was loaded before is still served'
      : `see ${this.#proxy!.addresses.map((address) => this.#terminal.visitable(address)).join(' and ')}, or mend it`
    void this.#tell(`gantry: ${this.#module} cannot be loaded; ${what}`, failure)
  }

  #onCrashed(child: DevChild, exit: ChildExit, wait: number): void {
    if (this.#serving === child) this.#serving = undefined
    const failure = child.failure ?? silentEnd(exit, 'by itself')
    this.#state.crashed(failure, systemClock.now())
    void this.#tell(`gantry: ${this.#module} has crashed; starting it again in ${Math.round(wait)} ms`, failure)
  }

  async #tell(line: string, failure: Failure): Promise<void> {
    const { errorText } = await import('./page.ts')
    const text = await errorText(errorOf(failure), usesColor(process.stderr))
    // A request that is fatal may be sent again, or again and again by a browser.
    this.#terminal.say(text === this.#told ? `${line} (as before)` : `${line}\n${text.trimEnd()}\n`)
    this.#told = text
  }
}

function silentEnd({ code, signal }: ChildExit, when: string): Failure {
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`
  const message = `its process ended ${when}, ${how}; what it had to say is in the terminal`
  return { name: 'ProcessEnded', message, stack: `ProcessEnded: ${message}` }
}

function signatureNow(file: string): string {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false })
  return stats ? signatureOf(stats) : ABSENT
}

const loopback = new TrustedPeers(['loopback'])

function isLoopback(host: string): boolean {
  return host.toLowerCase() === 'localhost' || loopback.has(host)
}
