/** Sentry with Express: what one request sets must not be seen in the error of another. Events stay in the process. */

import type { Server } from '../server.ts'
import { type Case, one, type Start, type TestedApplication } from '../shape.ts'

const INIT = `
globalThis.events = []
Sentry.init({
  dsn: 'http://key@127.0.0.1:9/1',
  tracesSampleRate: 1,
  transport: (options) => Sentry.createTransport(options, async () => ({ statusCode: 200 })),
  beforeSend(event) {
    globalThis.events.push(event)
    return event
  },
  beforeSendTransaction(event) {
    globalThis.events.push(event)
    return event
  },
})
`

const ROUTES = `
const app = express()
let waiting = []
// Each request waits for the other, so that both have set their tags before either fails.
app.get('/fail', async (req, res) => {
  Sentry.setTag('who', req.query.user)
  Sentry.setUser({ id: req.query.user })
  await new Promise((resolve) => {
    waiting.push(resolve)
    if (waiting.length === 2) for (const one of waiting.splice(0)) one()
  })
  throw new Error('failed for ' + req.query.user)
})
app.get('/users/:id', (req, res) => {
  Sentry.captureMessage('seen ' + req.params.id)
  res.json({ id: req.params.id })
})
app.get('/events', async (req, res) => {
  await Sentry.flush(2000)
  res.json(globalThis.events)
})
app.get('/', (req, res) => res.send('home'))
Sentry.setupExpressErrorHandler(app)
const server = app.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => server.close(() => process.exit(0)))
`

interface Event {
  readonly type?: string
  readonly transaction?: string
  readonly message?: string
  readonly tags?: Record<string, string>
  readonly user?: { id?: string }
  readonly request?: { url?: string; query_string?: string }
  readonly exception?: { values?: readonly { value?: string }[] }
  readonly contexts?: { trace?: { op?: string; data?: Record<string, unknown> } }
  readonly spans?: readonly { op?: string; description?: string }[]
}

function events(server: Server, count: number, of: (event: Event) => boolean): Promise<Event[]> {
  return server.eventually<Event[]>('/events', (all) => all.filter(of).length >= count).then((all) => all.filter(of))
}

const isolated: Case = {
  title: "A user's tag is on that user's error alone",
  async run(server) {
    await Promise.all(['a', 'b'].map((user) => server.fetch({ target: `/fail?user=${user}` })))
    const errors = await events(server, 2, (event) => event.exception !== undefined)
    return errors
      .map(({ exception, tags, user, request, transaction }) => ({
        error: exception?.values?.[0]?.value,
        tag: tags?.['who'],
        user: user?.id,
        url: request?.url,
        transaction,
      }))
      .toSorted((first, second) => (first.error! < second.error! ? -1 : 1))
  },
  sees: ['a', 'b'].map((user) => ({
    error: `failed for ${user}`,
    tag: user,
    user,
    url: `http://127.0.0.1:PORT/fail?user=${user}`,
    transaction: 'GET /fail',
  })),
}

const traced: Case = {
  title: 'A transaction has the route and its spans',
  async run(server) {
    await server.fetch({
      target: '/users/7',
      headers: [['sentry-trace', '0123456789abcdef0123456789abcdef-0123456789abcdef-1']],
    })
    const of = (event: Event): boolean => event.type === 'transaction' && event.transaction === 'GET /users/:id'
    const [found] = await events(server, 1, of)
    const { trace } = found?.contexts ?? {}
    return {
      op: trace?.op,
      trace: (trace as { trace_id?: string } | undefined)?.trace_id,
      status: trace?.data?.['http.response.status_code'],
      spans: found?.spans?.map(({ op, description }) => `${op} ${description}`).toSorted(),
    }
  },
}

const message: Case = {
  title: 'A message has its request',
  async run(server) {
    const [found] = await events(server, 1, ({ message }) => message === 'seen 7')
    return { url: found?.request?.url, transaction: found?.transaction, tags: found?.tags }
  },
}

function start(title: string, module: string, options: Partial<Start> = {}): Start {
  return { title, module, ready: '/', cases: [one('A page', 200, '/'), isolated, traced, message], ...options }
}

export const sentry: TestedApplication = {
  name: 'Sentry',
  packages: { express: '5.3.0', '@sentry/node': '11.12.0' },
  files: {
    'app.cjs': `const Sentry = require('@sentry/node')\n${INIT}\nconst express = require('express')\n${ROUTES}`,
    'instrument.mjs': `import * as Sentry from '@sentry/node'\n${INIT}`,
    'app.mjs': `import * as Sentry from '@sentry/node'\nimport express from 'express'\n${ROUTES}`,
  },
  starts: [
    start('CommonJS', 'app.cjs'),
    start('ES modules', 'app.mjs', { env: { NODE_OPTIONS: '--import=./instrument.mjs' } }),
  ],
}
