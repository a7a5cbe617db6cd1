/**
 * Recognises what a module exports and makes an Application of it: a table of frameworks, each with the properties that
 * identify it. A plain function has none: `--interface` decides, and the default is WSGI. Imports no framework and
 * loads no modules, so that no framework has to be installed.
 */

import { Server } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import { type FetchHandler, type FetchModule, fromFetch } from '../../interfaces/fetch/from-fetch.ts'
import { fromNode, fromServer, type NodeListener } from '../../interfaces/node/from-node.ts'
import type { Application } from '../../protocol/contract/application.ts'
import type { HostedApplication, InterfaceName } from './hosted-application.ts'

/** An export is recognised but cannot be served. The message continues the words "the export … of app.js ". */
export class UnsupportedExport extends Error {
  override readonly name: string = 'UnsupportedExport'
}

/** Any object or function; its properties are tested by name. */
type AnyObject = Readonly<Record<string, unknown>>

/** A kind of export that can be recognised. */
interface Kind<T = AnyObject> {
  /** `an Express application` */
  readonly what: string
  readonly interface: InterfaceName
  /** @param one neither null nor primitive; its properties may have any type */
  is(one: AnyObject): boolean
  serve(one: T): Served | Promise<Served>
  close?(one: T): NonNullable<HostedApplication['close']>
}

type Served = Pick<HostedApplication, 'application' | 'server'>

/** Types the framework object in `serve` and `close`: `is` has checked what they use. */
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

/** Tested in this order: NestJS's proxy also has the methods of its adapter, so NestJS comes first. */
const kinds: readonly Kind[] = [
  kind<Nest>({
    what: 'a NestJS application',
    interface: 'node',
    is: (one) => has(one, 'getHttpAdapter', 'getHttpServer', 'init', 'close'),
    serve: async (one) => {
      await one.init()
      // With the Fastify adapter, the routes exist only after this.
      const instance = one.getHttpAdapter().getInstance?.()
      if (instance && has(instance, 'ready', 'routing')) await (instance as unknown as Fastify).ready()
      return serveServer(one.getHttpServer())
    },
    // After the drain: the hooks disconnect databases, which running requests need.
    close: (one) => ({ when: 'over', run: () => one.close() }),
  }),
  kind<Fastify>({
    what: 'a Fastify instance',
    interface: 'node',
    is: (one) => has(one, 'ready', 'routing', 'inject', 'close') && isObject(one['server']),
    serve: async (one) => {
      await one.ready()
      const { server } = one
      if (!isServer(server)) throw new UnsupportedExport('is a Fastify instance with HTTP/2: use one with HTTP/1.1')
      return serveServer(server)
    },
    // When the drain begins: it ends long-lived connections (preClose), waits for running requests, and only then runs
    // onClose.
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

const functions: Readonly<Record<InterfaceName, (exported: never) => HostedApplication>> = {
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
 * Makes an application of an export, and waits until its framework is ready.
 *
 * @param wanted the value of `--interface`; undefined: decided by the export
 * @returns undefined if the export cannot be served
 * @throws UnsupportedExport if the export is recognised but cannot be served; also rethrows what the framework throws
 *   when it starts
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
      `is ${kind.what}, and --interface ${wanted} was given: omit it, or use ${kind.interface}`,
    )
  }
  const serving = await kind.serve(one as AnyObject)
  return { ...serving, what: kind.what, interface: kind.interface, close: kind.close?.(one as AnyObject) }
}

/**
 * A CommonJS module cannot await at its top level, so it may export a promise. A Fastify instance also has a `then`
 * method but is not a promise.
 */
function isPromise(found: unknown): found is PromiseLike<unknown> {
  const one = found as AnyObject | null | undefined
  return typeof one === 'object' && one !== null && typeof one['then'] === 'function' && !has(one, 'ready')
}

function isFunction(one: unknown): boolean {
  return typeof one === 'function'
}

export function isObject(one: unknown): one is object {
  return typeof one === 'object' && one !== null
}

function has(one: AnyObject, ...methods: readonly string[]): boolean {
  return methods.every((name) => typeof one[name] === 'function')
}

function isServer(one: unknown): one is Server {
  return one instanceof Server || one instanceof HttpsServer
}

/** @throws UnsupportedExport if the server already listens on its own port */
function serveServer(server: Server): Served {
  if (!server.listening) return { application: fromServer(server), server }
  throw new UnsupportedExport(
    'already listens on its own port: do not call listen(), or use --interface node, with which the container takes the server over',
  )
}
