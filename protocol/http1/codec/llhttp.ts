/**
 * llhttp, as undici ships it compiled to WebAssembly: the only file that uses its memory and its constants. It frames
 * header blocks and chunked bodies; `head.ts` and `parser.ts` decide what is acceptable beyond that.
 */

// The callbacks run inside WebAssembly. They only write numbers into arrays, so that no application code runs there and
// no exception passes through it. The module keeps no state between calls: the recorder is emptied at the start of each
// call. `undici/lib/llhttp/` is not a public interface of undici: its version is pinned exactly, and `llhttp.test.ts`
// checks path, imports, exports and constants.

import { createRequire } from 'node:module'
import { localError } from '../../contract/coded-errors.ts'
import { ChunkLines } from './chunk-lines.ts'

/** The file with the WebAssembly, SIMD variant: every tier 1 platform of Node 24 supports SIMD. */
export const WASM_FILE = 'undici/lib/llhttp/llhttp_simd-wasm.js'

/** llhttp's constants that are used here (undici/lib/llhttp/constants.js). */
export const TYPE_REQUEST = 1
export const OK = 0
export const PAUSED = 21
export const INVALID_TRANSFER_ENCODING = 15
/** Our own code: llhttp and this file do not agree where a head or a chunk ends. */
const DISAGREED = -1

interface Exports {
  memory: { buffer: ArrayBuffer }
  _initialize(): void
  malloc(size: number): number
  free(pointer: number): void
  llhttp_alloc(type: number): number
  llhttp_free(parser: number): void
  llhttp_reset(parser: number): void
  llhttp_resume(parser: number): void
  llhttp_execute(parser: number, data: number, length: number): number
  llhttp_get_error_pos(parser: number): number
  llhttp_get_error_reason(parser: number): number
}

/** The parts of the global that are used: TypeScript declares it only with the types of browsers. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: object) => { exports: unknown }
}

// ---- the recorder --------------------------------------------------------------------------------------------------

/** Address in WASM memory of the bytes that are being parsed. */
let base = 0
/** Header pieces, three numbers each: kind, offset, length. */
const fields: number[] = []
let fieldsUsed = 0
/** Body pieces, two numbers each: offset, length. */
const body: number[] = []
let bodyUsed = 0
let headComplete = false
let messageComplete = false

const NAME = 0
const VALUE = 1

function record(kind: number, at: number, length: number): number {
  fields[fieldsUsed] = kind
  fields[fieldsUsed + 1] = at - base
  fields[fieldsUsed + 2] = length
  fieldsUsed += 3
  return OK
}

const nothing = (): number => OK

const imports = {
  env: {
    wasm_on_message_begin: nothing,
    wasm_on_url: nothing,
    wasm_on_status: nothing,
    wasm_on_header_field: (_parser: number, at: number, length: number): number => record(NAME, at, length),
    wasm_on_header_value: (_parser: number, at: number, length: number): number => record(VALUE, at, length),
    // Both callbacks pause llhttp: it must not parse what follows a head or a message.
    wasm_on_headers_complete: (): number => {
      headComplete = true
      return PAUSED
    },
    wasm_on_body: (_parser: number, at: number, length: number): number => {
      body[bodyUsed] = at - base
      body[bodyUsed + 1] = length
      bodyUsed += 2
      return OK
    },
    wasm_on_message_complete: (): number => {
      messageComplete = true
      return PAUSED
    },
  },
}

function begin(): void {
  base = scratch
  fieldsUsed = 0
  bodyUsed = 0
  headComplete = false
  messageComplete = false
}

// ---- the instance --------------------------------------------------------------------------------------------------

const wasm: Exports = instantiate()
const headParser = wasm.llhttp_alloc(TYPE_REQUEST)

/** Size of the memory for the bytes that are parsed at once; it grows for larger heads. */
const PIECE = 64 * 1024
let scratchSize = PIECE
let scratch = wasm.malloc(scratchSize)
let memory: Buffer = Buffer.from(wasm.memory.buffer)

function instantiate(): Exports {
  const bytes = createRequire(import.meta.url)(WASM_FILE) as Buffer
  const exports = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports as Exports
  exports._initialize()
  return exports
}

/** Copies bytes into WASM memory. When WASM memory grows, its old ArrayBuffer is detached: then the view is renewed. */
function place(bytes: Uint8Array, start: number, end: number): void {
  if (end - start > scratchSize) {
    wasm.free(scratch)
    scratchSize = end - start
    scratch = wasm.malloc(scratchSize)
    if (scratch === 0) throw localError('LLHTTP_MEMORY', `llhttp cannot allocate ${scratchSize} bytes`)
  }
  if (memory.buffer !== wasm.memory.buffer) memory = Buffer.from(wasm.memory.buffer)
  memory.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), scratch)
}

function reason(parser: number): string {
  const at = wasm.llhttp_get_error_reason(parser)
  if (at === 0) return ''
  const view = Buffer.from(wasm.memory.buffer)
  return view.toString('latin1', at, view.indexOf(0, at))
}

