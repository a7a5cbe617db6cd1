/**
 * The Compose file of this repository as a project of the test, and commands of the engine on it, under continuous
 * load.
 */

import { execFile, execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DockerComposeEnvironment, type StartedDockerComposeEnvironment } from 'testcontainers'
import { repositoryFile } from '../support/child.ts'
import { Load, type LoadOptions, Runs } from '../support/load.ts'

const run = promisify(execFile)

/**
 * Runs the engine's command line; resolves with its output. Asynchronous, so that the clients in this process continue.
 */
export async function docker(...argv: string[]): Promise<string> {
  const { stdout } = await run('docker', argv, { cwd: repositoryFile('.'), maxBuffer: 64 * 1024 * 1024 })
  return stdout.trim()
}

/** Whether npm reaches a registry: the images of the examples install packages. */
export function registry(): boolean {
  try {
    execFileSync('npm', ['view', 'escape-html', 'version'], { stdio: 'pipe', timeout: 20_000 })
    return true
  } catch {
    return false
  }
}

/**
 * Builds `gantry/proxy` and `gantry/container`, and on the latter `IMAGE:1` and `IMAGE:2`, which respond alike, and
 * `IMAGE:bad`, which does not start.
 */
export const IMAGE = 'gantry/test-application'

/**
 * Builds images of an application that listens itself: `IMAGE:node` sets `--interface node` in its environment; for
 * `IMAGE:silent` the command line must set it.
 */
export async function buildNodeImages(): Promise<void> {
  for (const [tag, value] of [
    ['node', 'node'],
    ['silent', ''],
  ] as const) {
    const context = repositoryFile('test/docker/node-image')
    await docker('build', '-q', '--build-arg', `INTERFACE=${value}`, '-t', `${IMAGE}:${tag}`, context)
  }
}

export async function buildImages(): Promise<void> {
  for (const target of ['proxy', 'container'])
    await docker('build', '-q', '--target', target, '-t', `gantry/${target}`, '.')
  for (const version of ['1', '2', 'bad']) {
    const context = repositoryFile('test/docker/image')
    await docker('build', '-q', '--build-arg', `VERSION=${version}`, '-t', `${IMAGE}:${version}`, context)
  }
}

/** One run of `/count`, as the container recorded it. */
export interface Run {
  readonly id: string
  readonly container: string
  /** Time in ms of the clock of the engine's host. */
  readonly at: number
  readonly version: string
}

export class Project {
  readonly name: string = `gantry-test-${randomBytes(3).toString('hex')}`
  readonly runs: Runs
  readonly #directory: string = mkdtempSync(join(tmpdir(), 'gantry-runs-'))
  readonly #environment: Record<string, string>
  readonly #profiles: readonly string[]
  readonly #files: readonly string[]
  readonly #counts: Record<string, number> = {}
  #started: StartedDockerComposeEnvironment | undefined
  #seed = 1

