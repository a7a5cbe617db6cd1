/** Node-RED: its editor, its socket, and a flow that answers HTTP. */

import { json, multipart, one, type TestedApplication } from '../shape.ts'

const flow = [
  { id: 'tab', type: 'tab', label: 'Flow' },
  { id: 'asked', type: 'http in', z: 'tab', url: '/hello', method: 'get', wires: [['text']] },
  {
    id: 'text',
    type: 'template',
    z: 'tab',
    field: 'payload',
    format: 'handlebars',
    template: 'hello {{req.query.name}}',
    wires: [['answer']],
  },
  { id: 'answer', type: 'http response', z: 'tab', statusCode: '200', headers: { 'x-flow': 'yes' } },
  { id: 'posted', type: 'http in', z: 'tab', url: '/echo', method: 'post', upload: true, wires: [['answer']] },
  { id: 'slowly', type: 'http in', z: 'tab', url: '/slow', method: 'get', wires: [['later']] },
  {
    id: 'later',
    type: 'delay',
    z: 'tab',
    pauseType: 'delay',
    timeout: '1',
    timeoutUnits: 'seconds',
    wires: [['answer']],
  },
]

export const nodeRed: TestedApplication = {
  name: 'Node-RED',
  packages: { 'node-red': '5.0.7' },
  files: {
    'flows.json': JSON.stringify(flow),
    'settings.js': `
module.exports = {
  flowFile: 'flows.json', userDir: __dirname, uiHost: '127.0.0.1', uiPort: Number(process.env.PORT), credentialSecret: false,
  httpNodeRoot: '/node', telemetry: { enabled: false, updateNotification: false },
  logging: { console: { level: 'error', metrics: false, audit: false } }, editorTheme: { tours: false },
}
`,
  },
  starts: [
    {
      title: 'Node-RED',
      module: 'node_modules/node-red/red.js',
      args: () => ['--settings', 'settings.js'],
      ready: '/node/hello',
      slow: '/node/slow',
      socket: '/comms',
      varying: [[/\bv=[\w.-]+/g, 'VERSION']],
      cases: [
        one('The editor', 200, '/'),
        one('HEAD of the editor', 200, '/', { method: 'HEAD' }),
        one('A file of the editor', 200, '/red/red.min.js'),
        one('A flow', 200, '/node/hello?name=you'),
        { title: 'POST to a flow', status: [200], requests: [json('/node/echo', { a: 1 })] },
        { title: 'A form to a flow', status: [200], requests: [multipart('/node/echo', { a: 'b' })] },
        one('A path that no flow has', 404, '/node/nothing'),
        one('The flows by the API', 200, '/flows'),
        one('The settings by the API', 200, '/settings'),
        {
          title: 'The socket of the editor',
          async run(server) {
            const { socket, next, closed } = await server.open('/comms')
            socket.send(JSON.stringify({ subscribe: 'notification/#' }))
            const first = JSON.parse(await next()) as { topic?: string }[]
            socket.close(1000)
            return { topics: first.map(({ topic }) => topic), code: await closed }
          },
        },
      ],
    },
  ],
}
