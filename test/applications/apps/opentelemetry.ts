/** OpenTelemetry with Express: the spans of a request, kept in memory. */

import { type Case, one, type TestedApplication } from '../shape.ts'

interface Span {
  readonly name: string
  readonly kind: number
  readonly trace: string
  readonly parent: string | undefined
  readonly attributes: Readonly<Record<string, unknown>>
}

/** Attributes that name the peer; behind a proxy they must still name the client. */
const compared = [
  'http.method',
  'http.route',
  'http.status_code',
  'http.target',
  'http.scheme',
  'http.host',
  'http.flavor',
  'net.peer.ip',
  'net.host.port',
  'http.request.method',
  'http.response.status_code',
  'url.path',
  'url.scheme',
  'server.address',
  'server.port',
  'network.peer.address',
  'network.protocol.version',
  'express.name',
  'express.type',
]

function spans(target: string, headers: [string, string][] = []): Case {
  return {
    title: `The spans of ${target}`,
    async run(server) {
      const before = ((await server.read('/spans')) as Span[]).length
      await server.fetch({ target, headers })
      const path = target.split('?')[0]!
      const isIt = ({ attributes }: Span): boolean =>
        String(attributes['http.target'] ?? attributes['url.path'] ?? '').startsWith(path)
      const all = await server.eventually<Span[]>('/spans', (found) => found.slice(before).some(isIt))
      const own = all.slice(before)
      const { trace } = own.find(isIt)!
      return own
        .filter((span) => span.trace === trace)
        .map(({ name, kind, parent, attributes }) => ({
          name,
          kind,
          parent,
          attributes: Object.fromEntries(
            compared.filter((key) => key in attributes).map((key) => [key, attributes[key]]),
          ),
        }))
    },
  }
}

export const opentelemetry: TestedApplication = {
  name: 'OpenTelemetry',
  packages: {
    express: '5.3.0',
    '@opentelemetry/api': '1.9.0',
    '@opentelemetry/sdk-trace-node': '2.2.0',
    '@opentelemetry/instrumentation': '0.208.0',
    '@opentelemetry/instrumentation-http': '0.208.0',
    '@opentelemetry/instrumentation-express': '0.57.0',
  },
  files: {
    'tracing.cjs': `
const { NodeTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-node')
const { registerInstrumentations } = require('@opentelemetry/instrumentation')
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http')
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express')
const exporter = new InMemorySpanExporter()
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register()
registerInstrumentations({ instrumentations: [
  new HttpInstrumentation({ ignoreIncomingRequestHook: (req) => req.url === '/spans' }),
  new ExpressInstrumentation(),
] })
globalThis.exporter = exporter
`,
    'app.cjs': `
require('./tracing.cjs')
const express = require('express')
const app = express()
app.get('/', (req, res) => res.send('home'))
app.get('/users/:id', (req, res) => setTimeout(() => res.json(req.params), 20))
app.get('/fails', () => { throw new Error('failed') })
app.get('/calls', async (req, res) => {
  const http = require('node:http')
  http.get({ port: server.address().port, host: '127.0.0.1', path: '/users/9' }, (answer) => answer.pipe(res))
})
app.get('/spans', (req, res) => {
  const all = globalThis.exporter.getFinishedSpans()
  const names = new Map(all.map((span) => [span.spanContext().spanId, span.name]))
  res.json(all.map((span) => ({
    name: span.name,
    kind: span.kind,
    trace: span.spanContext().traceId,
    parent: names.get(span.parentSpanContext?.spanId) ?? span.parentSpanContext?.spanId,
    attributes: span.attributes,
  })))
})
const server = app.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => server.close())
`,
  },
  starts: [
    {
      title: 'OpenTelemetry',
      module: 'app.cjs',
      ready: '/',
      cases: [
        one('A page', 200, '/'),
        spans('/users/7?a=b'),
        spans('/users/8', [['traceparent', '00-0123456789abcdef0123456789abcdef-0123456789abcdef-01']]),
        spans('/fails'),
        spans('/nowhere'),
      ],
    },
  ],
}
