import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ChunkCoalescer } from '../../../protocol/frames/codec/chunk-coalescer.ts'
import { ResponseBody } from '../../../protocol/frames/response-body.ts'

class Source {
  taken = 0
  left = 0
  consumed(bytes: number): void {
    this.taken += bytes
  }
  cancelled(): void {
    this.left++
  }
}

const text = (value: string): Buffer => Buffer.from(value)

describe('a response body', () => {
  test('gives chunks in order, whether the chunk or the read is first', async () => {
    const source = new Source()
    const body = new ResponseBody(source)
    body.push(text('a'))
    const first = body.next()
    const second = body.next()
    const third = body.next()
    body.push(text('b'))
    body.end()
    assert.deepEqual(await Promise.all([first, second, third]), [
      { done: false, value: text('a') },
      { done: false, value: text('b') },
      { done: true, value: undefined },
    ])
    assert.equal(source.taken, 2)
  })

  test('returns credit only for chunks that were read', async () => {
    const source = new Source()
    const body = new ResponseBody(source)
    body.push(Buffer.alloc(5000))
    body.push(Buffer.alloc(3000))
    assert.equal(source.taken, 0)
    await body.next()
    assert.equal(source.taken, 5000)
  })

  test('copies small chunks together while its reader is behind, and loses none', async () => {
    const body = new ResponseBody(new Source())
    let sent = ''
    for (let at = 0; at < 3000; at++) {
      const chunk = at % 100 === 99 ? 'x'.repeat(2000) : String(at % 10)
      sent += chunk
      body.push(text(chunk))
    }
    body.end()
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    assert.equal(Buffer.concat(chunks).toString(), sent)
    assert.ok(chunks.length < 100, `${chunks.length} chunks`)
  })

  test('that failed rejects every read, and drops unread chunks', async () => {
    const body = new ResponseBody(new Source())
    const pending = body.next()
    const error = new Error('cut')
    body.fail(error)
    await assert.rejects(pending, error)
    await assert.rejects(body.next(), error)
    body.end()
    await assert.rejects(body.next(), error)
  })

  test('that has ended does not fail later', async () => {
    const body = new ResponseBody(new Source())
    body.push(text('all'))
    body.end()
    body.fail(new Error('too late'))
    assert.deepEqual(await body.next(), { done: false, value: text('all') })
    assert.deepEqual(await body.next(), { done: true, value: undefined })
  })

  test('that is closed early cancels once, and a pending read fails instead of ending', async () => {
    const source = new Source()
    const body = new ResponseBody(source)
    const pending = body.next()
    body.close()
    body.close()
    await body.return()
    await assert.rejects(pending, { code: 'CLIENT_GONE' })
    assert.equal(source.left, 1)
  })

  test('that is closed at its end cancels nothing', () => {
    const source = new Source()
    const body = new ResponseBody(source)
    body.end()
    body.close()
    assert.equal(source.left, 0)
  })
})

describe('a chunk coalescer', () => {
  test('gives every byte in order, whatever the sizes', () => {
    const gatherer = new ChunkCoalescer()
    const given: Uint8Array[] = []
    let sent = ''
    for (let at = 0; at < 500; at++) {
      const chunk = String.fromCharCode(97 + (at % 26)).repeat((at * 37) % 1500)
      sent += chunk
      given.push(...(gatherer.add(text(chunk)) ?? []))
    }
    if (!gatherer.empty) given.push(gatherer.take())
    assert.equal(Buffer.concat(given).toString(), sent)
  })
})