  constructor(profiles: readonly string[] = [], files: readonly string[] = []) {
    this.runs = new Runs(join(this.#directory, 'runs'))
    // The user of the containers writes here, with any user id.
    chmodSync(this.#directory, 0o777)
    chmodSync(this.runs.path, 0o666)
    this.#profiles = profiles
    this.#files = ['docker-compose.yml', ...files, 'test/docker/compose.yml']
    this.#environment = {
      GANTRY_PORT: '0',
      NGINX_UWSGI_PORT: '0',
      NGINX_HTTP_PORT: '0',
      NGINX_PROXIES_PORT: '0',
      GANTRY_ACCESS_LOG: 'off',
      GANTRY_IMAGE: `${IMAGE}:1`,
      TEST_RUNS: this.#directory,
    }
  }

  /** Starts the project, and waits until every service is healthy. */
  async up(): Promise<void> {
    this.#started = await new DockerComposeEnvironment(repositoryFile('.'), [...this.#files])
      .withProjectName(this.name)
      .withEnvironment(this.#environment)
      .withProfiles(...this.#profiles)
      .withClientOptions({ commandOptions: ['--no-build'] })
      .up()
  }

  async down(): Promise<void> {
    await this.#started?.down({ timeout: 15_000, removeVolumes: true })
    rmSync(this.#directory, { recursive: true, force: true })
  }

  /** Runs `docker compose` on this project. */
  compose(argv: readonly string[], environment: Record<string, string> = {}): Promise<string> {
    return this.command('docker', ['compose', ...argv], environment)
  }

  /** Runs a program that runs `docker compose` on this project. Resolves with its output. */
  async command(program: string, argv: readonly string[], environment: Record<string, string> = {}): Promise<string> {
    const { stdout } = await run(program, [...argv], {
      cwd: repositoryFile('.'),
      env: {
        ...process.env,
        COMPOSE_PROJECT_NAME: this.name,
        COMPOSE_FILE: this.#files.join(':'),
        COMPOSE_PROFILES: this.#profiles.join(','),
        ...this.#environment,
        ...environment,
      },
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout.trim()
  }

  /** Runs `up -d --scale SERVICE=COUNT …`; services that are not named keep their number of containers. */
  async scale(counts: Record<string, number>, environment: Record<string, string> = {}): Promise<void> {
    Object.assign(this.#counts, counts)
    const scales = Object.entries(this.#counts).flatMap(([service, count]) => ['--scale', `${service}=${count}`])
    await this.compose(['up', '-d', '--no-build', ...scales], environment)
  }

  /** The containers of a service, by the names in their responses (the first 12 digits of their ids). */
  async containers(service: string): Promise<string[]> {
    const ids = await this.compose(['ps', '-q', service])
    return ids
      .split('\n')
      .filter((id) => id !== '')
      .map((id) => id.slice(0, 12))
  }

  /** The host's port of a service. It changes at a restart. */
  async port(service: string, port: number, index = 1): Promise<number> {
    const printed = await this.compose(['port', '--index', String(index), service, String(port)])
    return Number(printed.slice(printed.lastIndexOf(':') + 1))
  }

  load(port: number, options: Partial<LoadOptions> = {}): Load {
    const seed = this.#seed++
    return new Load({ port, seed, clients: 8, body: 150_000, work: 20, ...options })
  }

  /** The recorded runs, in order. */
  runsSoFar(): Run[] {
    return readFileSync(this.runs.path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [, id = '', container = '', at = '', version = ''] = line.split(' ')
        return { id, container, at: Number(at), version }
      })
  }

  /** Resolves when each of `containers` has run a request after the time `after`, ms. */
  async ran(containers: readonly string[], after = 0): Promise<void> {
    await until(() => {
      const seen = new Set(this.runsSoFar().flatMap(({ container, at }) => (at > after ? [container] : [])))
      return containers.every((name) => seen.has(name))
    })
  }

  /** For each container, the time from its start to its first run, ms. */
  async firstRuns(containers: readonly string[]): Promise<number[]> {
    const runs = this.runsSoFar()
    const times: number[] = []
    for (const name of containers) {
      const started = Date.parse(await docker('inspect', '--format', '{{.State.StartedAt}}', name))
      times.push((runs.find(({ container }) => container === name)?.at ?? Number.NaN) - started)
    }
    return times
  }

  /** The lines of a container's log. */
  async log(container: string): Promise<Record<string, unknown>[]> {
    const text = await docker('logs', container)
    return text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  forgetRuns(): void {
    writeFileSync(this.runs.path, '')
  }
}

/** Interval of checks of a state without events, ms. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

/** Timeout of a wait, ms: enough for a busy machine, and less than the timeout of a test. */
const PATIENCE = 60_000

/** Checks repeatedly until `holds` resolves with true; rejects after the timeout. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  const late = Date.now() + PATIENCE
  while (!(await holds())) {
    if (Date.now() > late) throw new Error(`it does not come to this: ${holds}`)
    await pause()
  }
}
