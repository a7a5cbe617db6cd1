import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { textOfThrown } from '../../../protocol/contract/thrown.ts'

function trap(): never {
  throw new Error('a trap')
}

describe('textOfThrown', () => {
  const error = new TypeError('no')
  for (const [what, thrown, expected] of [
    ['an error', error, error.stack],
    ['a frozen error', Object.freeze(error), error.stack],
    ['an error without a stack', Object.assign(new Error('bare'), { stack: undefined }), 'Error: bare'],
    ['a string', 'text', 'text'],
    ['nothing', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a symbol', Symbol('a'), 'Symbol(a)'],
    ['an object', { a: 1 }, '{ a: 1 }'],
    ['an object without a prototype', Object.create(null), '[Object: null prototype] {}'],
    ['an error whose stack throws', Object.defineProperty(new Error('x'), 'stack', { get: trap }), undefined],
    ['a proxy that throws', new Proxy({}, { get: trap, getPrototypeOf: trap }), undefined],
  ] as const) {
    it(`describes ${what}`, () => {
      assert.equal(textOfThrown(thrown), expected ?? 'an error that cannot be read')
    })
  }
})
