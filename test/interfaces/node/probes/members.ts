/**
 * Every method and property of node's request, response and socket, read from the prototypes of the running Node, with
 * arguments for each method. A method that is missing from the table fails the test.
 */

import { IncomingMessage, type Server, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { PassThrough, type Stream } from 'node:stream'

export type Subject = 'req' | 'res' | 'socket'

/** Records that a callback was called, and its error. */
export type Called = (error?: unknown) => void
type Arguments = (called: Called) => unknown[]

export interface Method {
  readonly subject: Subject
  readonly key: string | symbol
  readonly name: string
  /** Ways to call it. */
  readonly ways: readonly Arguments[]
}

const prototypes: Readonly<Record<Subject, object>> = {
  req: IncomingMessage.prototype,
  res: ServerResponse.prototype,
  socket: Socket.prototype,
}

const none: Arguments = () => []
const listener: Arguments = (called) => ['probe', called]
const identity: Arguments = () => [(value: unknown) => value]
const headers = { 'Content-Type': 'text/plain' }

/** How each method is called, by its name; `subject.name` where subjects differ. */
const table: Readonly<Record<string, readonly Arguments[] | undefined>> = {
  // Not a method: nothing is inherited.
  __proto__: null as never,
  // EventEmitter
  on: [listener],
  once: [listener],
  addListener: [listener],
  prependListener: [listener],
  prependOnceListener: [listener],
  off: [listener],
  removeListener: [listener],
  removeAllListeners: [() => ['probe']],
  emit: [() => ['probe', 1]],
  eventNames: [none],
  listenerCount: [() => ['probe']],
  listeners: [() => ['probe']],
  rawListeners: [() => ['probe']],
  getMaxListeners: [none],
  setMaxListeners: [() => [20]],
  'Symbol(nodejs.rejection)': [() => [new Error('probe'), 'probe']],
  // Readable
  read: [none, () => [1]],
  setEncoding: [() => ['utf8']],
  pause: [none],
  resume: [none],
  isPaused: [none],
  pipe: [() => [new PassThrough()]],
  unpipe: [none],
  push: [() => [Buffer.from('x')]],
  unshift: [() => [Buffer.from('x')]],
  wrap: [() => [new PassThrough() as Stream]],
  iterator: [none],
  'Symbol(Symbol.asyncIterator)': [none],
  'Symbol(Symbol.asyncDispose)': [none],
  compose: [() => [new PassThrough()]],
  map: [identity],
  filter: [identity],
  forEach: [identity],
  flatMap: [identity],
  some: [identity],
  find: [identity],
  every: [identity],
  reduce: [() => [(one: unknown) => one, 0]],
  toArray: [none],
  drop: [() => [1]],
  take: [() => [1]],
  asIndexedPairs: [none],
  // Writable
  write: [() => ['x'], (called) => ['x', called], (called) => [Buffer.from('x'), called], () => [null]],
  end: [none, () => ['x'], (called) => [called], (called) => ['x', called]],
  cork: [none],
  uncork: [none],
  setDefaultEncoding: [() => ['latin1']],
  destroy: [none, () => [new Error('probe')]],
  // IncomingMessage
  setTimeout: [() => [1_000_000], () => [0], (called) => [1_000_000, called], () => ['x'], () => [-1]],
  // OutgoingMessage
  setHeader: [() => ['X-A', '1'], () => ['bad name', '1']],
  setHeaders: [() => [new Map([['x-a', '1']])], () => [[]]],
  appendHeader: [() => ['X-A', '1']],
  getHeader: [() => ['X-A']],
  getHeaderNames: [none],
  getRawHeaderNames: [none],
  getHeaders: [none],
  hasHeader: [() => ['X-A']],
  removeHeader: [() => ['X-A']],
  addTrailers: [() => [{ 'X-A': '1' }], () => [{ 'bad name': '1' }]],
  flushHeaders: [none],
  'res.pipe': [() => [new PassThrough()]],
  // ServerResponse
  writeHead: [
    () => [200],
    () => [204, headers],
    () => [200, 'Fine', Object.entries(headers).flat()],
    () => [99],
    () => [200, { 'bad name': '1' }],
  ],
  writeHeader: [() => [200]],
  writeContinue: [none, (called) => [called]],
  writeProcessing: [none],
  writeEarlyHints: [() => [{ link: '</a>; rel=preload' }], () => [{ link: 5 }], () => [null]],
  writeInformation: [() => [103, { Link: '</a>; rel=preload' }], () => [101], () => [200]],
  assignSocket: [() => [new Socket()]],
  detachSocket: [() => [new Socket()]],
  _implicitHeader: [none],
  _renderHeaders: [none],
  _send: [() => ['']],
  _flush: [none],
  _dump: [none],
  // net.Socket
  setNoDelay: [() => [true]],
  setKeepAlive: [() => [true, 1000]],
  address: [none],
  ref: [none],
  unref: [none],
  destroySoon: [none],
  resetAndDestroy: [none],
  connect: [() => [1, '127.0.0.1']],
  getTypeOfService: [none],
  setTypeOfService: [() => [0]],
}

/** Names with these prefixes are internal to node, unless the table has them. */
const internal = /^(_|Symbol\((k[A-Z]|Stream\.|messaging_)|constructor$)/

/** Methods of node's classes, most derived first. @throws Error for one without arguments in the table */
export function methods(): Method[] {
  const found: Method[] = []
  const unknown: string[] = []
  for (const subject of ['req', 'res', 'socket'] as const) {
    for (const [key, descriptor] of members(prototypes[subject])) {
      if (typeof descriptor.value !== 'function') continue
      const name = String(key)
      const ways = table[`${subject}.${name}`] ?? table[name]
      if (ways) found.push({ subject, key, name, ways })
      else if (!internal.test(name)) unknown.push(`${subject}.${name}()`)
    }
  }
  if (unknown.length > 0) {
    throw new Error(`no arguments for ${unknown.join(', ')}: add them to the table in ${import.meta.filename}`)
  }
  return found
}

/** Properties of node's classes and of this object: accessors, and own fields. */
export function properties(subject: Subject, one: object): string[] {
  const names: Set<string> = new Set(Object.keys(one))
  for (const [key, descriptor] of members(prototypes[subject])) {
    if (typeof key === 'string' && typeof descriptor.value !== 'function') names.add(key)
  }
  return [...names].filter((name) => !internal.test(name)).toSorted()
}

/** Methods and properties of `http.Server`. */
export function serverMembers(server: Server): string[] {
  const names: Set<string> = new Set(Object.keys(server))
  for (const [key] of members(Object.getPrototypeOf(server) as object)) names.add(String(key))
  return [...names].filter((name) => !internal.test(name)).toSorted()
}

function members(prototype: object): Map<string | symbol, PropertyDescriptor> {
  const found: Map<string | symbol, PropertyDescriptor> = new Map()
  for (let from = prototype; from !== Object.prototype; from = Object.getPrototypeOf(from) as object) {
    for (const key of Reflect.ownKeys(from)) {
      if (!found.has(key)) found.set(key, Object.getOwnPropertyDescriptor(from, key)!)
    }
  }
  return found
}
