import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { describe, it } from 'node:test'
import {
  ChunkedFramer,
  executeHead,
  headFields,
  headSpans,
  INVALID_TRANSFER_ENCODING,
  memorySize,
  OK,
  PAUSED,
  TYPE_REQUEST,
  WASM_FILE,
} from '../../../../protocol/http1/codec/llhttp.ts'

const require = createRequire(import.meta.url)
declare const WebAssembly: {
  Module: {
    new (bytes: Uint8Array): object
    imports(module: object): { name: string }[]
    exports(module: object): { name: string }[]
  }
}

describe("undici's llhttp", () => {
  it('has the version whose private files are used', () => {
    assert.equal(require('undici/package.json').version, '8.12.4')
    assert.equal(require('../../../../package.json').dependencies.undici, '8.12.4')
  })

  it('is at the expected path, and has the expected imports and exports', () => {
    const module = new WebAssembly.Module(require(WASM_FILE))
    const imports = WebAssembly.Module.imports(module).map(({ name }) => name)
    assert.deepEqual(imports.sort(), [
      'wasm_on_body',
      'wasm_on_header_field',
      'wasm_on_header_value',
      'wasm_on_headers_complete',
      'wasm_on_message_begin',
      'wasm_on_message_complete',
      'wasm_on_status',
      'wasm_on_url',
    ])
    const exports = new Set(WebAssembly.Module.exports(module).map(({ name }) => name))
    for (const name of [
      '_initialize',
      'free',
      'llhttp_alloc',
      'llhttp_execute',
      'llhttp_free',
      'llhttp_get_error_pos',
      'llhttp_get_error_reason',
      'llhttp_reset',
      'llhttp_resume',
      'malloc',
      'memory',
    ]) {
      assert.ok(exports.has(name), name)
    }
  })

  it('has the expected constants', () => {
    const { ERROR, TYPE } = require('undici/lib/llhttp/constants.js')
    assert.deepEqual(
      [TYPE.REQUEST, ERROR.OK, ERROR.PAUSED, ERROR.INVALID_TRANSFER_ENCODING],
      [TYPE_REQUEST, OK, PAUSED, INVALID_TRANSFER_ENCODING],
    )
  })

  it('finds the positions of the fields of a head', () => {
    const bytes = Buffer.from('xxGET / HTTP/1.1\r\nA: bc\r\nDef: g \r\n\r\nyy', 'latin1')
    assert.equal(executeHead(bytes, 2, bytes.length - 2), OK)
    assert.equal(headFields, 2)
    assert.deepEqual(headSpans.slice(0, 8), [16, 1, 19, 2, 23, 3, 28, 2])
  })

  it('refuses a head that ends before or after its empty line', () => {
    const bytes = Buffer.from('GET / HTTP/1.1\r\nA: b\r\n\r\nGET', 'latin1')
    assert.notEqual(executeHead(bytes, 0, bytes.length), OK)
    assert.notEqual(executeHead(bytes, 0, bytes.length - 4), OK)
    assert.equal(executeHead(bytes, 0, bytes.length - 3), OK)
  })

  it('parses a head that is larger than its initial memory', () => {
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nA: ${'b'.repeat(1_000_000)}\r\n\r\n`, 'latin1')
    assert.equal(executeHead(bytes, 0, bytes.length), OK)
    assert.deepEqual(headSpans.slice(0, 4), [16, 1, 19, 1_000_000])
  })

  it('frees the memory of bodies that have ended', () => {
    const bytes = Buffer.from('3\r\nabc\r\n', 'latin1')
    const before = memorySize()
    for (let at = 0; at < 20_000; at++) {
      const framer = new ChunkedFramer()
      framer.execute(bytes, 0, bytes.length)
      framer.free()
    }
    assert.equal(memorySize(), before)
  })
})
