/**
 * Another host, as a Linux network namespace. A test can make it drop every packet, as a host that is down or a failed
 * network does.
 */

import { execFileSync } from 'node:child_process'

function run(command: string, ...argv: string[]): void {
  execFileSync(command, argv, { stdio: ['ignore', 'ignore', 'pipe'] })
}

let made = 0

export class OtherHost {
  /** Its address, as seen from here; `here` is this host's address, as seen from there. */
  readonly address: string
  readonly here: string
  readonly #name: string

  constructor() {
    const number = (process.pid * 8 + made++) % 0x8000
    this.#name = `gantry${number}`
    // From 198.18.0.0/15, which RFC 2544 reserves for tests.
    const [high, low] = [number >>> 6, (number & 0x3f) << 2]
    this.here = `198.18.${high & 0xff}.${low + 1}`
    this.address = `198.18.${high & 0xff}.${low + 2}`
    const [near, far] = [`${this.#name}a`, `${this.#name}b`]
    run('ip', 'netns', 'add', this.#name)
    try {
      run('ip', 'link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', this.#name)
      run('ip', 'addr', 'add', `${this.here}/30`, 'dev', near)
      run('ip', 'link', 'set', near, 'up')
      run('ip', '-n', this.#name, 'addr', 'add', `${this.address}/30`, 'dev', far)
      run('ip', '-n', this.#name, 'link', 'set', far, 'up')
      this.#filter('-N', 'HOLE')
    } catch (error) {
      this.remove()
      throw error
    }
  }

  /** A command line that runs another command there. */
  get through(): readonly string[] {
    return ['ip', 'netns', 'exec', this.#name]
  }

  /** Drops every packet to the host from now on, so that no answer returns. Neither end is notified. */
  drop(): void {
    this.#filter('-A', 'INPUT', '-j', 'DROP')
  }

  /** Lets packets pass again. */
  heal(): void {
    this.#filter('-D', 'INPUT', '-j', 'DROP')
  }

  remove(): void {
    run('ip', 'netns', 'del', this.#name)
    // Connections that cannot end keep the namespace for a while. Its network link is removed with it.
    try {
      run('ip', 'link', 'del', `${this.#name}a`)
    } catch {
      // The namespace was removed already.
    }
  }

  #filter(...argv: string[]): void {
    run('ip', 'netns', 'exec', this.#name, 'iptables', ...argv)
  }
}

/** The reason to skip tests with a namespace; undefined if one can be created. */
export const noNetwork: string | undefined = reasonAgainst()

function reasonAgainst(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are Linux’s'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    // The test needs both commands, and the permission to use them.
    new OtherHost().remove()
    return undefined
  } catch (error) {
    return `no network namespace can be made (iproute2 and iptables are needed): ${String((error as Error).message)
      .split('\n')
      .slice(0, 2)
      .join(' ')}`
  }
}
