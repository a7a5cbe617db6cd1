/** tRPC over HTTP, over event streams, and over WebSockets. Its client's messages are written by hand. */

import { abortedStream } from '../cases.ts'
import { type Case, json, one, type TestedApplication } from '../shape.ts'

const socketed: Case = {
  title: 'Queries and a subscription on a WebSocket',
  async run(server) {
    const { socket, next, closed } = await server.open('/trpc')
    const ask = (id: number, method: string, path: string, input: unknown): void =>
      socket.send(JSON.stringify({ id, jsonrpc: '2.0', method, params: { path, input } }))
    const got: unknown[] = []
    ask(1, 'query', 'greet', 'socket')
    got.push(JSON.parse(await next()))
    ask(2, 'mutation', 'add', { a: 1, b: 2 })
    got.push(JSON.parse(await next()))
    ask(3, 'subscription', 'count', 3)
    // started, three values, stopped
    for (let left = 5; left > 0; left--) got.push(JSON.parse(await next()))
    socket.close(1000)
    return { got, code: await closed }
  },
}

export const trpc: TestedApplication = {
  name: 'tRPC',
  packages: { '@trpc/server': '11.25.2', ws: '8.23.0', zod: '4.6.7' },
  files: {
    'app.mjs': `
import { initTRPC, TRPCError } from '@trpc/server'
import { createHTTPServer } from '@trpc/server/adapters/standalone'
import { applyWSSHandler } from '@trpc/server/adapters/ws'
import { WebSocketServer } from 'ws'
import { z } from 'zod'
const notes = []
const t = initTRPC.create()
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time))
const router = t.router({
  greet: t.procedure.input(z.string()).query(({ input }) => 'hello ' + input),
  add: t.procedure.input(z.object({ a: z.number(), b: z.number() })).mutation(({ input }) => input.a + input.b),
  fails: t.procedure.query(() => { throw new TRPCError({ code: 'FORBIDDEN', message: 'not you' }) }),
  slow: t.procedure.query(async () => { await sleep(1000); return 'slow' }),
  count: t.procedure.input(z.number()).subscription(async function* ({ input }) {
    for (let at = 0; at < input; at++) { yield at; await sleep(20) }
  }),
  endless: t.procedure.subscription(async function* ({ signal }) {
    signal.addEventListener('abort', () => notes.push('stream closed'))
    for (let at = 0; !signal.aborted; at++) { yield at; await sleep(20) }
  }),
})
const server = createHTTPServer({
  router,
  basePath: '/trpc/',
  middleware: (req, res, next) => req.url === '/notes' ? res.end(JSON.stringify(notes)) : next(),
  createContext: () => ({}),
  onError() {},
})
const sockets = new WebSocketServer({ server })
const handler = applyWSSHandler({ wss: sockets, router, createContext: () => ({}) })
server.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => {
  handler.broadcastReconnectNotification()
  sockets.close()
  for (const client of sockets.clients) client.close(1001)
  server.close()
})
`,
  },
  starts: [
    {
      title: 'tRPC',
      module: 'app.mjs',
      ready: '/notes',
      slow: '/trpc/slow',
      socket: '/trpc',
      varying: [[/"stack":"[^"]*"/g, 'STACK']],
      cases: [
        one('A query', 200, `/trpc/greet?input=${encodeURIComponent('"you"')}`),
        one('A batch', 200, `/trpc/greet,slow?batch=1&input=${encodeURIComponent('{"0":"you"}')}`),
        one('A batch that streams', 200, `/trpc/greet,slow?batch=1&input=${encodeURIComponent('{"0":"you"}')}`, {
          headers: [['trpc-accept', 'application/jsonl']],
        }),
        { title: 'A mutation', status: [200], requests: [json('/trpc/add', { a: 1, b: 2 })] },
        { title: 'An input that is invalid', status: [400], requests: [json('/trpc/add', { a: 'x' })] },
        one('A procedure that refuses', 403, '/trpc/fails'),
        one('A procedure that is not there', 404, '/trpc/nothing'),
        one('HEAD', 204, '/trpc/greet', { method: 'HEAD' }),
        one('A subscription over an event stream', 200, '/trpc/count?input=3', {
          headers: [['Accept', 'text/event-stream']],
        }),
        abortedStream('/trpc/endless', 'stream closed'),
        socketed,
      ],
    },
  ],
}
