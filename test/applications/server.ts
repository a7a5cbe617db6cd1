/** One arrangement of an application: its processes, its clients, and all output. */

import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import WebSocket from 'ws'
import { within } from '../frameworks/arrangement.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import type { Answer, Fields, RequestOptions } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { temporary } from '../support/sockets.ts'
import type { Arrangement, Command, StartCommand } from './command.ts'

/** Start timeout of an application, milliseconds: compiling its pages takes most of a minute on a busy machine. */
const START_PATIENCE = 120_000
/** Longest lifetime of an arrangement, milliseconds. */
const LIFE = 400_000
const POLL = 100
/** Drain timeout of Gantry's processes, seconds. */
export const DRAIN = 10
/** Responses of gateways while no application is behind them. */
const NOT_UP = [0, 502, 503, 504]
/** Frameworks stream to browsers, and send whole pages to unknown clients. */
const BROWSER = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
const GANTRY = repositoryFile('cli/gantry.ts')

/** Response fields that no application may send. */
const QUIET: Readonly<Record<string, string>> = {
  NEXT_TELEMETRY_DISABLED: '1',
  NUXT_TELEMETRY_DISABLED: '1',
  ASTRO_TELEMETRY_DISABLED: '1',
  DO_NOT_TRACK: '1',
  NO_UPDATE_NOTIFIER: '1',
  APOLLO_TELEMETRY_DISABLED: '1',
  NO_COLOR: '1',
  FORCE_COLOR: '0',
}

export function quietly(env: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { ...QUIET, ...env }
}

/** A WebSocket with its messages in order. */
export interface Opened {
  readonly socket: WebSocket
  next(): Promise<string>
  readonly closed: Promise<number>
}

export class Server {
  readonly arrangement: Arrangement
  /** Where clients connect. */
  readonly port: number
  /** The application's PORT: that of clients on plain node. */
  readonly own: number
  /** The process that a service manager would supervise. */
  readonly main: TestChild
  readonly #children: readonly TestChild[]
  readonly #clean: () => Promise<void>
  readonly #clients: HttpClient[] = []
  readonly #sockets: WebSocket[] = []

  constructor(
    arrangement: Arrangement,
    port: number,
    own: number,
    children: readonly [main: TestChild, ...others: TestChild[]],
    clean: () => Promise<void>,
  ) {
    this.arrangement = arrangement
    this.port = port
    this.own = own
    this.main = children[0]
    this.#children = children
    this.#clean = clean
  }

  get host(): string {
    return `127.0.0.1:${this.port}`
  }

  get origin(): string {
    return `http://${this.host}`
  }

  async connect(): Promise<HttpClient> {
    const client = await HttpClient.connect({ port: this.port, host: '127.0.0.1' })
    this.#clients.push(client)
    return client
  }

  /** `options` with the fields that a browser would send. */
  addressed(options: RequestOptions): RequestOptions {
    const headers = options.headers ?? []
    const missing = [
      ['Host', this.host],
      ['User-Agent', BROWSER],
    ].filter(([name]) => !headers.some(([other]) => other.toLowerCase() === name!.toLowerCase()))
    return { ...options, headers: [...(missing as Fields), ...headers] }
  }

  /** A request on a connection of its own. */
  async fetch(options: RequestOptions): Promise<Answer> {
    const client = await this.connect()
    try {
      return await within(client.fetch(this.addressed(options)), `${options.method ?? 'GET'} ${options.target}`)
    } finally {
      client.destroy()
    }
  }

  /** The body of a GET, as JSON. */
  async read(target: string): Promise<unknown> {
    const { status, body } = await this.fetch({ target })
    if (status !== 200) throw new Error(`GET ${target}: ${status} ${body.toString().slice(0, 200)}`)
    return JSON.parse(body.toString())
  }

  /** Repeats the request until its JSON is `good`. */
  async eventually<T>(target: string, good: (value: T) => boolean): Promise<T> {
    for (let left = 100; ; left--) {
      const value = (await this.read(target)) as T
      if (good(value) || left === 0) return value
      await pause(POLL)
    }
  }

  async open(target: string, protocols: string[] = [], options: WebSocket.ClientOptions = {}): Promise<Opened> {
    const socket = new WebSocket(`ws://${this.host}${target}`, protocols, { perMessageDeflate: false, ...options })
    this.#sockets.push(socket)
    socket.on('error', () => {})
    const messages: string[] = []
    const waiting: ((message: string) => void)[] = []
    socket.on('message', (data) => {
      const waiter = waiting.shift()
      if (waiter) waiter(String(data))
      else messages.push(String(data))
    })
    const closed = new Promise<number>((resolve) => socket.once('close', resolve))
    await within(once(socket, 'open'), `WebSocket ${target}`)
    const next = (): Promise<string> => {
      const message = messages.shift()
      const promise = message === undefined ? new Promise<string>((resolve) => waiting.push(resolve)) : message
      return within(Promise.resolve(promise), `a message from ${target}`)
    }
    return { socket, next, closed }
  }

