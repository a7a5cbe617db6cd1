import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { LocalProtocolError, RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import {
  decodePacket,
  encodePacket,
  encodePong,
  HEADER_BYTES,
  MAX_PAYLOAD,
  PING,
  packetLength,
  REQUEST,
  REQUEST_WITH_SCRIPT_NAME,
} from '../../../../protocol/uwsgi/codec/packet.ts'
import { nginxGet, packet } from '../support.ts'

const GOLDEN = Buffer.from('0015000003004b4559050076616c75650500454d5054590000', 'hex')

const nativeText = (max: number) =>
  fc.uint8Array({ maxLength: max }).map((bytes) => Buffer.from(bytes).toString('latin1'))

describe('uwsgi packets', () => {
  it('have the numbers of the protocol', () => {
    assert.deepEqual(
      { REQUEST, REQUEST_WITH_SCRIPT_NAME, PING, HEADER_BYTES, MAX_PAYLOAD },
      { REQUEST: 0, REQUEST_WITH_SCRIPT_NAME: 30, PING: 100, HEADER_BYTES: 4, MAX_PAYLOAD: 65535 },
    )
  })

  it('are these bytes: little-endian lengths, the payload’s after modifier1', () => {
    assert.deepEqual(encodePacket(0, 0, ['KEY', 'value', 'EMPTY', '']), GOLDEN)
    assert.deepEqual(decodePacket(GOLDEN)?.variables, ['KEY', 'value', 'EMPTY', ''])
  })

  it('of nginx are decoded', () => {
    assert.deepEqual(decodePacket(packet(nginxGet)), { modifier1: 0, modifier2: 0, variables: nginxGet })
  })

  it('carry bytes above 0x7F unchanged', () => {
    assert.deepEqual(decodePacket(packet(['PATH_INFO', '/\xc3\xa9']))?.variables, ['PATH_INFO', '/\xc3\xa9'])
  })

  it('are undefined until they are complete', () => {
    const bytes = packet(nginxGet)
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(decodePacket(bytes.subarray(0, length)), undefined)
    }
  })

  it('end at their length, whatever follows', () => {
    const bytes = Buffer.concat([packet(['A', 'b']), Buffer.from('body')])
    assert.equal(packetLength(bytes), bytes.length - 4)
    assert.deepEqual(decodePacket(bytes)?.variables, ['A', 'b'])
  })

  for (const [what, payload] of [
    ['a name longer than the packet', 'ff0041'],
    ['a value longer than the packet', '01004105'],
    ['a name without a value', '010041'],
    ['half a length', '01'],
    ['a value one byte too long', '010041020042'],
  ] as const) {
    it(`with ${what} are a RemoteProtocolError`, () => {
      const bytes = Buffer.from(payload, 'hex')
      assert.throws(
        () => decodePacket(Buffer.concat([Buffer.of(0, bytes.length, 0, 0), bytes, Buffer.alloc(300)])),
        (error) => error instanceof RemoteProtocolError && error.code === 'UWSGI_PACKET',
      )
    })
  }

  it('of more than 65,535 bytes are a LocalProtocolError, and the largest is encoded', () => {
    const fits = 'x'.repeat(MAX_PAYLOAD - 5)
    assert.equal(encodePacket(0, 0, ['A', fits]).length, HEADER_BYTES + MAX_PAYLOAD)
    assert.throws(
      () => encodePacket(0, 0, ['A', `${fits}x`]),
      (error) => error instanceof LocalProtocolError && error.code === 'UWSGI_TOO_LARGE',
    )
  })

  it('refuse text that is not latin1', () => {
    assert.throws(
      () => encodePacket(0, 0, ['A', '€']),
      (error) => error instanceof LocalProtocolError && error.code === 'UWSGI_NATIVE_STRING',
    )
  })

  it('answer a ping with modifier1 100 and no payload', () => {
    assert.deepEqual(encodePong(), Buffer.of(100, 0, 0, 1))
  })

  it('are decoded as they were encoded', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 255 }),
        fc.array(fc.tuple(nativeText(20), nativeText(400)), { maxLength: 20 }),
        (modifier1, modifier2, pairs) => {
          const variables = pairs.flat()
          assert.deepEqual(decodePacket(encodePacket(modifier1, modifier2, variables)), {
            modifier1,
            modifier2,
            variables,
          })
        },
      ),
    )
  })

  it('of random bytes are a packet, incomplete, or a RemoteProtocolError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          const answer = decodePacket(Buffer.from(bytes))
          if (answer) assert.equal(answer.variables.length % 2, 0)
        } catch (error) {
          assert.ok(error instanceof RemoteProtocolError)
        }
      }),
      { numRuns: 500 },
    )
  })
})