/** Size of WASM memory in bytes. It never shrinks: a test finds parsers that were not freed by it. */
export function memorySize(): number {
  return wasm.memory.buffer.byteLength
}

// ---- heads ---------------------------------------------------------------------------------------------------------

/** llhttp's reason for the error of the last `executeHead`. */
export let headReason = ''

/**
 * Lets llhttp parse one complete head, from the request line to the empty line, both included. Then `headSpans` holds
 * name offset, name length, value offset, value length, … relative to `start`.
 *
 * @returns OK, an error of llhttp, or DISAGREED if llhttp finds the end of the head elsewhere than the caller
 */
export function executeHead(bytes: Uint8Array, start: number, end: number): number {
  place(bytes, start, end)
  begin()
  wasm.llhttp_reset(headParser)
  const result = wasm.llhttp_execute(headParser, scratch, end - start)
  if (result !== PAUSED || !headComplete) {
    headReason = result === OK ? 'the header block has no end' : reason(headParser)
    return result === OK || result === PAUSED ? DISAGREED : result
  }
  if (wasm.llhttp_get_error_pos(headParser) !== scratch + end - start || fieldsUsed % 6 !== 0) {
    headReason = 'the header block ends early'
    return DISAGREED
  }
  headFields = fieldsUsed / 6
  for (let from = 0, to = 0; from < fieldsUsed; from += 6, to += 4) {
    if (fields[from] !== NAME || fields[from + 3] !== VALUE) {
      headReason = 'a header field came in pieces'
      return DISAGREED
    }
    headSpans[to] = fields[from + 1]!
    headSpans[to + 1] = fields[from + 2]!
    headSpans[to + 2] = fields[from + 4]!
    headSpans[to + 3] = fields[from + 5]!
  }
  return OK
}

/** Result of the last `executeHead`: four numbers per field. */
export const headSpans: number[] = []
/** Result of the last `executeHead`: the number of fields. */
export let headFields = 0

// ---- chunked bodies ------------------------------------------------------------------------------------------------

/**
 * A head after which llhttp expects a chunked body. Each body gets a new parser, which never sees the client's head.
 */
const CHUNKED_HEAD = Buffer.from('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n', 'latin1')

/** An llhttp parser for one chunked body. Call `free()` at its end: WASM memory is not garbage-collected. */
export class ChunkedFramer {
  /** Result of the last `execute`: start, length, … of body data, relative to `start`. */
  readonly spans: number[] = []
  /** Result of the last `execute`: bytes parsed, up to the end of the message or the error. */
  taken = 0
  /** Whether the last chunk and the trailers are complete. */
  complete = false
  /** Trailers so far: name, value, …; the last string may be incomplete. */
  readonly trailers: string[] = []
  readonly #lines: ChunkLines = new ChunkLines()
  /** Reason of a DISAGREED, which llhttp does not know. */
  #reason = ''
  #kind = VALUE
  #parser = wasm.llhttp_alloc(TYPE_REQUEST)

  constructor() {
    if (this.#parser === 0) throw localError('LLHTTP_MEMORY', 'llhttp cannot allocate another parser')
    place(CHUNKED_HEAD, 0, CHUNKED_HEAD.length)
    begin()
    wasm.llhttp_execute(this.#parser, scratch, CHUNKED_HEAD.length)
    wasm.llhttp_resume(this.#parser)
  }

  /**
   * Parses at most 64 KiB.
   *
   * @returns OK, or an error of llhttp; the data before the error is valid
   */
  execute(bytes: Uint8Array, start: number, end: number): number {
    place(bytes, start, end)
    this.#lines.follow(memory, scratch, scratch + end - start)
    begin()
    const result = wasm.llhttp_execute(this.#parser, scratch, end - start)
    this.spans.length = 0
    let data = 0
    for (let at = 0; at < bodyUsed; at++) {
      this.spans.push(body[at]!)
      if (at % 2 === 1) data += body[at]!
    }
    for (let at = 0; at < fieldsUsed; at += 3) {
      const text = memory.toString('latin1', scratch + fields[at + 1]!, scratch + fields[at + 1]! + fields[at + 2]!)
      if (fields[at] === this.#kind) this.trailers[this.trailers.length - 1] += text
      else this.trailers.push(text)
      this.#kind = fields[at]!
    }
    if ((result === OK || result === PAUSED) && data !== this.#lines.data) {
      this.#reason = 'two readings of the chunk sizes differ'
      this.spans.length = 0
      this.taken = 0
      return DISAGREED
    }
    if (result === OK) {
      this.taken = end - start
      return OK
    }
    this.taken = wasm.llhttp_get_error_pos(this.#parser) - scratch
    if (result === PAUSED && messageComplete) {
      this.complete = true
      return OK
    }
    return result
  }

  /** Reason for the error of the last `execute`. */
  get reason(): string {
    return this.#reason || reason(this.#parser)
  }

  free(): void {
    if (this.#parser !== 0) wasm.llhttp_free(this.#parser)
    this.#parser = 0
  }
}
