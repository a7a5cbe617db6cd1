/**
 * A NestJS application. Its decorators are called as functions, because Node does not run TypeScript that needs
 * compiling. The result on the classes is that of a compiler's output.
 */

import 'reflect-metadata'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type ArgumentsHost,
  BadRequestException,
  Body,
  type CanActivate,
  Catch,
  Controller,
  Delete,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  Header,
  Headers,
  HttpCode,
  HttpException,
  type INestApplication,
  Inject,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type NestInterceptor,
  Param,
  ParseIntPipe,
  Post,
  Query,
  Redirect,
  Req,
  Res,
  Sse,
  StreamableFile,
  UploadedFile,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FileInterceptor } from '@nestjs/platform-express'
import { from, interval, map, type Observable, take } from 'rxjs'
import { raw } from './raw.ts'
import * as shared from './shared.ts'

type Decorator = ClassDecorator | MethodDecorator

interface Response extends ServerResponse {
  json(value: unknown): void
}

/** Decorates a method: first its parameters, then the method. */
function route(
  of: { prototype: object },
  name: string,
  decorators: Decorator[],
  ...parameters: ParameterDecorator[]
): void {
  parameters.forEach((parameter, at) => {
    parameter(of.prototype, name, at)
  })
  const descriptor = Object.getOwnPropertyDescriptor(of.prototype, name)!
  for (const decorator of decorators.toReversed()) (decorator as MethodDecorator)(of.prototype, name, descriptor)
}

class Store {
  readonly cats: string[] = ['Tom']

  find(id: number): string {
    const cat = this.cats[id]
    if (cat === undefined) throw new HttpException({ message: 'no such cat', id }, 404)
    return cat
  }
}
Injectable()(Store)

class Guard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToHttp().getRequest<IncomingMessage>().headers['authorization'] === 'yes'
  }
}

class Wrap implements NestInterceptor {
  intercept(_context: ExecutionContext, next: { handle(): Observable<unknown> }): Observable<unknown> {
    return next.handle().pipe(map((data) => ({ wrapped: data })))
  }
}

class Odd extends Error {}

class OddFilter implements ExceptionFilter {
  catch(error: Odd, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<Response>()
    response.statusCode = 499
    response.json({ odd: error.message })
  }
}
Catch(Odd)(OddFilter)

interface Uploaded {
  originalname: string
  size: number
  buffer: Buffer
}

class Cats {
  readonly store: Store

  constructor(store: Store) {
    this.store = store
  }

  index(): string[] {
    return this.store.cats
  }
  one(id: number): string {
    return this.store.find(id)
  }
  create(body: { name?: string }): { created: unknown } {
    if (body.name === undefined) throw new BadRequestException('a name is due')
    return { created: body.name }
  }
  remove(): void {}
  query(query: unknown): unknown {
    return query
  }
  header(value: string): unknown {
    return { value }
  }
  redirect(): void {}
  fields(): string {
    return 'fields'
  }
  guarded(): string {
    return 'guarded'
  }
  wrapped(): string {
    return 'inside'
  }
  odd(): void {
    throw new Odd('very')
  }
  fails(): void {
    throw new Error('a secret')
  }
  async failsLater(): Promise<void> {
    await shared.pause(1)
    throw new Error('a secret')
  }
  file(): StreamableFile {
    return new StreamableFile(shared.stream(shared.chunks()), { type: 'text/css', disposition: 'inline' })
  }
  failingFile(): StreamableFile {
    const file = new StreamableFile(shared.stream(shared.failing()))
    file.setErrorLogger(() => {})
    return file
  }
  events(): Observable<{ data: unknown }> {
    return interval(3).pipe(
      take(3),
      map((at) => ({ data: { at }, id: `${at}`, type: 'tick' })),
    )
  }
  observable(): Observable<number> {
    return from([1, 2, 3])
  }
  upload(file: Uploaded | undefined, body: unknown): unknown {
    return { name: file?.originalname, size: file?.size, text: file?.buffer.toString('base64'), body }
  }
  own(response: Response): void {
    response.statusCode = 203
    response.setHeader('X-Own', '1')
    response.end('own')
  }
  facts(request: IncomingMessage & { ip: string; protocol: string }): unknown {
    return { ip: request.ip, protocol: request.protocol, url: request.url, method: request.method }
  }
  noted(key: string, count: string): Promise<string[]> {
    return shared.noted(key, Number(count))
  }
  hang(key: string, response: Response): void {
    response.on('close', () => shared.note(key, 'gone'))
    shared.note(key, 'begun')
  }
}
Controller()(Cats)
Inject(Store)(Cats, undefined, 0)
route(Cats, 'index', [Get('cats')])
route(Cats, 'one', [Get('cats/:id')], Param('id', ParseIntPipe))
route(Cats, 'create', [Post('cats')], Body())
route(Cats, 'remove', [Delete('cats/:id'), HttpCode(204)])
route(Cats, 'query', [Get('query')], Query())
route(Cats, 'header', [Get('header')], Headers('x-a'))
route(Cats, 'redirect', [Get('redirect'), Redirect('/cats', 301)])
route(Cats, 'fields', [Get('fields'), Header('X-A', '1'), Header('Cache-Control', 'none')])
route(Cats, 'guarded', [Get('guarded'), UseGuards(new Guard())])
route(Cats, 'wrapped', [Get('wrapped'), UseInterceptors(new Wrap())])
route(Cats, 'odd', [Get('odd'), UseFilters(new OddFilter())])
route(Cats, 'fails', [Get('fails')])
route(Cats, 'failsLater', [Get('fails/later')])
route(Cats, 'file', [Get('file')])
route(Cats, 'failingFile', [Get('file/failing')])
route(Cats, 'events', [Sse('events')])
route(Cats, 'observable', [Get('observable')])
route(
  Cats,
  'upload',
  [Post('upload'), UseInterceptors(FileInterceptor('file', { limits: { fileSize: 1000 } }))],
  UploadedFile(),
  Body(),
)
route(Cats, 'own', [Get('own')], Res())
route(Cats, 'facts', [Get('facts')], Req())
route(Cats, 'noted', [Get('noted')], Query('key'), Query('count'))
route(Cats, 'hang', [Get('hang')], Query('key'), Res())

class Application {
  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply((_request: IncomingMessage, response: ServerResponse, next: () => void) => {
        response.setHeader('X-Middleware', 'yes')
        next()
      })
      .forRoutes('cats')
  }
}
Module({ controllers: [Cats], providers: [Store] })(Application)

const app: INestApplication = await NestFactory.create(Application, { logger: false })
app.use('/raw', (request: IncomingMessage & { originalUrl: string }, response: ServerResponse) => {
  request.url = request.originalUrl
  raw(request, response)
})
app.enableCors({ origin: 'https://example.org' })
await app.init()

export const server: Server = createServer(app.getHttpAdapter().getInstance())

export default app
