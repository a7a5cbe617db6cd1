import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Headers, Input } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { KEEP_MAX, KEEP_RUNNING, ReplayableBody, type SendAttempt } from '../../../protocol/frames/replayable-body.ts'
import { TestInput, until } from './link-support.ts'

class Reader implements SendAttempt {
  ready = 0
  aborted: Error | undefined
  bodyReady(): void {
    this.ready++
  }
  abort(reason: Error): void {
    this.aborted = reason
  }
}

function all(body: ReplayableBody): string {
  let text = ''
  for (let chunk = body.next(); chunk; chunk = body.next()) text += Buffer.from(chunk).toString()
  return text
}

describe('a replayable body', () => {
  test('gives the same bytes to every attempt, and reads them once', () => {
    const input = new TestInput()
    const body = new ReplayableBody(input)
    input.push(Buffer.from('ab'))
    input.push(Buffer.from('cd'))
    input.end()
    for (let attempt = 0; attempt < 3; attempt++) {
      body.begin(new Reader())
      assert.equal(body.sent, false)
      assert.equal(all(body), 'abcd')
      assert.equal(body.next(), null)
      assert.deepEqual([body.whole, body.sent, body.taken], [true, true, 4])
    }
    assert.equal(input.consumed, 4)
  })

  test('notifies the present attempt of bytes that an earlier attempt has read', async () => {
    const input = new TestInput()
    const body = new ReplayableBody(input)
    const [first, second] = [new Reader(), new Reader()]
    body.begin(first)
    assert.equal(body.next(), undefined)
    assert.equal(body.waiting, true)
    body.finish(first)
    body.begin(second)
    input.push(Buffer.from('late'))
    await until(() => second.ready === 1)
    assert.equal(first.ready, 0)
    assert.equal(all(body), 'late')
  })

  test('is not at its end while a read of the input is pending', async () => {
    const input = new TestInput()
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    assert.equal(body.next(), undefined)
    input.push(Buffer.from('late'))
    input.end()
    // The read takes the chunk from the input in one microtask, and gives it to the body in a later one.
    for (let step = 0; step < 10; step++) {
      assert.equal(body.atEnd, false, `after ${step} microtasks`)
      await Promise.resolve()
    }
    assert.equal(all(body), 'late')
    assert.equal(body.atEnd, true)
  })

  test('is not whole once the application has started and bytes were sent', () => {
    const input = new TestInput()
    input.push(Buffer.from('ab'))
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    body.next()
    body.started()
    assert.equal(body.whole, false)
  })

  test('sends every byte if the application starts in the middle of a second attempt', () => {
    const input = new TestInput()
    for (const text of ['a', 'b', 'c']) input.push(Buffer.from(text))
    input.end()
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    assert.equal(all(body), 'abc')
    body.begin(new Reader())
    assert.equal(Buffer.from(body.next()!).toString(), 'a')
    body.started()
    assert.equal(body.sent, false)
    assert.equal(all(body), 'bc')
    assert.equal(body.next(), null)
    assert.deepEqual([body.whole, body.sent], [false, true])
  })

  test('that is repeatable stays whole while the application runs, until the response', () => {
    const input = new TestInput()
    const body = new ReplayableBody(input, true)
    input.push(Buffer.from('ab'))
    body.begin(new Reader())
    body.next()
    body.started()
    input.push(Buffer.from('cd'))
    body.next()
    assert.equal(body.whole, true)
    body.begin(new Reader())
    input.end()
    assert.equal(all(body), 'abcd')
    body.responded()
    assert.equal(body.whole, false)
  })

  test('that is repeatable and large is kept no longer than any other', () => {
    for (const before of [KEEP_RUNNING + 1, KEEP_RUNNING]) {
      const input = new TestInput()
      const body = new ReplayableBody(input, true)
      body.begin(new Reader())
      for (let left = before; left > 0; left -= body.next()!.length) input.push(Buffer.alloc(Math.min(left, 10_000)))
      assert.equal(body.whole, true)
      body.started()
      assert.equal(body.whole, before === KEEP_RUNNING)
      input.push(Buffer.alloc(1))
      body.next()
      assert.equal(body.whole, false)
    }
  })

  test('keeps at most a window', () => {
    const input = new TestInput()
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    let given = 0
    while (given <= KEEP_MAX) {
      assert.equal(body.whole, true)
      input.push(Buffer.alloc(65_536))
      given += body.next()!.length
    }
    assert.equal(body.whole, false)
  })

  test('is at its end as soon as its input is', () => {
    assert.equal(new ReplayableBody(new RequestInput(null)).atEnd, true)
    const input = new TestInput()
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    assert.equal(body.atEnd, false)
    input.push(Buffer.from('a'))
    input.end()
    assert.equal(body.atEnd, false)
    body.next()
    assert.equal(body.atEnd, true)
  })

  test('with trailers is not at its end before the trailers were sent', () => {
    const input = new TestInput()
    input.end(['X-Sum', '1'])
    const body = new ReplayableBody(input)
    body.begin(new Reader())
    assert.equal(body.atEnd, false)
    assert.equal(body.next(), null)
    assert.deepEqual(body.trailers, ['X-Sum', '1'])
  })

  test('throws the error of its input in every attempt', async () => {
    const input = new TestInput()
    const body = new ReplayableBody(input)
    const reader = new Reader()
    body.begin(reader)
    body.next()
    const error = new AbortError('CLIENT_GONE', 'gone')
    input.fail(error)
    await until(() => reader.ready === 1)
    assert.throws(() => body.next(), error)
    body.begin(reader)
    assert.throws(() => body.next(), error)
  })

  test('passes an abort to the present attempt, and to no attempt that is over', () => {
    const body = new ReplayableBody(new RequestInput(null))
    const [first, second] = [new Reader(), new Reader()]
    body.begin(first)
    body.finish(first)
    body.begin(second)
    const reason = new Error('enough')
    body.abort(reason)
    body.finish(second)
    body.abort(new Error('too late'))
    assert.deepEqual([first.aborted, second.aborted], [undefined, reason])
  })

  test('reads any Input, including an input of middleware', async () => {
    const chunks = ['one', 'two', '']
    const input = {
      read1: async () => Buffer.from(chunks.shift() ?? ''),
      trailers: Promise.resolve<Headers>([['X-Sum', '1']]),
    } as unknown as Input
    const body = new ReplayableBody(input)
    const reader = new Reader()
    body.begin(reader)
    let text = ''
    for (;;) {
      const told = reader.ready
      const chunk = body.next()
      if (chunk === null) break
      if (chunk) text += Buffer.from(chunk).toString()
      else await until(() => reader.ready > told)
    }
    assert.equal(text, 'onetwo')
    assert.deepEqual(body.trailers, ['X-Sum', '1'])
  })
})
