import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RequestInput } from '../../../protocol/contract/input.ts'

const bytes = (value: string): Uint8Array => Buffer.from(value, 'latin1')
const text = (value: Uint8Array): string => Buffer.from(value).toString('latin1')

class Source {
  wantedTimes = 0
  taken = 0
  wanted(): void {
    this.wantedTimes++
  }
  consumed(count: number): void {
    this.taken += count
  }
}

function filled(...chunks: string[]): RequestInput {
  const input = new RequestInput(new Source())
  for (const chunk of chunks) input.push(bytes(chunk))
  input.end()
  return input
}

describe('wsgi.input', () => {
  it('is at its end when a request has no body', async () => {
    const input = new RequestInput(null)
    assert.equal(text(await input.read()), '')
    assert.equal(text(await input.readline()), '')
    assert.deepEqual(await input.readlines(), [])
    assert.deepEqual(await input.trailers, [])
  })

  it('reads exactly as many bytes as asked for, and fewer only at the end', async () => {
    const input = filled('ab', 'cde', 'f')
    assert.equal(text(await input.read(4)), 'abcd')
    assert.equal(text(await input.read(0)), '')
    assert.equal(text(await input.read(4)), 'ef')
    assert.equal(text(await input.read(4)), '')
  })

  it('reads what is there with read1, without waiting for more', async () => {
    const input = new RequestInput(new Source())
    input.push(bytes('abc'))
    assert.equal(text(await input.read1(2)), 'ab')
    assert.equal(text(await input.read1()), 'c')
    const waiting = input.read1()
    input.push(bytes('d'))
    assert.equal(text(await waiting), 'd')
  })

  it('reads lines across chunks, and the last without its line break', async () => {
    const input = filled('on', 'e\ntw', 'o\n', '\nlast')
    assert.deepEqual((await input.readlines()).map(text), ['one\n', 'two\n', '\n', 'last'])
  })

  it('stops a line at its size, and lines at their hint', async () => {
    const input = filled('abcdef\ngh\nij\n')
    assert.equal(text(await input.readline(3)), 'abc')
    assert.equal(text(await input.readline(100)), 'def\n')
    assert.deepEqual((await input.readlines(2)).map(text), ['gh\n'])
    assert.equal(text(await input.read()), 'ij\n')
  })

  it('is iterated chunk by chunk, and leaving the loop leaves the rest', async () => {
    const input = filled('a', 'b', 'c')
    for await (const chunk of input) {
      assert.equal(text(chunk), 'a')
      break
    }
    assert.equal(text(await input.read()), 'bc')
  })

  it('says once that it is wanted, at the first read, and each byte that was taken', async () => {
    const source = new Source()
    const input = new RequestInput(source)
    assert.equal(source.wantedTimes, 0)
    const reading = input.read(4)
    assert.equal(source.wantedTimes, 1)
    input.push(bytes('abcdef'))
    await reading
    assert.equal(source.wantedTimes, 1)
    assert.equal(source.taken, 4)
    assert.equal(input.buffered, 2)
  })

  it('fails pending and later reads with what it failed with, and lets go of what it held', async () => {
    const input = new RequestInput(new Source())
    const failure = new Error('gone')
    const reading = input.read()
    input.push(bytes('abc'))
    input.fail(failure)
    await assert.rejects(reading, failure)
    await assert.rejects(input.read1(), failure)
    await assert.rejects(input.trailers, failure)
    assert.equal(input.buffered, 0)
  })

  it('does not fail what was read whole', async () => {
    const input = filled('abc')
    await input.read()
    input.fail(new Error('late'))
    assert.equal(text(await input.read()), '')
  })

  it('refuses a second read while one is pending, rather than mixing their bytes', async () => {
    const input = new RequestInput(new Source())
    const first = input.read(2)
    await assert.rejects(input.read(2), /while another read was pending/)
    input.push(bytes('ab'))
    assert.equal(text(await first), 'ab')
  })

  it('gives the trailers with the end', async () => {
    const input = new RequestInput(new Source())
    const trailers = input.trailers
    input.push(bytes('a'))
    input.end(['X-Sum', '1'])
    assert.deepEqual(await trailers, [['X-Sum', '1']])
    assert.equal(text(await input.read()), 'a')
  })

  it('gives all bytes in order, however they are cut and read', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 12 }),
        fc.array(
          fc.record({ how: fc.constantFrom('read', 'read1', 'readline'), size: fc.integer({ min: 1, max: 9 }) }),
        ),
        async (chunks, reads) => {
          const source = new Source()
          const input = new RequestInput(source)
          const parts: Uint8Array[] = []
          let next = 0
          const feed = (): void => {
            const chunk = chunks[next++]
            if (chunk) input.push(chunk)
            else input.end()
          }
          for (const { how, size } of reads) {
            const reading = input[how as 'read'](size)
            let done = false
            const settled = reading.then((part) => {
              done = true
              parts.push(part)
            })
            while (!done && next <= chunks.length) {
              await new Promise((resolve) => setImmediate(resolve))
              if (!done) feed()
            }
            await settled
          }
          while (next <= chunks.length) feed()
          parts.push(await input.read())
          assert.deepEqual(Buffer.concat(parts), Buffer.concat(chunks))
          assert.equal(source.taken, Buffer.concat(chunks).length)
        },
      ),
      { numRuns: 60 },
    )
  })
})
