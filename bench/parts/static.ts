/**
 * `node bench/parts/static.ts`: files of 1 MiB and 10 KiB by staticFiles, from the container's HTTP port and through
 * the pair, against nginx with `sendfile`. Rounds alternate; it prints medians and ratios of neighbouring rounds.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { runProgram } from '../measure/ending.ts'
import { closedLoop } from '../measure/load.ts'
import { findProgram, programs } from '../measure/programs.ts'
import { freePort, type Server, Workshop } from '../measure/workshop.ts'
import { parseIntegers } from '../options.ts'
import { entryPoint } from '../peers/gantry.ts'
import { app, type Running, running, thisTree } from '../peers/peer.ts'
import { median, pairedRatio, roundOrder } from '../report/statistics.ts'
import { figure, places } from '../report/table.ts'

type Round = Awaited<ReturnType<typeof closedLoop>>

const files = [
  { name: '1MiB.bin', size: 1024 * 1024, connections: 16 },
  { name: '10KiB.bin', size: 10 * 1024, connections: 64 },
]

type Served = Running & { readonly title: string }

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const gantry = entryPoint(thisTree)
const application = app('static.ts')

async function main(): Promise<void> {
  const options = parseIntegers(process.argv.slice(2), {
    rounds: { default: 5, most: 1_000 },
    seconds: { default: 2, most: 600 },
  })
  const workshop = new Workshop()
  try {
    const folder = workshop.path('files')
    mkdirSync(folder)
    for (const { name, size } of files) writeFileSync(join(folder, name), randomBytes(size))
    process.env['GANTRY_BENCH_FILES'] = folder
    const served = await startAll(workshop, folder)
    for (const file of files) await measure(served, file, options)
  } finally {
    await workshop.close()
  }
}

async function startAll(workshop: Workshop, folder: string): Promise<Served[]> {
  const start = (name: string, listen: string, endpoint: number | string, args: readonly string[]): Promise<Server> =>
    workshop.start({
      name,
      command: process.execPath,
      args: [gantry, ...args, '--listen', listen, '--access-log', 'off', '--drain-timeout', '1s'],
      endpoints: [endpoint],
    })
  const [own, front] = [await freePort(), await freePort()]
  const socket = workshop.path('container.sock')
  const behind = await start('behind', `unix:${socket}`, socket, ['container', application])
  const served: Served[] = [
    {
      title: 'container’s own HTTP port',
      ...running(own, await start('container', `127.0.0.1:${own}`, own, ['container', application])),
    },
    {
      title: 'proxy → frames → container',
      ...running(
        front,
        await start('proxy', `127.0.0.1:${front}`, front, ['proxy', '--upstream', `unix:${socket}`]),
        behind,
      ),
    },
  ]
  const nginx = findProgram(programs.nginx.names)
  if (nginx === undefined) say('nginx is not installed (Debian package: nginx-light): nothing to compare with')
  else served.unshift(await startNginx(nginx, workshop, folder))
  return served
}

async function startNginx(program: string, workshop: Workshop, folder: string): Promise<Served> {
  const port = await freePort()
  const own = workshop.path('nginx')
  mkdirSync(own)
  const temporary = ['client_body', 'proxy', 'uwsgi', 'fastcgi', 'scgi']
  const configuration = join(own, 'nginx.conf')
  writeFileSync(
    configuration,
    `daemon off; worker_processes 1; pid ${own}/nginx.pid; error_log ${own}/error.log warn;
${userInfo().uid === 0 ? 'user root root;' : ''}
events { worker_connections 4096; }
http {
  ${temporary.map((name) => `${name}_temp_path ${own}/${name};`).join(' ')}
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  server { listen 127.0.0.1:${port} backlog=4096; root ${folder}; }
}
`,
  )
  const server = await workshop.start({
    name: 'nginx-static',
    command: program,
    args: ['-c', configuration],
    endpoints: [port],
    signal: 'SIGTERM',
  })
  return { title: 'nginx, sendfile', ...running(port, server) }
}

async function measure(
  served: readonly Served[],
  file: (typeof files)[number],
  options: { readonly rounds: number; readonly seconds: number },
): Promise<void> {
  say(`\n${file.name}, ${file.connections} connections`)
  const plan = { path: `/${file.name}`, connections: file.connections, upload: 0 }
  const one = (target: Served, seconds: number): Promise<Round> =>
    closedLoop(target, { ...plan, port: target.port, seconds })
  for (const target of served) await one(target, 1)
  const rounds = new Map<Served, Round[]>(served.map((target) => [target, []]))
  for (let index = 0; index < options.rounds; index++) {
    for (const target of roundOrder(served, index)) {
      rounds.get(target)!.push(await one(target, options.seconds))
    }
  }
  const rate = (target: Served): number[] => rounds.get(target)!.map(({ requestsPerSecond }) => requestsPerSecond)
  for (const target of served) {
    const own = rounds.get(target)!
    const errors = own.reduce((sum, round) => sum + round.errors, 0)
    const ratio =
      target === served[0] ? '' : `  ${places(pairedRatio(rate(target), rate(served[0]!)))} of ${served[0]!.title}`
    say(
      `  ${target.title.padEnd(28)} ${figure(median(rate(target))).padStart(8)} requests/s  ${figure(median(own.map(({ cpu }) => cpu))).padStart(6)} µs CPU  p99 ${places(median(own.map(({ p99 }) => p99)))} ms  ${errors} errors${ratio}`,
    )
  }
}

await runProgram(main)
