/** SPEC.md has the same tables as the code, for people who write a peer. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Flag, Frame, Goaway, Reset } from '../../../protocol/frames/codec/constants.ts'
import { NAMES, VARIABLES } from '../../../protocol/frames/codec/tables.ts'

const spec = readFileSync(new URL('../../../protocol/frames/SPEC.md', import.meta.url), 'utf8')
const words = spec.replace(/\s+/g, ' ')

describe('SPEC.md', () => {
  test('has every frame type with its number', () => {
    for (const [name, type] of Object.entries(Frame)) {
      assert.ok(spec.includes(`| 0x${type.toString(16).toUpperCase().padStart(2, '0')} | ${name} |`), name)
    }
  })

  test('has every flag and every code', () => {
    for (const [name, flag] of Object.entries(Flag)) assert.ok(words.includes(`${name} 0x0${flag}`), name)
    for (const codes of [Reset, Goaway]) {
      for (const [name, code] of Object.entries(codes)) assert.ok(words.includes(`${code} ${name}`), name)
    }
  })

  test('has both tables of names, in full and in order', () => {
    for (const names of [VARIABLES, NAMES]) {
      assert.ok(words.includes(names.map((name, index) => `${name} ${index}`).join(', ')))
    }
  })
})
