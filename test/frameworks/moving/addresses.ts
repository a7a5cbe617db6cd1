/**
 * The client's address as each framework reports it: `/express/ip`, with trust in proxies `/express/trusted`, and so
 * on. Listens on PORT.
 */

import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { getConnInfo } from '@hono/node-server/conninfo'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'

function expressApp(trusting: boolean): express.Express {
  const app = express()
  if (trusting) app.set('trust proxy', 'loopback')
  return app.use((req, res) => void res.send(`${req.ip}`))
}

function koaApp(trusting: boolean): Koa {
  return new Koa({ proxy: trusting }).use((ctx) => {
    ctx.body = ctx.ip
  })
}

async function fastifyApp(trusting: boolean): Promise<ReturnType<typeof fastify>> {
  const app = fastify({ trustProxy: trusting && 'loopback' })
  app.get('*', (request) => request.ip)
  await app.ready()
  return app
}

const hono = new Hono().get('*', (c) => c.text(getConnInfo(c).remote.address ?? 'unknown'))

const [plain, trusting] = [await fastifyApp(false), await fastifyApp(true)]
const listeners: Record<string, Parameters<typeof createServer>[1]> = {
  '/express/ip': expressApp(false),
  '/express/trusted': expressApp(true),
  '/koa/ip': koaApp(false).callback(),
  '/koa/trusted': koaApp(true).callback(),
  '/fastify/ip': (req, res) => plain.routing(req, res),
  '/fastify/trusted': (req, res) => trusting.routing(req, res),
  '/hono/ip': getRequestListener(hono.fetch),
}

createServer((req, res) => {
  listeners[req.url!]!(req, res as never)
}).listen(Number(process.env['PORT']), '127.0.0.1', () => console.log('listening'))
