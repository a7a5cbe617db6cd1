import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BodySource, ResponseBody } from '../../../protocol/frames/response-body.ts'

const source: BodySource = { consumed() {}, unwanted() {} }

test('small chunks that were gathered come before a chunk that follows them', async () => {
  const body = new ResponseBody(source)
  body.push(Buffer.from('first'))
  body.push(Buffer.from('small'))
  assert.equal(String((await body.next()).value), 'first')
  // Nothing but the gathered one waits now.
  body.push(Buffer.alloc(2000, 'x'))
  assert.equal(
    Buffer.from((await body.next()).value)
      .subarray(0, 10)
      .toString(),
    'small',
  )
})

test('bytes come once and in order, however pushes and reads interleave and whatever the sizes', async () => {
  const step = fc.oneof(fc.integer({ min: 1, max: 6000 }), fc.constant('read' as const))
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const body = new ResponseBody(source)
      const pushed: Buffer[] = []
      const reads: Promise<IteratorResult<Uint8Array>>[] = []
      let count = 0
      for (const what of steps) {
        if (what === 'read') {
          reads.push(body.next())
          continue
        }
        const chunk = Buffer.alloc(what, ++count & 0xff)
        pushed.push(chunk)
        body.push(chunk)
      }
      body.end()
      const got: Uint8Array[] = []
      for (;;) {
        const { done, value } = await (reads.shift() ?? body.next())
        if (done) break
        got.push(value)
      }
      assert.ok(Buffer.concat(got).equals(Buffer.concat(pushed)))
    }),
  )
})
