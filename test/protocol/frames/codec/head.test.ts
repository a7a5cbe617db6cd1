import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import { LocalProtocolError, RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import { HeadReader } from '../../../../protocol/frames/codec/head.ts'
import { FrameOutput } from '../../../../protocol/frames/codec/output.ts'
import { NAME_INDEX, NAMES } from '../../../../protocol/frames/codec/tables.ts'
import { hex } from '../support.ts'

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false })

const latin1 = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) })
const long = fc
  .tuple(latin1, fc.integer({ min: 1, max: 4000 }))
  .map(([text, times]) => text.repeat(times).slice(0, 70_000))
const item = fc.oneof(latin1, latin1, long, fc.integer({ min: 0, max: 0xffff_ffff }))

function written(items: readonly (string | number)[]): Buffer {
  const out = new FrameOutput()
  out.begin(0, 0, 0)
  out.array(items.length)
  for (const value of items) {
    if (typeof value === 'string') out.text(value)
    else out.int(value)
  }
  out.endArray()
  out.finish()
  return Buffer.concat(out.take()).subarray(9)
}

const read = (bytes: Uint8Array): (string | number)[] => new HeadReader().items(bytes, 0, bytes.length)

describe('a written head', () => {
  test('reads the same with msgpackr', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 60 }), (items) => {
        assert.deepEqual(unpackr.unpack(written(items)), items)
      }),
    )
  })

  test('reads the same with HeadReader', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 60 }), (items) => {
        assert.deepEqual(read(written(items)), items)
      }),
    )
  })

  test('is refused when a code unit is above U+00FF, short or long', () => {
    for (const text of ['\u0100', '€', `${'a'.repeat(300)}😀`, `é\ud800`, `${'é'.repeat(30)}ÿĀ`]) {
      assert.throws(() => written([text]), LocalProtocolError)
    }
  })

  test('has all items, if there are more or fewer than announced', () => {
    for (const room of [0, 1, 3, 40]) {
      const out = new FrameOutput()
      out.begin(0, 0, 0)
      out.array(room)
      for (const text of ['a', 'b', 'c']) out.text(text)
      out.endArray()
      out.finish()
      assert.deepEqual(read(Buffer.concat(out.take()).subarray(9)), ['a', 'b', 'c'])
    }
  })

  test('leaves no bytes when it is refused', () => {
    const out = new FrameOutput()
    out.begin(1, 0, 1)
    out.array(1)
    out.text('a')
    out.endArray()
    out.finish()
    out.begin(2, 0, 2)
    out.array(1)
    out.text('€')
    assert.throws(() => out.endArray())
    out.cancel()
    out.begin(3, 0, 3)
    out.finish()
    assert.equal(Buffer.concat(out.take()).toString('hex'), '01000000030000000191a161030000000000000003')
  })
})

describe('an array of msgpackr', () => {
  test('reads the same with HeadReader, with arrays and numbers of any width', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 60 }), (items) => {
        assert.deepEqual(read(packr.pack(items)), items)
      }),
    )
  })
})

const refused: Record<string, string> = {
  'nothing at all': '',
  'no array': 'a161',
  'a map': '81 a161 a162',
  nil: 'c0',
  'nil in the array': '91 c0',
  'a boolean': '91 c3',
  'a float': '91 cb 3ff0000000000000',
  'a negative number': '91 ff',
  'a signed number': '91 d0 01',
  'a number of 64 bits': '91 cf 0000000000000001',
  binary: '91 c4 01 61',
  'a nested array': '91 91 a161',
  'an array, nested a thousand deep': '91'.repeat(1000),
  'a map in the array': '91 80',
  'an extension': '91 d4 01 00',
  'a timestamp': '91 d6ff 00000000',
  'a record definition of msgpackr': '92 d4 72 40 93 a161 a162 a163 40',
  'the byte that msgpack never uses': '91 c1',
  'an array of 2³² items': 'dd ffffffff',
  'an array of more items than bytes': '95 a161 a162',
  'an array of fewer items than bytes': '91 a161 a162',
  'text that is longer than the head': '91 a561',
  'text of 4 GiB': '91 db ffffffff 61',
  'text without its length': '91 da 00',
  'text beyond latin1 (U+0100)': '91 a2 c480',
  'text beyond latin1 (U+1F600)': '91 a4 f09f9880',
  'text that is no UTF-8': '91 a1 ff',
  'text with an overlong character': '91 a2 c080',
  'text that ends in mid-character': '91 a1 c3',
}

describe('an invalid head', () => {
  for (const [name, bytes] of Object.entries(refused)) {
    test(`${name} is refused`, () => {
      assert.throws(() => read(hex(bytes)), RemoteProtocolError)
    })
  }

  test('any bytes give items or a RemoteProtocolError, never another error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const by of ['items', 'request', 'response', 'fields'] as const) {
          try {
            new HeadReader()[by](bytes, 0, bytes.length)
          } catch (error) {
            assert.ok(error instanceof RemoteProtocolError, String(error))
          }
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('a valid head with one byte changed gives items or a RemoteProtocolError', () => {
    const good = written(['r1', 1, 0, 'GET', 0, 'localhost', 'X-Own', 'é'.repeat(20)])
    for (let at = 0; at < good.length; at++) {
      for (let value = 0; value < 256; value++) {
        const bytes = Buffer.from(good)
        bytes[at] = value
        try {
          const { variables, headers } = new HeadReader().request(bytes, 0, bytes.length)
          for (const text of [...variables, ...headers]) assert.equal(typeof text, 'string')
        } catch (error) {
          assert.ok(error instanceof RemoteProtocolError, String(error))
        }
      }
    }
  })
})

describe('names', () => {
  const reader = new HeadReader()
  const fields = (bytes: string): string[] => {
    const buffer = hex(bytes)
    return reader.fields(buffer, 0, buffer.length)
  }

  test('are read by index or as text', () => {
    assert.deepEqual(fields('94 00 a161 a4486f7374 a162'), ['Host', 'a', 'Host', 'b'])
  })

  test('that are not in the table are refused', () => {
    assert.throws(() => fields(`92 cc${NAMES.length.toString(16)} a161`), RemoteProtocolError)
    assert.throws(() => fields('92 ceffffffff a161'), RemoteProtocolError)
  })

  test('that are empty are refused', () => {
    assert.throws(() => fields('92 a0 a161'), RemoteProtocolError)
  })

  test('without a value are refused', () => {
    assert.throws(() => fields('93 00 a161 01'), RemoteProtocolError)
    assert.throws(() => fields('92 00 01'), RemoteProtocolError)
  })

  test('of a thousand lines keep their order and case', () => {
    const lines = Array.from({ length: 2000 }, (_, at) => (at % 2 === 0 ? NAMES[(at / 2) % NAMES.length]! : `v${at}`))
    const out = new FrameOutput()
    out.begin(0, 0, 0)
    out.array(lines.length)
    for (let at = 0; at < lines.length; at += 2) {
      out.name(lines[at]!, NAME_INDEX)
      out.text(lines[at + 1]!)
    }
    out.endArray()
    out.finish()
    const bytes = Buffer.concat(out.take()).subarray(9)
    assert.deepEqual(reader.fields(bytes, 0, bytes.length), lines)
  })

  test('of variables are refused if there are fewer items than their count', () => {
    const bytes = hex('94 a0 7f 00 a161')
    assert.throws(() => reader.request(bytes, 0, bytes.length), RemoteProtocolError)
  })
})
