/**
 * What a module exports → what a container can serve: a table of the frameworks that say what they are, by marks of their own, and
 * how each becomes an Application. Plain functions say nothing: `--interface` does, and they are WSGI's unless it says otherwise.
 *
 * Nothing is imported of any framework, so that none has to be installed. It loads no modules.
 */

import { Server } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import { type FetchHandler, type FetchModule, fromFetch } from '../../interfaces/fetch/from-fetch.ts'
import { fromNode, fromServer, type NodeListener } from '../../interfaces/node/from-node.ts'
import type { Application } from '../../protocol/contract/application.ts'
import type { HostedApplication, InterfaceName } from './hosted-application.ts'

/** What cannot be serveServer though it is known what it is. The message goes on after "… of app.js ". */
export class UnsupportedExport extends Error {
  override readonly name: string = 'UnsupportedExport'
}

/** Any object or function: what it has is asked for by name. */
type AnyObject = Readonly<Record<string, unknown>>

/** A kind of object that says what it is. */
interface Kind<T = AnyObject> {
  /** `an Express application` */
  readonly what: string
  readonly interface: InterfaceName
  /** @param one neither null nor primitive; its properties may be anything */
  is(one: AnyObject): boolean
  serve(one: T): Served | Promise<Served>
  close?(one: T): NonNullable<HostedApplication['close']>
}

type Served = Pick<HostedApplication, 'application' | 'server'>

/** What is used of a framework's object, `is` having looked for it. */
function kind<T>(one: Kind<T>): Kind {
  return one as unknown as Kind
}

interface Nest {
  init(): Promise<unknown>
  close(): Promise<unknown>
  getHttpServer(): Server
  getHttpAdapter(): { getInstance?(): AnyObject | undefined }
}

interface Fastify {
  ready(): PromiseLike<unknown>
  close(): Promise<unknown>
  readonly server: unknown
}

/** In the order they are looked at: NestJS's proxy answers for its adapter, so that it comes first. */
const kinds: readonly Kind[] = [
  kind<Nest>({
    what: 'a NestJS application',
    interface: 'node',
    is: (one) => has(one, 'getHttpAdapter', 'getHttpServer', 'init', 'close'),
    serve: async (one) => {
      await one.init()
      // Of the Fastify adapter: its routes are there only then.
      const instance = one.getHttpAdapter().getInstance?.()
      if (instance && has(instance, 'ready', 'routing')) await (instance as unknown as Fastify).ready()
      return serveServer(one.getHttpServer())
    },
    // Afterwards: its hooks disconnect databases, which running requests need.
    close: (one) => ({ when: 'over', run: () => one.close() }),
  }),
  kind<Fastify>({
    what: 'a Fastify instance',
    interface: 'node',
    is: (one) => has(one, 'ready', 'routing', 'inject', 'close') && isObject(one['server']),
    serve: async (one) => {
      await one.ready()
      const { server } = one
      if (!isServer(server)) throw new UnsupportedExport('is a Fastify instance of HTTP/2: give one of http')
      return serveServer(server)
    },
    // At once: it ends long-lived connections (preClose), waits for what runs, and only then runs onClose.
    close: (one) => ({ when: 'begun', run: () => one.close() }),
  }),
  kind<{ callback(): NodeListener }>({
    what: 'a Koa application',
    interface: 'node',
    is: (one) => has(one, 'callback', 'use') && Array.isArray(one['middleware']),
    serve: (one) => ({ application: fromNode(one.callback()) }),
  }),
  kind<NodeListener>({
    what: 'an Express application',
    interface: 'node',
    is: (one) => isFunction(one) && has(one, 'handle', 'set', 'use', 'listen') && isObject(one['settings']),
    serve: (one) => ({ application: fromNode(one) }),
  }),
  kind<NodeListener>({
    what: 'a Connect application',
    interface: 'node',
    is: (one) => isFunction(one) && has(one, 'handle', 'use', 'listen') && Array.isArray(one['stack']),
    serve: (one) => ({ application: fromNode(one) }),
  }),
  kind({
    what: 'an Express router',
    interface: 'node',
    is: (one) => isFunction(one) && has(one, 'handle', 'use', 'route') && Array.isArray(one['stack']),
    serve: () => {
      throw new UnsupportedExport(
        'is an Express router, which cannot answer alone: export the application that uses it',
      )
    },
  }),
  kind<Server>({
    what: 'an http.Server',
    interface: 'node',
    is: isServer,
    serve: serveServer,
  }),
  kind<FetchModule>({
    what: 'a Hono application',
    interface: 'fetch',
    is: (one) => has(one, 'fetch', 'request') && Array.isArray(one['routes']),
    serve: (one) => ({ application: fromFetch(one) }),
  }),
  kind<FetchModule>({
    what: 'an object with fetch()',
    interface: 'fetch',
    is: (one) => has(one, 'fetch'),
    serve: (one) => ({ application: fromFetch(one) }),
  }),
]

