/**
 * The application of one framework, on node:http in one process, and in a container behind a proxy in two other
 * processes.
 */

import { mkdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Address } from '../../protocol/net/address.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import type { Answer, RequestOptions } from '../support/client.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { temporary } from '../support/sockets.ts'
import type { Framework, Peer } from './shape.ts'

/** Timeout of a request or a note, ms: a hang is reported as a failure. */
const PATIENCE = 60_000

/** A server, and connections to close. */
class Server implements Peer {
  readonly name: Peer['name']
  readonly framework: Framework
  readonly port: number
  #clients: HttpClient[] = []

  constructor(name: Peer['name'], framework: Framework, port: number) {
    this.name = name
    this.framework = framework
    this.port = port
  }

  async connect(): Promise<HttpClient> {
    const client = await HttpClient.connect({ port: this.port, host: '127.0.0.1' })
    this.#clients.push(client)
    return client
  }

  async fetch(request: RequestOptions): Promise<Answer> {
    const client = await this.connect()
    const answer = await within(client.fetch(request), `${request.method ?? 'GET'} ${request.target}`)
    client.destroy()
    // The names in a fetch handler's Headers have no case: @hono/node-server writes some of them in the case in which
    // they were set.
    if (this.framework === 'Hono') answer.headers = answer.headers.map(([name, value]) => [name.toLowerCase(), value])
    return answer
  }

  async noted(key: string, count: number): Promise<string[]> {
    const { body } = await this.fetch({ target: `/noted?key=${key}&count=${count}` })
    return JSON.parse(body.toString()) as string[]
  }

  closeClients(): void {
    for (const client of this.#clients.splice(0)) client.destroy()
  }
}

export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`${what}: nothing within ${PATIENCE} ms`)), PATIENCE)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

export interface Both {
  readonly plain: Server
  readonly pair: Server
  /** The whole output. */
  output(): string
  stop(): Promise<void>
}

/** Files with a fixed modification time, so that `Last-Modified` and `ETag` are known. */
async function makeFiles(directory: string): Promise<void> {
  const files: Record<string, string | Buffer> = {
    'hello.txt': 'Hello from a file, with some text to take ranges of.\n',
    'page.html': '<!doctype html><title>Page</title><p>é</p>\n',
    'script.js': 'export const answer = 42\n',
    'data.json': '{"a":[1,2,3]}\n',
    'empty.txt': '',
    'big.bin': Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff)),
    'with space.txt': 'space\n',
    '.hidden': 'hidden\n',
    'folder/index.html': '<p>index</p>\n',
  }
  await mkdir(join(directory, 'folder'))
  const changed = new Date('2026-01-02T03:04:05Z')
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(directory, name), content)
    await utimes(join(directory, name), changed, changed)
  }
}

/** The container's arguments for `module`, with an export after a colon. */
export interface InPair {
  readonly target: string
  readonly argv?: readonly string[]
}

/** Starts `module`'s export `server` on node:http, and what `inPair` names in the pair. */
export async function startBoth(framework: Framework, module: string, inPair: InPair): Promise<Both> {
  const directory = await temporary()
  const files = join(directory, 'files')
  await mkdir(files)
  await makeFiles(files)
  const env = { NODE_ENV: 'production', FILES: files, NODE_NO_WARNINGS: '1' }
  const children: TestChild[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.end()))
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const quiet = ['--access-log', 'off']
    const socket = `unix:${join(directory, 'socket')}`
    const plain = new TestChild([repositoryFile('test/frameworks/serve-plain.ts'), repositoryFile(module)], {
      env,
      ipc: true,
      patience: 120_000,
    })
    children.push(plain)
    const target = repositoryFile(inPair.target)
    const started = await Promise.allSettled([
      startGantry(['container', target, '--listen', socket, ...quiet, ...(inPair.argv ?? [])], { env }),
      startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', socket, ...quiet]),
    ])
    const servers: Gantry[] = []
    for (const result of started) if (result.status === 'fulfilled') servers.push(result.value)
    children.push(...servers.map(({ child }) => child))
    for (const result of started) if (result.status === 'rejected') throw result.reason
    await plain.until(() => plain.messages.length > 0)
    const { addresses } = plain.messages[0] as { addresses: readonly (Address & { port: number })[] }
    return {
      plain: new Server('plain', framework, addresses[0]!.port),
      pair: new Server('pair', framework, servers[1]!.port),
      output: () => children.map(({ stdout, stderr }) => stdout + stderr).join('\n'),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
