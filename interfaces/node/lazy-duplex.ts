/**
 * A Duplex that becomes a stream when it is first used as one. The `socket` of a request hardly ever is: it is asked for addresses,
 * listened to, and given a response in one go.
 *
 * Not to save the making, which is cheap. Node's writable state holds a function that V8 puts among the old objects as soon as it is initialized
 * (it does so with every function literal that is assigned to a property, taking it for a method), from where it keeps its stream, and all
 * that hangs on it, through each collection of young objects: with a Duplex for each request half of what requests had used lived on until
 * a full collection, and serving one of Express's took a quarter more CPU time.
 *
 * It knows nothing of what the stream is for.
 */

import { EventEmitter } from 'node:events'
import { Duplex, getDefaultHighWaterMark } from 'node:stream'

/** Duplex's prototype without its constructor. */
const DuplexPrototype = function DuplexPrototype(this: EventEmitter & { _events?: object }): void {
  // Listeners are kept here until the stream takes them over. Named, so that the usual ones change no shape.
  this._events = { close: undefined, error: undefined, timeout: undefined }
  EventEmitter.call(this as never)
} as unknown as new () => Duplex
Object.setPrototypeOf(DuplexPrototype, Duplex)
DuplexPrototype.prototype = Object.create(Duplex.prototype, {
  constructor: { value: DuplexPrototype, writable: true, configurable: true },
})

// Duplex sets it on the stream itself.
Object.defineProperty(DuplexPrototype.prototype, 'allowHalfOpen', { value: true, writable: true, configurable: true })

/** Who listens for these wants a stream. */
const STREAM_EVENTS: ReadonlySet<string | symbol> = new Set(['data', 'readable', 'end', 'pause', 'resume'])

type Listener = (...given: never[]) => void
type Callback = (error?: Error | null) => void

interface Item {
  readonly chunk: Uint8Array
  readonly encoding: BufferEncoding
  readonly callback: Callback | undefined
}

export abstract class LazyDuplex extends DuplexPrototype {
  #initialized = false
  #corked = false
  /** Written while corked. */
  #items: Item[] = []
  #bytes = 0
  /** Given to `_writev` and not taken yet. */
  #writing = 0
  #isWriting = false
  /** Lets the stream, which was initialized meanwhile, go on. */
  #resumeStream: Callback | undefined

  /** Whether it is a stream by now. */
  get initialized(): boolean {
    return this.#initialized
  }