const functions: Readonly<Record<InterfaceName, (given: never) => HostedApplication>> = {
  wsgi: (application: Application) => ({ what: 'an application', interface: 'wsgi', application }),
  node: (listener: NodeListener) => ({ what: 'a listener', interface: 'node', application: fromNode(listener) }),
  fetch: (handler: FetchHandler) => ({
    what: 'a fetch handler',
    interface: 'fetch',
    application: fromFetch(handler),
  }),
}

/** What an export may be, for messages. */
export function expectedOf(wanted: InterfaceName | undefined): string {
  const frameworks = 'an Express, Koa, Fastify or NestJS application, an http.Server'
  switch (wanted) {
    case 'wsgi':
      return 'a function of (environ, startResponse)'
    case 'node':
      return `a function of (req, res), ${frameworks}`
    case 'fetch':
      return 'a function of (request), or an object with fetch() as a Hono application is'
    default:
      return `a function of (environ, startResponse), ${frameworks}, or an object with fetch() as a Hono application is`
  }
}

/**
 * Makes `found` what a container serves, and waits for its framework to be ready.
 *
 * @param wanted what `--interface` says; undefined: what it says of itself
 * @returns undefined when it is nothing that can be serveServer
 * @throws UnsupportedExport for what it is but must not be; whatever the framework throws when it starts
 */
export async function recognise(
  found: unknown,
  wanted: InterfaceName | undefined,
): Promise<HostedApplication | undefined> {
  const one = isPromise(found) ? await found : found
  if ((typeof one !== 'object' && typeof one !== 'function') || one === null) return undefined
  const kind = kinds.find(({ is }) => is(one as AnyObject))
  if (!kind) return typeof one === 'function' ? functions[wanted ?? 'wsgi'](one as never) : undefined
  if (wanted !== undefined && wanted !== kind.interface) {
    throw new UnsupportedExport(
      `is ${kind.what}, and --interface ${wanted} was given: leave it out, or give ${kind.interface}`,
    )
  }
  const serving = await kind.serve(one as AnyObject)
  return { ...serving, what: kind.what, interface: kind.interface, close: kind.close?.(one as AnyObject) }
}

/** A module that is no ES module cannot await at its top. A Fastify instance has a `then` too, and is what it is. */
function isPromise(found: unknown): found is PromiseLike<unknown> {
  const one = found as AnyObject | null | undefined
  return typeof one === 'object' && one !== null && typeof one['then'] === 'function' && !has(one, 'ready')
}

function isFunction(one: unknown): boolean {
  return typeof one === 'function'
}

function isObject(one: unknown): boolean {
  return typeof one === 'object' && one !== null
}

function has(one: AnyObject, ...methods: readonly string[]): boolean {
  return methods.every((name) => typeof one[name] === 'function')
}

function isServer(one: unknown): one is Server {
  return one instanceof Server || one instanceof HttpsServer
}

/** @throws UnsupportedExport for a server that has a port of its own already */
function serveServer(server: Server): Served {
  if (!server.listening) return { application: fromServer(server), server }
  throw new UnsupportedExport(
    'listens on a port of its own: leave listen() to the container, or start one with --interface node, with which it takes the server over',
  )
}
