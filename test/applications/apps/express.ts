/** Express with its common middleware, and the patterns that react to an aborted request. */

import { abortedBeforeHead, abortedStream, echoes, NOTES, notModified, streamed } from '../cases.ts'
import { form, json, multipart, one, type TestedApplication } from '../shape.ts'

/** JavaScript of the routes. */
const EXPRESS_ROUTES = `
app.get('/notes', (req, res) => res.json(notes))
app.get('/stream', (req, res) => {
  res.set('Content-Type', 'text/plain')
  let left = 50
  const timer = setInterval(() => {
    res.write('part\\n')
    if (--left === 0) {
      clearInterval(timer)
      res.end()
    }
  }, 10)
  res.on('close', () => {
    clearInterval(timer)
    if (left > 0) note('stream closed')
  })
})
app.all('/late', (req, res) => setTimeout(() => {
  res.status(204).end()
  note('late answered ' + req.method)
}, 900))
app.get('/late-json', (req, res) => setTimeout(() => {
  res.writeHead(200, { 'Content-Type': 'application/json' })
  res.end('{}')
  note('late json')
}, 900))
app.get('/late-throw', async (req, res) => {
  await new Promise((resolve) => setTimeout(resolve, 900))
  res.json({ late: true })
  note('late handler went on')
})
app.get('/slow', (req, res) => {
  res.write('slow\\n')
  setTimeout(() => res.end('done\\n'), 1000)
})
`

export const express: TestedApplication = {
  name: 'Express',
  packages: { express: '5.3.0', multer: '2.5.0', ws: '8.23.0' },
  files: {
    'public/file.txt': 'a file\n'.repeat(1000),
    'app.cjs': `
const http = require('node:http')
const express = require('express')
const multer = require('multer')
const { WebSocketServer } = require('ws')
${NOTES}
const app = express()
const upload = multer({ storage: multer.memoryStorage() })
app.use('/files', express.static(__dirname + '/public'))
${EXPRESS_ROUTES}
app.get('/', (req, res) => res.send('<h1>home</h1>'))
app.get('/redirect', (req, res) => res.redirect('/there?x=1'))
app.get('/events', (req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' })
  res.flushHeaders()
  let count = 0
  const timer = setInterval(() => {
    res.write('data: ' + ++count + '\\n\\n')
    if (count === 5) {
      clearInterval(timer)
      res.end()
    }
  }, 30)
})
app.post('/json', express.json(), (req, res) => res.json({ got: req.body, ip: req.ip }))
app.post('/form', express.urlencoded(), (req, res) => res.json(req.body))
app.post('/upload', upload.single('file'), (req, res) => res.json({ size: req.file.size, text: req.body.text }))
app.post('/too-big', (req, res) => {
  res.status(413).end('too big')
  req.destroy()
})
app.get('/twice', (req, res) => {
  res.json({ a: 1 })
  throw new Error('after the answer')
})
app.get('/next', (req, res, next) => {
  res.send('x')
  next(new Error('after the answer'))
})
app.get('/self', async (req, res) => {
  const answer = await fetch('http://127.0.0.1:' + process.env.PORT + '/json', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"self":true}' })
  res.json(await answer.json())
})
app.get('/throws', () => { throw new Error('thrown') })
app.get('/main', (req, res) => res.json({ main: require.main === module, argv: process.argv.slice(2) }))
app.get('/server', (req, res) => res.json({ same: req.socket.server === server, connections: typeof server.getConnections }))

const server = http.createServer(app)
const sockets = new WebSocketServer({ noServer: true })
server.on('upgrade', (req, socket, head) => {
  if (req.url === '/refused') {
    socket.write('HTTP/1.1 401 Unauthorized\\r\\n\\r\\n')
    socket.destroy()
    return
  }
  sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send('echo ' + data)))
})
server.listen(process.env.PORT, process.env.HOST)
process.on('SIGTERM', () => {
  for (const client of sockets.clients) client.close(1001)
  server.close(() => note('closed'))
})
`,
  },
  starts: [
    {
      title: 'Express',
      module: 'app.cjs',
      args: () => ['--flag', 'word'],
      slow: '/slow',
      socket: '/ws',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A page that is not there', 404, '/nowhere'),
        one('A redirect', 302, '/redirect'),
        one('A file', 200, '/files/file.txt', {}),
        notModified('/files/file.txt'),
        { title: 'JSON', status: [200], requests: [json('/json', { a: [1, 2] })] },
        { title: 'A form', status: [200], requests: [form('/form', { a: 'b c' })] },
        {
          title: 'An upload',
          status: [200],
          requests: [multipart('/upload', { text: 'word', file: new Uint8Array(200_000).fill(65) })],
        },
        one('The main module and its arguments', 200, '/main'),
        one('The server of a socket', 200, '/server'),
        one('An application that calls itself', 200, '/self'),
        one('A handler that throws', 500, '/throws', {}),
        one('A handler that throws after its answer', 200, '/twice'),
        one('A handler that calls next(error) after its answer', 200, '/next'),
        {
          title: 'An answer before a request is destroyed',
          status: [413],
          requests: [{ method: 'POST', target: '/too-big', body: 'x'.repeat(1000) }],
        },
        streamed('/stream', 'part', 50),
        streamed('/events', 'data:', 5),
        abortedStream('/stream', 'stream closed'),
        abortedBeforeHead('/late', 'late answered GET'),
        abortedBeforeHead('/late', 'late answered HEAD', 'HEAD'),
        abortedBeforeHead('/late-json', 'late json'),
        abortedBeforeHead('/late-throw', 'late handler went on'),
        echoes('/ws', ['one', 'two'], ['echo one', 'echo two']),
        {
          title: 'A refused upgrade',
          status: [401],
          requests: [
            {
              target: '/refused',
              headers: [
                ['Connection', 'Upgrade'],
                ['Upgrade', 'websocket'],
                ['Sec-WebSocket-Version', '13'],
                ['Sec-WebSocket-Key', 'AAAAAAAAAAAAAAAAAAAAAA=='],
              ],
            },
          ],
          except: ['content-length'],
        },
      ],
    },
  ],
}
