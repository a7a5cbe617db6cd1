import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { runInNewContext } from 'node:vm'
import {
  checkOptions,
  defined,
  flag,
  having,
  type OptionForms,
  oneOf,
  orFalse,
  textOf,
  wholeNumber,
} from '../../../protocol/options/check-options.ts'

interface Options {
  readonly size?: number | undefined
  readonly quiet?: boolean
}

const forms: OptionForms<Options> = { size: wholeNumber(0, 'bytes'), quiet: flag }

describe('a table of forms', () => {
  it('has a form of the right type for each option, which the compiler sees to', () => {
    // @ts-expect-error: quiet is missing
    const missing: OptionForms<Options> = { size: wholeNumber(0) }
    // @ts-expect-error: there is no option loud
    const other: OptionForms<Options> = { size: wholeNumber(0), quiet: flag, loud: flag }
    // @ts-expect-error: size is a number
    const mistyped: OptionForms<Options> = { size: flag, quiet: flag }
    assert.ok(missing && other && mistyped)
  })
})

describe('checkOptions', () => {
  it('takes objects of another realm, and those without prototype', () => {
    checkOptions('make', runInNewContext('({ size: 1 })'), forms)
    checkOptions('make', Object.assign(Object.create(null), { size: 1 }), forms)
  })

  it('refuses an option that every object seems to have', () => {
    const options = JSON.parse('{ "__proto__": 1 }')
    assert.throws(() => checkOptions('make', options, forms), /^TypeError: make: unknown option __proto__, /)
  })

  it('refuses a name that is none even where it is undefined, and not a known one', () => {
    checkOptions('make', { size: undefined }, forms)
    assert.throws(() => checkOptions('make', { sizes: undefined }, forms), /did you mean size\?/)
  })

  it('names the option that a value given without its name can only be, and no other', () => {
    assert.throws(() => checkOptions('make', true, forms), /, quiet; did you mean \{ quiet: true \}\?$/)
    assert.throws(() => checkOptions('make', 'x', forms), /, quiet$/)
  })
})

describe('a form', () => {
  it('of whole numbers keeps its bounds', () => {
    const { due, fits } = wholeNumber(1, undefined, 9)
    assert.equal(due, 'a whole number from 1 to 9')
    assert.deepEqual([0, 1, 9, 10, 1.5, Number.NaN, '5', 5n].map(fits), [
      false,
      true,
      true,
      false,
      false,
      false,
      false,
      false,
    ])
    assert.deepEqual([2 ** 53, Number.POSITIVE_INFINITY].map(wholeNumber(0).fits), [false, false])
  })

  it('of choices names them', () => {
    assert.equal(oneOf('a', 'b', false).due, "'a', 'b' or false")
    assert.equal(oneOf(301).due, '301')
  })

  it('may be false', () => {
    const { due, fits } = orFalse(textOf('a word', /^\w+$/))
    assert.equal(due, 'a word, or false')
    assert.deepEqual([false, 'word', true, ''].map(fits), [true, true, false, false])
  })

  it('of methods wants all of them, of an instance too', () => {
    const { due, fits } = having('a peer', 'has', 'get')
    assert.equal(due, 'a peer with has(), get()')
    assert.deepEqual([new Map(), new Set(), null, undefined, 5].map(fits), [true, false, false, false, false])
  })
})

it('defined() leaves out what is undefined, so that spreading keeps defaults', () => {
  assert.deepEqual(Object.entries(defined({ a: undefined, b: 3, c: null })), [
    ['b', 3],
    ['c', null],
  ])
})
