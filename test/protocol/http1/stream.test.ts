import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { Stream, type StreamOwner } from '../../../protocol/http1/stream.ts'

function owned(): { stream: Stream; calls: string[] } {
  const calls: string[] = []
  const owner: StreamOwner = {
    inform: (status) => void calls.push(`inform ${status}`),
    respond: (status) => calls.push(`respond ${status}`) > 1000,
    send: (chunk) => calls.push(`send ${chunk.length}`) > 1000,
    finish: () => void calls.push('finish'),
    flush: () => void calls.push('flush'),
    cut: () => void calls.push('cut'),
    handOver: () => {
      calls.push('handOver')
      return new Duplex()
    },
    inputWanted: () => void calls.push('inputWanted'),
    inputConsumed: () => void calls.push('inputConsumed'),
    behind: 'nothing',
    delivered: 0,
    accepted: 0,
    held: 0,
    endSlow: ({ code }) => void calls.push(`endSlow ${code}`),
  }
  return { stream: new Stream(owner), calls }
}

function callAll(stream: Stream): boolean[] {
  stream.wanted()
  stream.consumed()
  stream.inform('103 Early Hints', [])
  const room = [stream.head('200 OK', [], -1, undefined, false), stream.data(Buffer.alloc(3), false)]
  stream.flush()
  stream.end(undefined)
  stream.abort(new AbortError('APPLICATION', 'test'))
  return room
}

describe('an exchange’s stream', () => {
  it('passes everything on while the connection is its own', () => {
    const { stream, calls } = owned()
    assert.deepEqual(callAll(stream), [false, false])
    stream.upgrade()
    assert.deepEqual(calls, [
      'inputWanted',
      'inputConsumed',
      'inform 103 Early Hints',
      'respond 200 OK',
      'send 3',
      'flush',
      'finish',
      'cut',
      'handOver',
    ])
  })

  it('passes nothing on once it is released, and never asks anybody to wait', () => {
    const { stream, calls } = owned()
    stream.release()
    assert.deepEqual(callAll(stream), [true, true])
    assert.throws(() => stream.upgrade(), { code: 'STREAM_OVER' })
    assert.deepEqual(calls, [])
  })
})
