import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { bodyLimit } from '../../middleware/body-limit.ts'
import { wrapInput } from '../../middleware/shared/wrapped-input.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { makeEnviron } from '../support/call.ts'
import { places } from '../support/places.ts'

/** Answers with the request's body. */
const echo: Application = async (environ, start) => {
  const body = await environ['wsgi.input'].read()
  start('200 OK', [['Content-Type', 'text/plain']])
  return [body]
}

/** A body of unknown length; `asked` counts the chunks that were read. */
function upload(chunks: number, size: number): { body: AsyncIterable<Uint8Array>; asked(): number } {
  let asked = 0
  return {
    asked: () => asked,
    body: (async function* () {
      for (; asked < chunks; asked++) yield Buffer.alloc(size, 'a')
    })(),
  }
}

describe('a body of declared length', () => {
  it('that is too long is refused before the application is called', async () => {
    let called = false
    const { status } = await call(
      bodyLimit({ limit: 4 })((environ, start) => {
        called = true
        return echo(environ, start)
      }),
      { method: 'POST', body: '12345' },
    )
    assert.equal(status, 413)
    assert.equal(called, false)
  })

  it('of exactly the limit passes with the original input object', async () => {
    let input: unknown
    const environ = makeEnviron({ method: 'POST', headers: ['Content-Length', '4'], body: '1234' })
    const before = environ['wsgi.input']
    await bodyLimit({ limit: 4 })((given, start) => {
      input = given['wsgi.input']
      start('200 OK', [['Content-Type', 'text/plain']])
      return []
    })(environ, () => async () => {})
    assert.equal(input, before)
  })
})

describe('a body of unknown length', () => {
  it('passes up to the limit', async () => {
    const { body } = upload(4, 1_000)
    const { status, text } = await call(bodyLimit({ limit: 4_000 })(echo), { method: 'POST', body })
    assert.equal(status, 200)
    assert.equal(text.length, 4_000)
  })

  it('that exceeds the limit is answered 413, and not read to its end', async () => {
    const { body, asked } = upload(1_000, 1_000)
    const { status } = await call(bodyLimit({ limit: 4_000 })(echo), { method: 'POST', body })
    assert.equal(status, 413)
    assert.ok(asked() < 30, `${asked()} chunks were taken`)
  })

  it('that exceeds the limit aborts a response that has begun', async () => {
    const { body } = upload(100, 1_000)
    const { status, aborted } = await call(
      bodyLimit({ limit: 4_000 })(async (environ, start) => {
        const write = start('200 OK', [['Content-Type', 'text/plain']])
        for await (const chunk of environ['wsgi.input']) await write(chunk)
        return []
      }),
      { method: 'POST', body },
    )
    assert.equal(status, 200)
    assert.equal(aborted?.code, 'APPLICATION')
  })

  it('that is complete already is checked at once', () => {
    const environ = makeEnviron({ method: 'POST', body: '12345' })
    assert.throws(() => bodyLimit({ limit: 4 })(echo)(environ, () => async () => {}), { status: 413 })
  })

  it('keeps its lines and trailers', async () => {
    const from = new RequestInput({ wanted() {}, consumed() {} })
    from.push(Buffer.from('one\ntw'))
    from.push(Buffer.from('o\nthree'))
    from.end(['X-Sum', '1'])
    const input = wrapInput(from)
    assert.equal(String(await input.readline()), 'one\n')
    assert.equal(String(await input.readline()), 'two\n')
    assert.equal(String(await input.read()), 'three')
    assert.deepEqual(await input.trailers, [['X-Sum', '1']])
  })

  it('is not read before the application reads it', async () => {
    const asked: string[] = []
    const from = new RequestInput({ wanted: () => void asked.push('wanted'), consumed() {} })
    const input = wrapInput(from)
    assert.deepEqual(asked, [])
    const read = input.read1()
    assert.deepEqual(asked, ['wanted'])
    from.push(Buffer.from('a'))
    assert.equal(String(await read), 'a')
  })

  it("that fails makes the application's read fail", async () => {
    const from = new RequestInput({ wanted() {}, consumed() {} })
    const input = wrapInput(from)
    const read = input.read()
    from.fail(new Error('the client has gone'))
    await assert.rejects(read, /the client has gone/)
  })
})

it('a request without a body passes unchanged', async () => {
  assert.equal((await call(bodyLimit({ limit: 0 })(echo))).status, 200)
})

it('a limit that is not a number of bytes is refused', () => {
  assert.throws(() => bodyLimit({ limit: -1 }), /the option limit is -1, expected a whole number of bytes, 0 or more/)
  assert.throws(() => bodyLimit({ limit: '1MiB' as never }), /the option limit is "1MiB"/)
})

for (const place of places) {
  describe(`a body limit ${place.name}`, () => {
    it('passes short bodies, of declared and of unknown length', async () => {
      await using placed = await place.put(bodyLimit({ limit: 8 }), echo)
      assert.equal((await call(placed.application, { method: 'POST', body: '12345678' })).text, '12345678')
      const { body } = upload(2, 4)
      assert.equal((await call(placed.application, { method: 'POST', body })).text, 'aaaaaaaa')
    })

    it('answers 413 to long bodies, of declared and of unknown length', async () => {
      await using placed = await place.put(bodyLimit({ limit: 8 }), echo)
      assert.equal((await call(placed.application, { method: 'POST', body: '123456789' })).status, 413)
      const { body } = upload(3, 4)
      assert.equal((await call(placed.application, { method: 'POST', body })).status, 413)
    })
  })
}