  /** Makes the stream, with its listeners and with what was written to it. Without effect afterwards. */
  initialize(): void {
    if (this.#initialized) return
    this.#initialized = true
    ;(Duplex as unknown as { call(self: Duplex): void }).call(this)
    if (this.#isWriting) {
      // A write of nothing, which ends when what was given is taken: what follows waits behind it.
      const hold = (_chunk: unknown, _encoding: unknown, taken: Callback): void => void (this.#resumeStream = taken)
      this._write = hold
      super.write(NOTHING)
      delete (this as { _write?: unknown })._write
    }
    if (!this.#corked) return
    super.cork()
    for (const { chunk, callback } of this.#items) super.write(chunk, callback)
    this.#items = []
    this.#bytes = 0
  }

  override cork(): void {
    // One batch at a time: what follows the first waits in the stream.
    if (this.#isWriting) this.initialize()
    if (this.#initialized) super.cork()
    else this.#corked = true
  }

  override write(chunk: unknown, encoding?: BufferEncoding | Callback | null, callback?: Callback): boolean {
    const called = typeof encoding === 'function' ? encoding : callback
    const coding = typeof encoding === 'string' ? encoding : 'utf8'
    if (!this.#initialized && this.#corked && (typeof chunk === 'string' || chunk instanceof Uint8Array)) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, coding) : chunk
      if (this.#bytes + bytes.length < getDefaultHighWaterMark(false)) {
        this.#bytes += bytes.length
        this.#items.push({ chunk: bytes, encoding: 'buffer' as BufferEncoding, callback: called })
        return true
      }
    }
    this.initialize()
    return super.write(chunk, coding, called)
  }

  override uncork(): void {
    if (this.#initialized) {
      super.uncork()
      return
    }
    this.#corked = false
    const items = this.#items
    if (items.length === 0) return
    this.#items = []
    this.#writing = this.#bytes
    this.#bytes = 0
    this.#isWriting = true
    let now = true
    this._writev!(items, (error) => {
      if (now) process.nextTick(() => this.#taken(items, error))
      else this.#taken(items, error)
    })
    now = false
  }

  // These look at the writable state first, which may be the stand-in's.

  override end(...given: unknown[]): this {
    this.initialize()
    return super.end(...(given as []))
  }

  override destroy(error?: Error): this {
    this.initialize()
    return super.destroy(error)
  }

  override setDefaultEncoding(encoding: BufferEncoding): this {
    this.initialize()
    return super.setDefaultEncoding(encoding)
  }

  #taken(items: Item[], error: Error | null | undefined): void {
    this.#isWriting = false
    this.#writing = 0
    try {
      for (const { callback } of items) callback?.(error)
    } finally {
      // Also where a callback threw: what waits behind goes on.
      if (this.#resumeStream) this.#resumeStream(error)
      else if (error) this.destroy(error)
    }
  }

  /** @internal What the stream's getters say before it is initialized. */
  initialValue(name: SimpleGetter): unknown {
    switch (name) {
      case 'readable':
      case 'writable':
        return true
      case 'destroyed':
      case 'closed':
      case 'writableNeedDrain':
        return false
      case 'errored':
        return null
      case 'writableCorked':
        return this.#corked ? 1 : 0
      case 'writableLength':
        return this.#bytes + this.#writing
      default:
        return getDefaultHighWaterMark(false)
    }
  }

  /** @internal Bytes that the stream does not know of. */
  get bytesOutsideStream(): number {
    return this.#writing
  }

  /** @internal Node's ServerResponse sets `corked` of its socket's state before it uncorks it for good. */
  get corkedState(): object | undefined {
    return this.#corked ? CORKED_STATE : undefined
  }

  override on(event: string | symbol, listener: Listener): this {
    if (STREAM_EVENTS.has(event)) this.initialize()
    if (this.#initialized) return super.on(event, listener as never)
    EventEmitter.prototype.on.call(this, event, listener as never)
    return this
  }

  override addListener(event: string | symbol, listener: Listener): this {
    return this.on(event, listener)
  }

  override removeListener(event: string | symbol, listener: Listener): this {
    if (this.#initialized) return super.removeListener(event, listener as never)
    EventEmitter.prototype.removeListener.call(this, event, listener as never)
    return this
  }

  override off(event: string | symbol, listener: Listener): this {
    return this.removeListener(event, listener)
  }
}

const NOTHING: Uint8Array = new Uint8Array(0)
/** One for all: it takes that one assignment and keeps nothing; any other is refused. */
const CORKED_STATE: object = Object.freeze({
  get corked(): number {
    return 1
  },
  set corked(_corks: number) {},
})

const simpleGetters = [
  'readable',
  'writable',
  'destroyed',
  'closed',
  'errored',
  'writableNeedDrain',
  'writableCorked',
  'writableLength',
  'readableHighWaterMark',
  'writableHighWaterMark',
] as const
type SimpleGetter = (typeof simpleGetters)[number]

// Not in the class: node's types have these as plain properties.
for (const name of simpleGetters) {
  const { get, set } = inherited(name)
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      if (!this.initialized) return this.initialValue(name)
      const said: unknown = get!.call(this)
      return name === 'writableLength' ? (said as number) + this.bytesOutsideStream : said
    },
    set(this: LazyDuplex, value: unknown) {
      this.initialize()
      set?.call(this, value)
    },
  })
}

// All others are the stream's to answer.
for (const name of Object.getOwnPropertyNames(Duplex.prototype)) {
  const { get, set } = Object.getOwnPropertyDescriptor(Duplex.prototype, name)!
  if (!get || (simpleGetters as readonly string[]).includes(name)) continue
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex): unknown {
      this.initialize()
      return get.call(this)
    },
    set(this: LazyDuplex, value: unknown) {
      this.initialize()
      set?.call(this, value)
    },
  })
}

// The state itself: who asks for it wants a stream, whose constructor sets it.
for (const name of ['_readableState', '_writableState'] as const) {
  Object.defineProperty(LazyDuplex.prototype, name, {
    configurable: true,
    get(this: LazyDuplex & Record<string, unknown>): unknown {
      const { corkedState } = this
      if (name === '_writableState' && corkedState) return corkedState
      this.initialize()
      return this[name]
    },
    set(this: LazyDuplex, value: unknown) {
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true })
    },
  })
}

function inherited(name: string): PropertyDescriptor {
  for (let from: object | null = Duplex.prototype; from; from = Object.getPrototypeOf(from)) {
    const found = Object.getOwnPropertyDescriptor(from, name)
    if (found) return found
  }
  throw new Error(`streams have no ${name}`)
}
