import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { onStopSignals, type StopSignal } from '../../process/signals.ts'
import { FakeClock } from '../support/clock.ts'

function setUp(heeds?: readonly StopSignal[]) {
  const source = new EventEmitter()
  const clock = new FakeClock()
  const heard: (string | number)[] = []
  onStopSignals(source, clock, { finish: (signal) => heard.push(signal), quit: (code) => heard.push(code) }, heeds)
  return { source, clock, heard }
}

test('a key press that arrives twice, from the terminal and from npm, counts once', () => {
  const { source, clock, heard } = setUp()
  source.emit('SIGINT')
  clock.advance(20)
  source.emit('SIGINT')
  assert.deepEqual(heard, ['SIGINT'])
})

test('a later signal quits with its own code, however many there are', () => {
  const { source, clock, heard } = setUp()
  source.emit('SIGTERM')
  clock.advance(250)
  source.emit('SIGINT')
  source.emit('SIGHUP')
  assert.deepEqual(heard, ['SIGTERM', 130, 129])
})

test('a signal that is not heeded neither ends the process nor counts as the first', () => {
  const { source, clock, heard } = setUp(['SIGTERM'])
  assert.ok(source.listenerCount('SIGINT') > 0)
  source.emit('SIGINT')
  clock.advance(1_000)
  source.emit('SIGTERM')
  source.emit('SIGINT')
  assert.deepEqual(heard, ['SIGTERM'])
})
