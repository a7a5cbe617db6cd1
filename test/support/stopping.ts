/** A proxy and containers of `test/apps/stopping.ts` as processes, with links that notice silence quickly. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { repositoryFile } from './child.ts'
import { faultsOf, type Gantry, startGantry } from './gantry.ts'
import { HttpClient } from './http-client.ts'
import { type Relay, startRelay } from './relay.ts'
import { temporary } from './sockets.ts'

const APPLICATION = repositoryFile('test/apps/stopping.ts')
const TIMES = ['--ping-interval', '100ms', '--suspect-after', '100ms', '--probe-grace', '100ms']
const QUIET = ['--access-log', 'off', ...TIMES]
export const SUSPECT = 'container does not answer: it gets no new requests until it does'
export const REPLAYED = 'request is sent again: its container was lost, and it may have run there'

export class Scene {
  readonly directory: string
  readonly containers: Map<string, Gantry> = new Map()
  proxy!: Gantry
  readonly #ends: (() => Promise<unknown>)[] = []
  #ids = 0

  private constructor(directory: string) {
    this.directory = directory
    writeFileSync(this.#runsFile, '')
  }

  static async with(body: (scene: Scene) => Promise<void>): Promise<void> {
    const scene = new Scene(await temporary())
    try {
      await body(scene)
      assert.deepEqual(faultsOf(scene.proxy), [])
    } finally {
      for (const end of scene.#ends.reverse()) await end()
      await rm(scene.directory, { recursive: true, force: true })
    }
  }

  get #runsFile(): string {
    return join(this.directory, 'runs')
  }

  get #env(): Record<string, string> {
    return { RUNS_FILE: this.#runsFile, GANTRY_TOKEN: 'a secret of this test' }
  }

  path(name: string): string {
    return join(this.directory, name)
  }

  ending(end: () => Promise<unknown>): void {
    this.#ends.push(end)
  }

  /** @param through a command that runs the process, for example on another host */
  async startContainer(who: string, argv: readonly string[], through?: readonly string[]): Promise<Gantry> {
    const env = { ...this.#env, WHO: who }
    const command = ['container', APPLICATION, '--id', who, ...QUIET, ...argv]
    const container = await startGantry(command, { env, ...(through && { through }) })
    this.containers.set(who, container)
    this.ending(() => container.child.end())
    return container
  }

  async startProxy(...argv: string[]): Promise<Gantry> {
    this.proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', ...QUIET, ...argv], { env: this.#env })
    this.ending(() => this.proxy.child.end())
    return this.proxy
  }

  async relay(port: number, rate?: number): Promise<Relay> {
    const relay = await startRelay(port, rate)
    this.ending(() => relay.stop())
    return relay
  }

  /** One request on its own connection; the response begins with the container's id. */
  async ask(path: string, options: { method?: string; until?: string } = {}): Promise<Asked> {
    const id = String(++this.#ids)
    const client = await HttpClient.connect({ port: this.proxy.port, host: '127.0.0.1' })
    const { method = 'GET', until } = options
    const query = `id=${id}${until === undefined ? '' : `&until=${encodeURIComponent(until)}`}`
    const answer = client
      .fetch({ method, target: `${path}${path.includes('?') ? '&' : '?'}${query}` })
      .then(({ status, complete, body }) => ({ status, complete, body: body.toString('latin1') }))
      .finally(() => client.destroy())
    answer.catch(() => {})
    return { id, answer }
  }

  /** The containers that ran a request, one entry for each run. */
  runs(id: string): string[] {
    return readFileSync(this.#runsFile, 'utf8')
      .split('\n')
      .filter((line) => line.endsWith(` ${id}`))
      .map((line) => line.split(' ')[0]!)
  }

  /** Resolves with the container that runs a request. */
  async runner(id: string): Promise<string> {
    while (this.runs(id).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    return this.runs(id)[0]!
  }

  /** Repeats a request until `who` responds. */
  async answeredBy(who: string): Promise<void> {
    for (;;) {
      const { answer } = await this.ask('/hello')
      if ((await answer).body === who) return
    }
  }

  /** The number of times that the proxy logged each message. */
  logged(message: string): Record<string, unknown>[] {
    return this.proxy.child.log.filter(({ msg }) => msg === message)
  }
}

export interface Asked {
  readonly id: string
  readonly answer: Promise<{ status: number; complete: boolean; body: string }>
}
