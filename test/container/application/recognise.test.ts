import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { after, before, describe, it } from 'node:test'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { recognise, UnsupportedExport } from '../../../container/application/recognise.ts'
import { call } from '../../../protocol/contract/call.ts'
import { nestApplication } from '../../apps/nest.ts'

/** The name of each export, and how it is created: each responds to `GET /hello` with `hello`. */
const recognised: readonly [what: string, wanted: 'node' | 'fetch', make: () => unknown][] = [
  ['an Express application', 'node', () => express().get('/hello', (_req, res) => void res.send('hello'))],
  [
    'a Koa application',
    'node',
    () =>
      new Koa().use((ctx) => {
        if (ctx.path === '/hello') ctx.body = 'hello'
      }),
  ],
  ['a Fastify instance', 'node', () => fastify().get('/hello', async () => 'hello')],
  ['a NestJS application', 'node', () => nestApplication()],
  ['an http.Server', 'node', () => createServer((req, res) => res.end(req.url === '/hello' ? 'hello' : ''))],
  ['a Hono application', 'fetch', () => new Hono().get('/hello', (c) => c.text('hello'))],
  ['an object with fetch()', 'fetch', () => ({ fetch: () => new Response('hello') })],
]

describe('recognise', () => {
  for (const [what, wanted, make] of recognised) {
    it(`recognises ${what}, and serves it`, async () => {
      const hosted = await recognise(make(), undefined)
      assert.equal(hosted?.what, what)
      assert.equal(hosted?.interface, wanted)
      const { status, text } = await call(hosted.application, { path: '/hello' })
      assert.deepEqual([status, text], [200, 'hello'])
      await hosted.close?.run()
    })

    it(`accepts a promise of ${what}`, async () => {
      const hosted = await recognise(Promise.resolve(make()), undefined)
      assert.equal(hosted?.what, what)
      await hosted.close?.run()
    })

    it(`accepts ${what} with --interface ${wanted}`, async () => {
      const hosted = await recognise(make(), wanted)
      assert.equal(hosted?.what, what)
      await hosted.close?.run()
    })

    for (const other of ['wsgi', wanted === 'node' ? 'fetch' : 'node'] as const) {
      it(`refuses ${what} with --interface ${other}`, async () => {
        await assert.rejects(
          async () => recognise(make(), other),
          (error) =>
            error instanceof UnsupportedExport &&
            error.message === `is ${what}, and --interface ${other} was given: omit it, or use ${wanted}`,
        )
      })
    }
  }

  it('treats a plain function as --interface says, by default as a WSGI application', async () => {
    const wsgi = await recognise((_environ: object, startResponse: (status: string, headers: []) => void) => {
      startResponse('200 OK', [])
      return [Buffer.from('wsgi')]
    }, undefined)
    const node = await recognise((_req: object, res: { end(text: string): void }) => res.end('node'), 'node')
    const fetch = await recognise(() => new Response('fetch'), 'fetch')
    for (const [name, hosted] of Object.entries({ wsgi, node, fetch })) {
      assert.equal(hosted?.interface, name)
      assert.equal((await call(hosted.application)).text, name)
    }
  })

  for (const [what, value] of [
    ['null', null],
    ['nothing', undefined],
    ['a text', 'application'],
    ['an object of its own', { listen() {} }],
    ['an array', [() => {}]],
  ] as const) {
    it(`does not recognise ${what}`, async () => {
      for (const wanted of [undefined, 'wsgi', 'node', 'fetch'] as const) {
        assert.equal(await recognise(value, wanted), undefined)
      }
    })
  }

  it('explains that an Express router cannot answer alone', async () => {
    await assert.rejects(
      () => recognise(express.Router(), undefined),
      /^UnsupportedExport: is an Express router, which/,
    )
  })

  describe('with a server that already listens', () => {
    const server = createServer()
    before(async () => {
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    })
    after(() => server.close())

    it('explains what to do', async () => {
      await assert.rejects(() => recognise(server, undefined), /listens on its own port: .*--interface node/)
    })
  })

  it('rethrows the error of a framework that fails to start', async () => {
    const app = fastify().register(async () => {
      throw new Error('no database')
    })
    await assert.rejects(() => recognise(app, undefined), /no database/)
  })

  it('closes a Fastify instance with the drain, and a NestJS application after it', async () => {
    assert.equal((await recognise(fastify(), undefined))?.close?.when, 'begun')
    assert.equal((await recognise(nestApplication(), undefined))?.close?.when, 'over')
    assert.equal((await recognise(express(), undefined))?.close, undefined)
  })
})
