/** http-proxy-middleware with `ws: true`, before a server of its own. */

import { abortedStream, echoes, streamed } from '../cases.ts'
import { json, one, type TestedApplication } from '../shape.ts'

export const proxyMiddleware: TestedApplication = {
  name: 'http-proxy-middleware',
  packages: { express: '5.3.0', 'http-proxy-middleware': '4.2.2', ws: '8.23.0' },
  files: {
    'behind.mjs': `
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
const notes = []
const server = createServer((req, res) => {
  if (req.url === '/notes') return res.end(JSON.stringify(notes))
  if (req.url === '/stream' || req.url === '/slow') {
    let left = req.url === '/slow' ? 100 : 50
    const timer = setInterval(() => {
      res.write('part\\n')
      if (--left === 0) { clearInterval(timer); res.end() }
    }, 10)
    res.on('close', () => { clearInterval(timer); if (left > 0) notes.push('stream closed') })
    return
  }
  let body = ''
  req.on('data', (chunk) => (body += chunk)).on('end', () => {
    res.setHeader('X-Behind', 'yes')
    res.end(JSON.stringify({ url: req.url, method: req.method, body, host: req.headers.host }))
  })
})
const sockets = new WebSocketServer({ server })
sockets.on('connection', (ws, req) => ws.on('message', (data) => ws.send(req.url + ' ' + data)))
server.listen(process.env.PORT, process.env.HOST)
`,
    'app.mjs': `
import express from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'
const app = express()
const target = 'http://127.0.0.1:' + process.env.BESIDE
app.get('/own', (req, res) => res.send('own'))
app.use('/', createProxyMiddleware({ target, ws: true, xfwd: false }))
const server = app.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => server.close())
`,
  },
  starts: [
    {
      title: 'http-proxy-middleware',
      module: 'app.mjs',
      beside: { module: 'behind.mjs' },
      ready: '/own',
      slow: '/slow',
      cases: [
        one('A page of its own', 200, '/own'),
        one('A page behind', 200, '/page?a=b'),
        { title: 'A POST behind', status: [200], requests: [json('/post', { a: 1 })] },
        streamed('/stream', 'part', 50),
        abortedStream('/stream', 'stream closed'),
        echoes('/ws', ['one'], ['/ws one']),
        echoes('/ws?second', ['two'], ['/ws?second two']),
        one('A page behind, after the WebSockets', 200, '/page'),
      ],
    },
  ],
}
