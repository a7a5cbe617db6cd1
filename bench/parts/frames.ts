/**
 * `node bench/parts/frames.ts [--rounds 60] [--requests 800] [--against FOLDER]`: CPU microseconds per request over a
 * frames link inside this process, for this tree and another checkout. Rounds alternate; it prints medians and ratios.
 */

import { type Duplex, duplexPair } from 'node:stream'
import { pathToFileURL } from 'node:url'
import type { Application, Headers } from '../../protocol/contract/application.ts'
import { runProgram } from '../measure/ending.ts'
import { parseIntegers, UsageError } from '../options.ts'
import { thisTree } from '../peers/peer.ts'
import { median, pairedRatios, quantile, roundOrder } from '../report/statistics.ts'

const plain: Headers = [['Content-Type', 'text/plain']]
const HELLO = Buffer.from('Hello world!\n')
const CHUNK = Buffer.alloc(16 * 1024, 'x')
/** Requests in flight on the link. */
const CONCURRENCY = 16

const lines = [
  ['Host', 'www.example.org'],
  ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0'],
  ['Accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
  ['Accept-Language', 'en-GB,en;q=0.5'],
  ['Cookie', 'session=4f1c9d2be07a4c58a1b0; theme=dark'],
].flat()

interface Case {
  readonly name: string
  readonly upload: Buffer | undefined
  readonly application: Application
}

const cases: readonly Case[] = [
  {
    name: 'hello, one frame each way',
    upload: undefined,
    application: (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return [HELLO]
    },
  },
  {
    name: 'response of 8 chunks of 16 KiB',
    upload: undefined,
    application: async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      for (let at = 0; at < 8; at++) yield CHUNK
    },
  },
  {
    name: 'POST of 16 KiB, read whole',
    upload: CHUNK,
    application: async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('200 OK', [...plain, ['Content-Length', String(body.length)]])
      return [body]
    },
  },
]

/** The modules of one checkout; both are loaded into this process. */
async function load(root: string): Promise<{
  caller: typeof import('../../protocol/frames/caller.ts')
  server: typeof import('../../protocol/frames/server.ts')
  environ: typeof import('../../protocol/contract/environ.ts')
  input: typeof import('../../protocol/contract/input.ts')
  clock: typeof import('../../protocol/net/clock.ts')
  log: typeof import('../../protocol/log/logger.ts')
}> {
  const url = (path: string): string => pathToFileURL(`${root}/protocol/${path}`).href
  return {
    caller: await import(url('frames/caller.ts')),
    server: await import(url('frames/server.ts')),
    environ: await import(url('contract/environ.ts')),
    input: await import(url('contract/input.ts')),
    clock: await import(url('net/clock.ts')),
    log: await import(url('log/logger.ts')),
  }
}

interface Contestant {
  readonly name: string
  readonly rounds: number[]
  request(): Promise<void>
  close(): void
}

async function contestant(name: string, root: string, { application, upload }: Case): Promise<Contestant> {
  const { caller, server, environ, input, clock, log } = await load(root)
  const streams: [Duplex, Duplex] = duplexPair()
  const facts = { multithread: true, multiprocess: false, runOnce: false }
  const identity = { id: 'bench', worker: 0, workers: 1, slots: CONCURRENCY, limits: {} }
  const shared = { clock: clock.systemClock, log: log.silent }
  server.serveFrames(streams[1], application, {
    ...shared,
    host: { ...shared, deadlines: new clock.Deadlines(clock.systemClock), draining: false, settled() {} },
    process: facts,
    identity,
    slots: server.fixedSlots(CONCURRENCY),
  })
  const { promise: granted, resolve } = Promise.withResolvers<void>()
  const calls = new caller.Caller(streams[0], {
    ...shared,
    onChange: () => {
      if (calls.state === 'ready' && calls.grant > 0) resolve()
    },
  })
  await granted
  const headers = upload ? [...lines, 'Content-Length', String(upload.length)] : lines
  const request = async (): Promise<void> => {
    const body = new input.RequestInput(upload ? { wanted() {}, consumed() {} } : null)
    if (upload) {
      body.push(upload)
      body.end()
    }
    const sent = environ.environFromHttp(
      { method: upload ? 'POST' : 'GET', target: '/a/b?c=d', minor: 1, headers: [...headers], upgrade: false },
      { remoteAddress: '192.0.2.1', remotePort: '40000', serverName: 'a', serverPort: '80', scheme: 'http' },
      facts,
    )
    sent['wsgi.input'] = body
    const response = await calls.call(sent, () => async () => {}, new caller.ReplayableBody(body))
    for await (const chunk of response as AsyncIterable<Uint8Array>) void chunk
  }
  return { name, rounds: [], request, close: () => calls.destroy() }
}

/** CPU microseconds per request. The count is fixed, so that a busy machine changes the time and not the work. */
async function round({ request }: Contestant, requests: number): Promise<number> {
  const cpu = process.cpuUsage()
  for (let count = 0; count < requests; count += CONCURRENCY) {
    await Promise.all(Array.from({ length: CONCURRENCY }, request))
  }
  const { user, system } = process.cpuUsage(cpu)
  return (user + system) / requests
}

async function main(): Promise<void> {
  const args = process.argv.slice(2)
  const at = args.indexOf('--against')
  const [, other] = at === -1 ? [] : args.splice(at, 2)
  if (at !== -1 && other === undefined) throw new UsageError('--against needs the folder of another checkout')
  const { rounds, requests } = parseIntegers(args, {
    rounds: { default: 60, most: 10_000 },
    requests: { default: 800, most: 1_000_000 },
  })
  for (const each of cases) {
    const all = [await contestant('this tree', thisTree, each)]
    if (other !== undefined) all.push(await contestant(other, other, each))
    // Compiled before they are measured.
    for (let warm = 0; warm < 5; warm++) for (const one of all) await round(one, requests)
    for (let index = 0; index < rounds; index++) {
      for (const one of roundOrder(all, index)) one.rounds.push(await round(one, requests))
    }
    console.log(each.name)
    for (const one of all) {
      const ratios = pairedRatios(one.rounds, all.at(-1)!.rounds)
      const spread = `${quantile(ratios, 0.25).toFixed(3)} to ${quantile(ratios, 0.75).toFixed(3)}`
      console.log(
        `  ${median(one.rounds).toFixed(1).padStart(6)} µs CPU  ratio ${median(ratios).toFixed(3)} (${spread})  ${one.name}`,
      )
      one.close()
    }
  }
}

await runProgram(main)
