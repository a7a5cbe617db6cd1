/**
 * NestJS on Express, with a WebSocket gateway, a microservice beside it, and its shutdown hooks. Decorators are called
 * as functions.
 */

import { abortedStream, echoes, streamed } from '../cases.ts'
import { json, multipart, one, type TestedApplication } from '../shape.ts'

export const nest: TestedApplication = {
  name: 'NestJS',
  packages: {
    '@nestjs/common': '12.5.1',
    '@nestjs/core': '12.5.1',
    '@nestjs/microservices': '12.1.1',
    '@nestjs/platform-express': '12.5.1',
    '@nestjs/platform-ws': '12.1.1',
    '@nestjs/websockets': '12.1.1',
    'reflect-metadata': '0.2.2',
    rxjs: '7.8.2',
    ws: '8.23.0',
  },
  files: {
    'main.mjs': `
import 'reflect-metadata'
import * as nest from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { Transport } from '@nestjs/microservices'
import { FileInterceptor } from '@nestjs/platform-express'
import { WsAdapter } from '@nestjs/platform-ws'
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets'
import { interval, map, take } from 'rxjs'

const notes = []
const method = (type, name, decorators, parameters = []) => {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name)
  for (const decorator of decorators) decorator(type.prototype, name, descriptor)
  parameters.forEach((decorator, at) => decorator(type.prototype, name, at))
}

class Pages {
  home() { return 'home' }
  redirect() {}
  json(body) { return { got: body } }
  number(value) { return { value } }
  upload(file) { return { size: file.size } }
  events() { return interval(20).pipe(take(5), map((at) => ({ data: { at } }))) }
  fails() { throw new nest.NotFoundException('no such thing') }
  breaks() { throw new Error('broken') }
  stream(res) {
    let left = 50
    const timer = setInterval(() => { res.write('part\\n'); if (--left === 0) { clearInterval(timer); res.end() } }, 10)
    res.on('close', () => { clearInterval(timer); if (left > 0) notes.push('stream closed') })
  }
  async slow() { await new Promise((resolve) => setTimeout(resolve, 1000)); return 'slow' }
  notes() { return notes }
}
nest.Controller()(Pages)
method(Pages, 'home', [nest.Get('/')])
method(Pages, 'redirect', [nest.Get('redirect'), nest.Redirect('/there', 302)])
method(Pages, 'json', [nest.Post('json')], [nest.Body()])
method(Pages, 'number', [nest.Get('number/:id')], [nest.Param('id', nest.ParseIntPipe)])
method(Pages, 'upload', [nest.Post('upload'), nest.UseInterceptors(FileInterceptor('file'))], [nest.UploadedFile()])
method(Pages, 'events', [nest.Sse('events')])
method(Pages, 'fails', [nest.Get('fails')])
method(Pages, 'breaks', [nest.Get('breaks')])
method(Pages, 'stream', [nest.Get('stream')], [nest.Res()])
method(Pages, 'slow', [nest.Get('slow')])
method(Pages, 'notes', [nest.Get('notes')])

class Gateway {
  echo(client, data) { return { event: 'echoed', data } }
}
WebSocketGateway({ path: '/ws' })(Gateway)
method(Gateway, 'echo', [SubscribeMessage('echo')])

class Shutdown {
  onApplicationShutdown(signal) { console.log('shutdown ' + signal) }
}
nest.Injectable()(Shutdown)
class Root {}
nest.Module({ controllers: [Pages], providers: [Gateway, Shutdown] })(Root)

const app = await NestFactory.create(Root, { logger: ['error'] })
app.useWebSocketAdapter(new WsAdapter(app))
app.connectMicroservice({ transport: Transport.TCP, options: { port: 0, host: '127.0.0.1' } })
app.enableShutdownHooks()
await app.startAllMicroservices()
await app.listen(process.env.PORT, process.env.HOST)
`,
  },
  starts: [
    {
      title: 'NestJS',
      module: 'main.mjs',
      slow: '/slow',
      socket: '/ws',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A redirect', 302, '/redirect'),
        { title: 'POST of JSON', status: [201], requests: [json('/json', { a: 1 })] },
        one('A parameter', 200, '/number/7'),
        one('A parameter that is invalid', 400, '/number/x'),
        { title: 'An upload', status: [201], requests: [multipart('/upload', { file: new Uint8Array(50_000) })] },
        one('A handler that refuses', 404, '/fails'),
        one('A handler that fails', 500, '/breaks'),
        streamed('/events', 'data:', 5),
        streamed('/stream', 'part', 50),
        abortedStream('/stream', 'stream closed'),
        echoes('/ws', ['{"event":"echo","data":"one"}'], ['{"event":"echoed","data":"one"}']),
      ],
    },
  ],
}
