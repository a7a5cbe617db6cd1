/** The events of requests that a drain timeout ends reach the application, over each wire, before the drain is over. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fromFetch } from '../../interfaces/fetch/from-fetch.ts'
import { fromNode } from '../../interfaces/node/from-node.ts'
import { lastEvents } from '../../process/last-events.ts'
import type { Application } from '../../protocol/contract/application.ts'
import type { TcpAddress } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { nginxGet, packet } from '../protocol/uwsgi/support.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { Serving } from './serving.ts'

type Hear = (event: string) => void

const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nhello'
const iteration = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Case {
  readonly application: (hear: Hear) => Application
  readonly upgrade?: boolean
  /** The expected events, in any order. */
  readonly hears: readonly string[]
}

const cases: Record<string, Case> = {
  "the 'close' of an event stream (req, res)": {
    application: (hear) =>
      fromNode((req, res) => {
        req.on('close', () => hear('req close'))
        res.on('close', () => hear('res close'))
        req.socket.on('close', () => hear('socket close'))
        res.write('hello')
      }),
    hears: ['req close', 'res close', 'socket close'],
  },
  'the end of its own wait for it, a tick and two event-loop iterations later (req, res)': {
    application: (hear) =>
      fromNode(async (_req, res) => {
        res.write('hello')
        try {
          await once(res, 'close')
          await new Promise<void>((resolve) => process.nextTick(resolve))
          await iteration()
          await iteration()
        } finally {
          hear('finally')
        }
      }),
    hears: ['finally'],
  },
  "the 'close' of an upgraded socket, and what follows it in later iterations": {
    application: (hear) =>
      fromNode(() => {}, {
        onUpgrade: (_req, socket) => {
          socket.on('close', () => {
            hear('close')
            process.nextTick(() => hear('a tick later'))
            setImmediate(() => setImmediate(() => hear('two iterations later')))
          })
          socket.write(SWITCHING)
        },
      }),
    upgrade: true,
    hears: ['a tick later', 'close', 'two iterations later'],
  },
  "the 'close' of a stream from upgrade() (the contract)": {
    application: (hear) => (environ, startResponse) => {
      startResponse('101 Switching Protocols', [['Upgrade', 'raw']])
      const raw = environ.gantry.upgrade()
      raw.on('error', () => {}).on('close', () => hear('close'))
      raw.write('hello')
      return []
    },
    upgrade: true,
    hears: ['close'],
  },
  "a generator's finally block (the contract)": {
    application: (hear) =>
      async function* (environ, startResponse) {
        startResponse('200 OK', [['Content-Type', 'text/event-stream']])
        try {
          yield Buffer.from('hello')
          await once(environ.gantry.signal, 'abort')
        } finally {
          await iteration()
          hear('finally')
        }
      } as Application,
    hears: ['finally'],
  },
  'the abort of its signal and the cancellation of its stream (fetch)': {
    application: (hear) =>
      fromFetch((request) => {
        request.signal.addEventListener('abort', () => hear('abort'))
        return new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(Buffer.from('hello')),
            cancel: () => hear('cancel'),
          }),
        )
      }),
    hears: ['abort', 'cancel'],
  },
}

type Wire = (
  application: Application,
  clock: FakeClock,
  act: (serving: Serving, port: number) => Promise<void>,
) => Promise<void>

const ARGV = ['--drain-timeout', '10s']

const direct: Wire = async (application, clock, act) => {
  const serving = await Serving.start(application, ARGV, { clock })
  await act(serving, (serving.container.addresses[0] as TcpAddress).port)
}

const behindProxy: Wire = (application, clock, act) =>
  withDirectory(async (own) => {
    const path = `unix:${join(own, 'app.sock')}`
    const serving = await Serving.start(application, [...ARGV, '--listen', path], { clock })
    const argv = ['--listen', '127.0.0.1:0', '--upstream', path]
    const proxy = await serveProxy(parseOptions(proxyOptions, argv).values, { log: new RecordingLog() })
    try {
      await act(serving, (proxy.addresses[0] as TcpAddress).port)
    } finally {
      await proxy.drain({ skipNotice: AbortSignal.abort() })
    }
  })

const httpRequest = (upgrade: boolean): string =>
  `GET / HTTP/1.1\r\nHost: a\r\n${upgrade ? 'Connection: Upgrade\r\nUpgrade: raw\r\n' : ''}\r\n`
const uwsgiRequest = (upgrade: boolean): Buffer =>
  packet([...nginxGet, ...(upgrade ? ['HTTP_UPGRADE', 'raw', 'HTTP_CONNECTION', 'Upgrade'] : [])])

const wires: Record<string, { wire: Wire; request: (upgrade: boolean) => string | Buffer }> = {
  'HTTP on its own port': { wire: direct, request: httpRequest },
  uwsgi: { wire: direct, request: uwsgiRequest },
  frames: { wire: behindProxy, request: httpRequest },
}

/** A client that has received `hello`. */
async function client(port: number, request: string | Buffer): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('error', () => {}).on('data', (chunk: Buffer) => (received += chunk.toString('latin1')))
  socket.write(request)
  await until(() => received.includes('hello'), 'the beginning of the response')
  return socket
}

for (const [wireName, { wire, request }] of Object.entries(wires)) {
  describe(`when the drain timeout ends a request over ${wireName}, the application gets these events before the drain is over`, () => {
    for (const [name, { application, upgrade = false, hears }] of Object.entries(cases)) {
      it(name, async () => {
        const clock = new FakeClock()
        const heard: string[] = []
        await wire(
          application((event) => heard.push(event)),
          clock,
          async (serving, port) => {
            const socket = await client(port, request(upgrade))
            const passed = /drain timeout has passed/
            const heardInTime = serving.container.drain().then(() => [...heard].sort())
            await until(() => {
              clock.advance(100)
              return serving.log.messages('warn').some((line) => passed.test(line))
            }, 'the drain timeout')
            const inTime = await heardInTime
            socket.destroy()
            assert.deepEqual(inTime, hears)
          },
        )
      })
    }
  })
}

describe('lastEvents()', () => {
  it('waits for a chain of streams, each of which is destroyed after the previous one', async () => {
    let seen = 0
    const chain = (left: number): void => {
      if (left > 0) process.nextTick(() => setImmediate(() => chain(left - 1)))
      else seen++
    }
    chain(5)
    await lastEvents()
    assert.equal(seen, 1)
  })
})
