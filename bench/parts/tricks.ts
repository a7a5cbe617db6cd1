/**
 * `node bench/parts/tricks.ts NAME`: what a performance trick gains. Runs Gantry from this tree and from a copy in
 * which the trick is switched off, in alternating rounds. docs/performance-tricks.md explains the tricks.
 */

import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runProgram } from '../measure/ending.ts'
import { closedLoop, warmUp } from '../measure/load.ts'
import { Workshop } from '../measure/workshop.ts'
import { parseIntegers, UsageError } from '../options.ts'
import { container, pair } from '../peers/gantry.ts'
import { type Framework, type Peer, type Running, thisTree } from '../peers/peer.ts'
import { median, pairedRatios, roundOrder, spread } from '../report/statistics.ts'
import { places, table } from '../report/table.ts'

export interface Trick {
  /** The file that has the trick. */
  readonly file: string
  /** A piece of that file, and what stands there when the trick is switched off; undefined: all of the file. */
  readonly on: string | undefined
  readonly off: string
  readonly peer: Peer
  readonly framework: Framework | undefined
  /** Seconds without requests before each round. */
  readonly quiet: number
}

export const tricks: Readonly<Record<string, Trick>> = {
  'response-batch': {
    file: 'protocol/net/transport.ts',
    on: 'this.#batch.add(this)',
    off: 'process.nextTick(() => this.flushBatched())',
    peer: pair,
    framework: undefined,
    quiet: 0,
  },
  'stream-table': {
    file: 'protocol/frames/codec/stream-table.ts',
    on: undefined,
    off: `type Stream = { readonly id: number }
export class StreamTable {
  readonly #streams: Map<number, Stream> = new Map()
  get size(): number { return this.#streams.size }
  get(id: number): Stream | undefined { return this.#streams.get(id) }
  add(stream: Stream): void { this.#streams.set(stream.id, stream) }
  delete(stream: Stream): void { this.#streams.delete(stream.id) }
  values(): Stream[] { return [...this.#streams.values()] }
}
`,
    peer: pair,
    framework: undefined,
    quiet: 0,
  },
  'light-fetch': {
    file: 'interfaces/fetch/light.ts',
    on: 'export function installLightFetch(): () => void {',
    off: 'export function installLightFetch(): () => void {\n  if (process.pid > 0) return () => {}',
    peer: container,
    framework: 'hono',
    quiet: 0,
  },
  'lazy-duplex': {
    file: 'interfaces/node/client-socket.ts',
    on: '    super()\n',
    off: '    super()\n    this.initialize()\n',
    peer: container,
    framework: 'express',
    quiet: 0,
  },
  'compiled-code': {
    file: 'process/compiled-code.ts',
    on: 'export function keepCompiledCode(): void {',
    off: 'export function keepCompiledCode(): void {\n  if (process.pid > 0) return',
    peer: container,
    framework: 'express',
    // V8 drops compiled code after some 8 s in which little happens.
    quiet: 12,
  },
}

/**
 * The source of a file without a trick.
 *
 * @throws Error if the trick is not in `source` exactly once
 */
export function withoutTrick({ file, on, off }: Trick, source: string): string {
  if (on === undefined) return off
  if (source.split(on).length !== 2) throw new Error(`${file}: expected ${JSON.stringify(on)} once`)
  return source.replace(on, () => off)
}

const SKIPPED: ReadonlySet<string> = new Set(['.git', 'node_modules', 'results', 'installed', 'test'])

function copyWithout(trick: Trick, root: string): void {
  cpSync(thisTree, root, {
    recursive: true,
    filter: (path) => path === thisTree || !SKIPPED.has(path.slice(path.lastIndexOf('/') + 1)),
  })
  symlinkSync(join(thisTree, 'node_modules'), join(root, 'node_modules'))
  const path = join(root, trick.file)
  writeFileSync(path, withoutTrick(trick, readFileSync(path, 'utf8')))
}

interface Contestant extends Running {
  readonly cpu: number[]
  readonly rate: number[]
}

async function main(): Promise<void> {
  const [name = '', ...rest] = process.argv.slice(2)
  const trick = tricks[name]
  if (trick === undefined) throw new UsageError(`expected a trick, one of ${Object.keys(tricks).join(', ')}`)
  const { rounds, seconds, connections } = parseIntegers(rest, {
    rounds: { default: 10, most: 1_000 },
    seconds: { default: 2, most: 600 },
    connections: { default: 64, most: 10_000 },
  })
  const workshop = new Workshop()
  try {
    const root = workshop.path('tree')
    copyWithout(trick, root)
    const start = async (label: string, tree: string): Promise<Contestant> => {
      const site = { label, workshop, accessLog: 'off', root: tree, framework: trick.framework } as const
      return { ...(await trick.peer.start(site)), cpu: [], rate: [] }
    }
    const [on, off] = [await start('on', thisTree), await start('off', root)]
    for (const { port } of [on, off]) await warmUp(port, seconds)
    for (let at = 0; at < rounds; at++) {
      for (const contestant of roundOrder([on, off], at)) {
        if (trick.quiet > 0) await delay(trick.quiet * 1000)
        const { port } = contestant
        const round = await closedLoop(contestant, { port, path: '/', connections, seconds, upload: 0 })
        contestant.cpu.push(round.cpu)
        contestant.rate.push(round.requestsPerSecond)
      }
    }
    const row = (title: string, a: readonly number[], b: readonly number[]): string[] => {
      const ratio = spread(pairedRatios(a, b))
      const quartiles = `${places(ratio.low, 2)} to ${places(ratio.high, 2)}`
      return [title, places(median(a), 1), places(median(b), 1), places(ratio.median, 2), quartiles]
    }
    const head = [`${name}: ${trick.peer.name}`, 'with', 'without', 'ratio', 'half of all rounds']
    const rows = [row('CPU µs/request', on.cpu, off.cpu), row('requests/s', on.rate, off.rate)]
    process.stdout.write(`${table(head, rows)}\n`)
  } finally {
    await workshop.close()
  }
}

if (import.meta.main) await runProgram(main)
