import assert from 'node:assert/strict'
import { type StdioOptions, spawn } from 'node:child_process'
import { test } from 'node:test'
import { childOf, describeExit } from '../../process/children.ts'
import { FakeClock } from '../support/clock.ts'

const stdio: StdioOptions = ['ignore', 'ignore', 'ignore', 'ipc']

test('a child that cannot be started has ended, whether Node reports that by an event or by throwing', async () => {
  const starts = {
    event: () => spawn('/nowhere/at/all', { stdio }),
    // E2BIG.
    thrown: () => spawn(process.execPath, ['x'.repeat(8 * 1024 * 1024)], { stdio }),
  }
  for (const start of Object.values(starts)) {
    const said: Error[] = []
    const clock = new FakeClock()
    const watch = { clock, onBlocked: () => {} }
    const child = childOf(start, (error) => said.push(error), watch)
    const exit = await child.exited
    assert.equal(clock.pending, 0)
    child.kill('SIGTERM')
    assert.equal(describeExit(exit), 'it could not be started')
    assert.equal(said.length, 1)
  }
})

test('a stopped child (SIGSTOP) continues when it is asked to end', async () => {
  const started = Promise.withResolvers<void>()
  let id = 0
  const child = childOf(
    () => {
      const code = 'process.on("SIGTERM", () => process.exit(7));process.send({});setInterval(() => {}, 1000)'
      const made = spawn(process.execPath, ['-e', code], { stdio })
      made.once('message', started.resolve)
      id = made.pid!
      return made
    },
    () => {},
  )
  await started.promise
  process.kill(id, 'SIGSTOP')
  child.kill('SIGTERM')
  assert.deepEqual(await child.exited, { code: 7, signal: null })
})

test('what an application sends to its parent on the IPC channel is ignored, whatever it is', async () => {
  const child = childOf(
    () => {
      // Libraries for process managers send such messages: `process.send('ready')`.
      const code = `
        process.once('SIGTERM', () => process.disconnect())
        for (const message of [null, 'ready', 7, true, [], {}]) process.send(message)
        for (const addresses of [undefined, null, 7, 'ready', [null], [{}], [{ kind: 'http', url: 'x' }], [{ kind: 'tcp', host: 'x' }]])
          process.send({ gantry: 'ready', addresses })
        process.send({ gantry: 'none' })
        process.send({ gantry: 'ready', addresses: [{ kind: 'unix', path: '/app.sock' }] })
        process.on('disconnect', () => process.exit(0))`
      return spawn(process.execPath, ['-e', code], { stdio })
    },
    () => {},
  )
  assert.deepEqual(await child.ready, [{ kind: 'unix', path: '/app.sock' }])
  child.kill('SIGTERM')
  assert.deepEqual(await child.exited, { code: 0, signal: null })
})

test('a child whose start takes long is reported every 15 s, unless it says so itself', async () => {
  const said: number[] = []
  const clock = new FakeClock()
  const heard = Promise.withResolvers<void>()
  const child = childOf(
    () => {
      const code = `
        process.once('SIGTERM', () => process.send({ gantry: 'ready', addresses: [] }, () => process.exit(0)))
        for (const gantry of ['starting', 'none']) process.send({ gantry })
        setInterval(() => {}, 1000)`
      const made = spawn(process.execPath, ['-e', code], { stdio })
      made.on('message', ({ gantry }: { gantry: string }) => gantry === 'none' && heard.resolve())
      return made
    },
    () => {},
    { clock, onBlocked: (seconds) => said.push(seconds) },
  )
  clock.advance(14_999)
  assert.deepEqual(said, [])
  clock.advance(1)
  assert.deepEqual(said, [15])
  clock.advance(14_000)
  await heard.promise
  clock.advance(14_999)
  assert.deepEqual(said, [15])
  clock.advance(1)
  assert.deepEqual(said, [15, 44])
  child.kill('SIGTERM')
  await child.ready
  assert.equal(clock.pending, 0)
  await child.exited
})

test('a child that serves is not reported as starting, whatever its application sends', async () => {
  const clock = new FakeClock()
  const sent = Promise.withResolvers<void>()
  const child = childOf(
    () => {
      const code = `
        process.once('SIGTERM', () => process.exit(0))
        process.send({ gantry: 'ready', addresses: [] })
        for (const gantry of ['starting', 'none']) process.send({ gantry })
        setInterval(() => {}, 1000)`
      const made = spawn(process.execPath, ['-e', code], { stdio })
      made.on('message', ({ gantry }: { gantry: string }) => gantry === 'none' && sent.resolve())
      return made
    },
    () => {},
    { clock, onBlocked: () => {} },
  )
  await sent.promise
  const { pending } = clock
  child.kill('SIGTERM')
  await child.exited
  assert.equal(pending, 0)
})