  closeClients(): void {
    for (const client of this.#clients.splice(0)) client.destroy()
    for (const socket of this.#sockets.splice(0)) socket.terminate()
  }

  output(): string {
    return this.#children.map(({ stdout, stderr }) => stdout + stderr).join('')
  }

  /** Gantry's log lines about a process that ended unexpectedly. */
  crashes(): string[] {
    return this.output()
      .split('\n')
      .filter((line) => /gantry: the (container|proxy) ended|gantry (container|proxy): /.test(line))
  }

  /** Whether the processes are still running. */
  get alive(): boolean {
    return this.#children.every((child) => child.process.exitCode === null && child.process.signalCode === null)
  }

  async end(): Promise<void> {
    this.closeClients()
    // Gantry's own processes exit after the one that started them; allow a moment.
    if (this.arrangement !== 'node' && this.alive) {
      this.main.process.kill('SIGTERM')
      await Promise.race([this.main.exited, pause(3_000)])
      if (this.alive) this.main.process.kill('SIGTERM')
    }
    await Promise.all(this.#children.map((child) => child.end()))
    await this.#clean()
  }
}

/** A port below those that the system assigns to others meanwhile (32768 and above, on Linux). */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    const probe = createServer()
    const free = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
    })
    probe.close()
    if (free) return port
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** Command lines, the main process first. */
function commandLines(
  arrangement: Arrangement,
  start: StartCommand,
  place: { readonly folder: string; readonly port: number; readonly own: number; readonly directory: string },
): string[][] {
  const { folder, port, own, directory } = place
  const module = join(folder, start.module)
  const args = start.args?.(own) ?? []
  const rest = args.length > 0 ? ['--', ...args] : []
  const listen = ['--listen', `127.0.0.1:${port}`]
  const quiet = ['--access-log', 'off', '--drain-timeout', `${DRAIN}s`]
  const socket = `unix:${join(directory, 'join.sock')}`
  switch (arrangement) {
    case 'node':
      return [[module, ...args]]
    case 'up':
      return [[GANTRY, 'up', module, '--interface', 'node', ...listen, ...quiet, ...rest]]
    case 'join':
      return [
        [GANTRY, 'container', module, '--interface', 'node', '--join', socket, ...quiet, ...rest],
        [GANTRY, 'proxy', ...listen, '--join-listen', socket, ...quiet],
      ]
    case 'http':
      return [
        [module, ...args],
        [GANTRY, 'proxy', ...listen, '--upstream', `http://127.0.0.1:${own}`, ...quiet],
      ]
  }
}

function run(argv: readonly string[], folder: string, env: Readonly<Record<string, string>>): TestChild {
  return new TestChild(argv, { cwd: folder, patience: LIFE, env: quietly(env) })
}

async function startBeside(command: Command, folder: string): Promise<[TestChild, number]> {
  const port = await freePort()
  const argv = [join(folder, command.module), ...(command.args?.(port) ?? [])]
  const child = run(argv, folder, { PORT: String(port), HOST: '127.0.0.1', ...command.env })
  await up(child, port, '/')
  return [child, port]
}

/** Starts an application whose folder is ready, and waits until `ready` gets a response. */
export async function startServer(arrangement: Arrangement, start: StartCommand, folder: string): Promise<Server> {
  const directory = await temporary()
  const children: TestChild[] = []
  const clean = (): Promise<void> => rm(directory, { recursive: true, force: true })
  try {
    const beside = start.beside ? await startBeside(start.beside, folder) : undefined
    const port = await freePort()
    const own = arrangement === 'node' ? port : await freePort()
    const env = {
      PORT: String(own),
      HOST: '127.0.0.1',
      NODE_ENV: 'production',
      ...start.env,
      ...(beside ? { BESIDE: String(beside[1]) } : {}),
    }
    const lines = commandLines(arrangement, start, { folder, port, own, directory })
    for (const argv of lines) children.push(run(argv, folder, env))
    if (beside) children.push(beside[0])
    const server = new Server(arrangement, port, own, children as [TestChild], clean)
    await up(server.main, port, start.ready ?? '/')
    return server
  } catch (error) {
    await Promise.all(children.map((child) => child.end()))
    await clean()
    throw error
  }
}

/** Resolves when an application responds to `path`. */
async function up(child: TestChild, port: number, path: string): Promise<void> {
  const late = Date.now() + START_PATIENCE
  while (Date.now() < late) {
    if (child.process.exitCode !== null) break
    const status = await statusOf(port, path)
    if (!NOT_UP.includes(status)) return
    await pause(POLL)
  }
  const output = `${child.stdout}${child.stderr}`
  throw new Error(`it does not answer ${path}: ${output.slice(-1_500)}`)
}

async function statusOf(port: number, target: string): Promise<number> {
  try {
    const client = await HttpClient.connect({ port, host: '127.0.0.1' })
    const answer = await Promise.race([client.fetch({ target }), pause(20_000)])
    client.destroy()
    return answer?.status ?? 0
  } catch {
    return 0
  }
}
