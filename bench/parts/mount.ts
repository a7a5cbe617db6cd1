/**
 * `node bench/parts/mount.ts [--rounds 21]`: nanoseconds per request that `mount` adds, against the bare application
 * and a loop over all prefixes. Rounds alternate; it prints medians. A request is an environ that is called, without
 * sockets.
 */

import { mount } from '../../middleware/routing/mount.ts'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import { runProgram } from '../measure/ending.ts'
import { parseIntegers } from '../options.ts'
import { median, roundOrder } from '../report/statistics.ts'

const REQUESTS = 200_000

const body = [Buffer.from('Hello world!\n')]
const hello: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return body
}
const startResponse = () => async (): Promise<void> => {}

/** `/app/0007/items`: they share beginnings, as the prefixes of one house do. */
function prefixes(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `/app/${String(at).padStart(4, '0')}/items`)
}

function table(places: readonly string[]): Record<string, Application> {
  return Object.fromEntries(places.map((place) => [place, hello]))
}

/** What a list of routes does. */
function looping(places: readonly string[]): Application {
  const longestFirst = places.toSorted((one, other) => other.length - one.length)
  return (environ, start) => {
    const path = environ.PATH_INFO
    const prefix = longestFirst.find(
      (one) => path.startsWith(one) && (path.length === one.length || path[one.length] === '/'),
    )
    if (prefix === undefined) throw new Error('not found')
    environ.SCRIPT_NAME += prefix
    environ.PATH_INFO = path.slice(prefix.length)
    return hello(environ, start)
  }
}

interface Arrangement {
  readonly name: string
  readonly application: Application
  /** Paths that are asked for in turn. */
  readonly paths: readonly string[]
  readonly host: string
  readonly nanoseconds: number[]
}

function arrangement(
  name: string,
  application: Application,
  paths: readonly string[],
  host = 'example.com',
): Arrangement {
  return { name, application, paths, host, nanoseconds: [] }
}

const thousand = prefixes(1_000)
const inside = thousand.map((prefix) => `${prefix}/x/y`)
const hosts = Array.from({ length: 1_000 }, (_, at) => `h${at}.example.com/`)

const arrangements: readonly Arrangement[] = [
  arrangement('bare application', hello, inside),
  arrangement('mount, 1 prefix: /', mount({ '/': hello }), inside),
  arrangement(
    'mount, 10 prefixes',
    mount(table(prefixes(10))),
    prefixes(10).map((prefix) => `${prefix}/x/y`),
  ),
  arrangement('mount, 1,000 prefixes', mount(table(thousand)), inside),
  arrangement('mount, 1,000 prefixes and 1,000 hosts', mount(table([...thousand, ...hosts])), inside),
  arrangement('mount, 1,000 hosts', mount(table([...hosts, '/'])), inside, 'h500.example.com'),
  arrangement(
    'mount, 1,000 prefixes, slashes too many',
    mount(table(thousand)),
    inside.map((path) => `/${path}`),
  ),
  arrangement('mount, 1,000 prefixes, none fits', mount(table(thousand), { notFound: hello }), ['/app/0007/item/x']),
  arrangement('a loop over 1,000 prefixes', looping(thousand), inside),
]

const process1 = { multithread: true, multiprocess: false, runOnce: false }
const facts = {
  remoteAddress: '127.0.0.1',
  remotePort: '40000',
  serverName: 'localhost',
  serverPort: '80',
  scheme: 'http',
} as const

function environOf(host: string): Environ {
  const head = { method: 'GET', target: '/', minor: 1 as const, headers: ['Host', host], upgrade: false }
  return environFromHttp(head, facts, process1)
}

/** One environ is used again, its two path variables set anew: what it costs to make one is not asked here. */
function round({ application, paths, host }: Arrangement, requests: number): number {
  const environ = environOf(host)
  const began = process.hrtime.bigint()
  for (let at = 0; at < requests; at++) {
    environ.SCRIPT_NAME = ''
    environ.PATH_INFO = paths[at % paths.length]!
    application(environ, startResponse)
  }
  return Number(process.hrtime.bigint() - began) / requests
}

/** The loop is that much slower. */
const requestsOf = ({ name }: Arrangement): number => (name.startsWith('a loop') ? REQUESTS / 20 : REQUESTS)

function main(): void {
  const { rounds } = parseIntegers(process.argv.slice(2), { rounds: { default: 21, most: 1_000 } })
  for (const one of arrangements) round(one, requestsOf(one))
  for (let index = 0; index < rounds; index++) {
    for (const one of roundOrder(arrangements, index)) one.nanoseconds.push(round(one, requestsOf(one)))
  }
  const bare = median(arrangements[0]!.nanoseconds)
  console.log(`ns per request, median of ${rounds} rounds of ${REQUESTS.toLocaleString('en')} requests\n`)
  for (const { name, nanoseconds } of arrangements) {
    const middle = median(nanoseconds)
    console.log(`${name.padEnd(42)}${middle.toFixed(0).padStart(7)}   +${(middle - bare).toFixed(0)}`)
  }
}

await runProgram(main)
