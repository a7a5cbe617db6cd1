import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import * as constants from '../../../../protocol/frames/codec/constants.ts'
import { NAME_INDEX, NAMES, VARIABLE_INDEX, VARIABLES } from '../../../../protocol/frames/codec/tables.ts'

describe('the numbers of the protocol', () => {
  test('are pinned: a change decides whether an old container can talk to a new proxy', () => {
    assert.deepEqual(
      { ...constants },
      {
        VERSION: 1,
        OLDEST_VERSION: 1,
        FEATURES: ['upgrade-trailers'],
        HEADER: 9,
        Frame: {
          HELLO: 0xc1,
          AUTH: 0x01,
          GOAWAY: 0x02,
          PING: 0x03,
          PONG: 0x04,
          SLOTS: 0x05,
          STARTED: 0x06,
          REQUEST: 0x10,
          INFORM: 0x11,
          RESPONSE: 0x12,
          DATA: 0x13,
          TRAILERS: 0x14,
          WINDOW: 0x15,
          RESET: 0x16,
        },
        Flag: { END: 1, HOLD: 2, UPGRADE: 4 },
        Feature: { UPGRADE_TRAILERS: 'upgrade-trailers' },
        Reset: {
          REFUSED: 1,
          CANCELLED: 2,
          APPLICATION: 3,
          DEADLINE: 4,
          DRAIN_TIMEOUT: 5,
          UPSTREAM: 6,
          PROTOCOL: 7,
        },
        Goaway: {
          DRAINING: 0,
          PROTOCOL: 1,
          UNAUTHENTICATED: 2,
          VERSION: 3,
          RETIRING: 4,
          OVERLOADED: 5,
          TIMEOUT: 6,
        },
        HELLO_MAX: 4096,
        PROOF: 32,
        NONCE: 16,
        TEXT_MAX: 1024,
        STARTED_MAX: 16_384,
        HEAD_MAX: 262_144,
        DATA_MAX: 65_536,
        WINDOW: 131_072,
        WINDOW_MIN: 1024,
        DATA_MIN: 1024,
        HEAD_MIN: 16_384,
        CREDIT_MAX: 0x7fff_ffff,
        INFORM_COUNT: 16,
        INFORM_MAX: 16_384,
        CONTROL_MAX: 65_536,
        BACKLOG_MAX: 4_194_304,
        UPGRADED_MAX: 10_000,
        RETIRE_AT: 0xffff_0000,
      },
    )
  })

  test('a head may be twice as long as an HTTP head of 64 KiB', () => {
    assert.ok(constants.HEAD_MAX >= 2 * 64 * 1024)
  })
})

describe('the static tables', () => {
  test('have each name once', () => {
    assert.equal(NAME_INDEX.size, NAMES.length)
    assert.equal(VARIABLE_INDEX.size, VARIABLES.length)
  })

  test('give every name an index of one byte', () => {
    assert.ok(NAMES.length <= 128)
    assert.ok(VARIABLES.length <= 128)
  })

  test('are pinned, in this order', () => {
    const digest = (names: readonly string[]): string => createHash('sha256').update(names.join('\n')).digest('hex')
    assert.equal(NAMES.length, 122)
    assert.equal(VARIABLES.length, 30)
    assert.equal(digest(NAMES), '84a8acb6b32ab2804c78dace1d5748a0be259020c7399ee4558c328067a30482')
    assert.equal(digest(VARIABLES), 'd6e983c7ce7a7cee683afcaef6dbede008f5df1c24470f3ce9848ae28040ef15')
  })
})
