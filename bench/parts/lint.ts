/**
 * `node bench/parts/lint.ts [--rounds 15] [--milliseconds 200]`: CPU and wall microseconds per request that `lint`
 * adds, through an exchange in this process: without lint, with it, and with it on both sides of middleware. No wire
 * hides it.
 */

import type { Application, Headers } from '../../protocol/contract/application.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { lint } from '../../protocol/contract/lint.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import { silent } from '../../protocol/log/logger.ts'
import { Deadlines, systemClock } from '../../protocol/net/clock.ts'
import { runProgram } from '../measure/ending.ts'
import { parseIntegers } from '../options.ts'
import { median, roundOrder } from '../report/statistics.ts'

const plain: Headers = [['Content-Type', 'text/plain']]
const HELLO = Buffer.from('Hello world!\n')
const KIB = Buffer.alloc(1024, 'x')

/** What a browser sends, by and large. */
const headers = [
  ['Host', 'www.example.org'],
  ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0'],
  ['Accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
  ['Accept-Language', 'en-GB,en;q=0.5'],
  ['Accept-Encoding', 'gzip, deflate, br, zstd'],
  ['Cookie', 'session=4f1c9d2be07a4c58a1b0; theme=dark'],
].flat()

interface Case {
  readonly name: string
  readonly upload?: Buffer
  readonly application: Application
}

const cases: readonly Case[] = [
  {
    name: 'hello, an array',
    application: (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return [HELLO]
    },
  },
  {
    name: 'async generator, 8 chunks of 1 KiB',
    application: async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      for (let at = 0; at < 8; at++) yield KIB
    },
  },
  {
    name: 'POST of 1 KiB, read whole',
    upload: KIB,
    application: async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('200 OK', [...plain, ['Content-Length', String(body.length)]])
      return [body]
    },
  },
]

const arrangements: readonly { readonly name: string; watch(application: Application): Application }[] = [
  { name: 'without', watch: (application) => application },
  { name: 'lint', watch: (application) => lint(application) },
  { name: 'both sides', watch: (application) => lint((...call) => lintedInside(application)(...call)) },
]

/** Middleware that passes everything on, with lint on both of its sides. */
const inside: WeakMap<Application, Application> = new WeakMap()
function lintedInside(application: Application): Application {
  let linted = inside.get(application)
  if (!linted) {
    linted = lint(application)
    inside.set(application, linted)
  }
  return linted
}

/** Takes everything, at once, and keeps nothing. */
const sink: ResponseSink = {
  inform() {},
  head: () => true,
  data: () => true,
  end() {},
  flush() {},
  abort(error) {
    throw error
  },
  upgrade() {
    throw new TypeError('no upgrade was asked for')
  },
}
const facts = {
  remoteAddress: '192.0.2.1',
  remotePort: '40000',
  serverName: 'www.example.org',
  serverPort: '80',
  scheme: 'http',
} as const
const server = { multithread: true, multiprocess: false, runOnce: false }

function request(application: Application, upload: Buffer | undefined): Promise<void> {
  return new Promise((resolve) => {
    const host: ExchangeHost = {
      clock: systemClock,
      deadlines,
      log: silent,
      draining: false,
      settled: () => resolve(),
    }
    const lines = upload ? [...headers, 'Content-Length', String(upload.length)] : [...headers]
    const method = upload ? 'POST' : 'GET'
    const environ = environFromHttp(
      { method, target: '/a/b?c=d', minor: 1, headers: lines, upgrade: false },
      facts,
      server,
    )
    const input = new RequestInput(upload ? { wanted() {}, consumed() {} } : null)
    if (upload) {
      input.push(upload)
      input.end()
    }
    new Exchange(application, environ, input, sink, host).run()
  })
}

const deadlines = new Deadlines(systemClock)

interface Round {
  readonly cpu: number
  readonly wall: number
}

async function round(
  { application, upload }: { application: Application; upload?: Buffer },
  ms: number,
): Promise<Round> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  let count = 0
  while (performance.now() - start < ms) {
    for (let at = 0; at < 50; at++) await request(application, upload)
    count += 50
  }
  const wall = (performance.now() - start) * 1000
  const { user, system } = process.cpuUsage(cpu)
  return { cpu: (user + system) / count, wall: wall / count }
}

async function main(): Promise<void> {
  const { rounds, milliseconds: ms } = parseIntegers(process.argv.slice(2), {
    rounds: { default: 15, most: 1_000 },
    milliseconds: { default: 200, most: 60_000 },
  })
  for (const { name, application, upload } of cases) {
    const contestants = arrangements.map((arrangement) => ({
      name: arrangement.name,
      application: arrangement.watch(application),
      ...(upload && { upload }),
      rounds: [] as Round[],
    }))
    // Compiled before they are measured.
    for (const contestant of contestants) await round(contestant, ms)
    for (let index = 0; index < rounds; index++) {
      for (const contestant of roundOrder(contestants, index)) contestant.rounds.push(await round(contestant, ms))
    }
    console.log(name)
    const bare = median(contestants[0]!.rounds.map(({ cpu }) => cpu))
    for (const { name: arrangement, rounds: measured } of contestants) {
      const cpu = median(measured.map((each) => each.cpu))
      const wall = median(measured.map((each) => each.wall))
      const figures = [cpu, wall, cpu - bare].map((value) => value.toFixed(1).padStart(6))
      console.log(`  ${arrangement.padEnd(12)}${figures[0]} µs CPU  ${figures[1]} µs  (+${figures[2]!.trim()} µs CPU)`)
    }
  }
}

await runProgram(main)
