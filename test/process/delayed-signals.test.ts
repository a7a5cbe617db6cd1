/** An application's signal handlers are postponed until the end of the drain delay. */

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { DelayedSignals, type Emitter } from '../../process/delayed-signals.ts'

function setUp(before?: (source: EventEmitter) => void) {
  const source = new EventEmitter()
  before?.(source)
  // Node calls the `emit` that existed when the signal's first listener was added.
  let deliver: (signal: string) => unknown = () => assert.fail('nobody listens')
  source.once('newListener', () => {
    const { emit } = source
    deliver = (signal) => emit.call(source, signal, signal, 15)
  })
  const heard: string[] = []
  const hold = new DelayedSignals(source as unknown as Emitter)
  return { source, hold, heard, deliver: (signal: string) => deliver(signal) }
}

test("the application's handlers run after ours, and after the release if ours holds the signal", () => {
  const { source, hold, heard, deliver } = setUp()
  let isHeld = false
  hold.on('SIGTERM', () => {
    heard.push('ours')
    if (isHeld) hold.hold()
  })
  source.on('SIGTERM', (signal, number) => heard.push(`application ${signal} ${number}`))
  deliver('SIGTERM')
  assert.deepEqual(heard.splice(0), ['ours', 'application SIGTERM 15'])
  isHeld = true
  deliver('SIGTERM')
  assert.deepEqual(heard.splice(0), ['ours'])
  // A handler that is added meanwhile belongs to the application too.
  source.once('SIGTERM', () => heard.push('late'))
  hold.release()
  assert.deepEqual(heard.splice(0), ['application SIGTERM 15', 'late'])
  hold.release()
  assert.deepEqual(heard, [])
})

test('other events pass while a signal is held', () => {
  const { source, hold, heard } = setUp()
  hold.on('SIGTERM', () => hold.hold())
  source.on('message', (text) => heard.push(text))
  source.emit('SIGTERM')
  source.emit('message', 'passed')
  assert.deepEqual(heard, ['passed'])
})

test('a signal with an earlier listener still reaches our handler, once', () => {
  const { source, hold, heard } = setUp()
  const { emit } = Object.getPrototypeOf(source) as EventEmitter
  hold.on('SIGTERM', () => heard.push('ours'))
  // As Node delivers the signal then: without our `emit`.
  emit.call(source, 'SIGTERM')
  assert.deepEqual(heard, ['ours'])
})
