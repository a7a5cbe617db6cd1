import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeFailure } from '../../process/run.ts'
import { repositoryFile, type SpawnOptions, TestChild } from '../support/child.ts'

async function withChild(
  mode: string,
  body: (child: TestChild) => Promise<void>,
  options: SpawnOptions = {},
): Promise<void> {
  const child = new TestChild([repositoryFile('test/fixtures/run.ts'), mode], options)
  try {
    await body(child)
  } finally {
    await child.end()
  }
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test(`the first ${signal} drains, and the process exits with 0 and its log whole`, () =>
    withChild('serves', async (child) => {
      await child.until(() => child.logged('ready'))
      child.process.kill(signal)
      assert.deepEqual(await child.exited, { code: 0, signal: null })
      const messages = child.log.map((line) => line['msg'])
      assert.deepEqual(messages, ['a warning', 'starting', 'ready', 'draining', 'stopped'])
      assert.deepEqual(child.log[2]!['addresses'], ['127.0.0.1:4711'])
      assert.equal(child.log[3]!['reason'], signal)
      assert.equal(child.stderr, '')
    }))
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`a second signal exits at once: ${code} after ${signal}`, () =>
    withChild('never-drains', async (child) => {
      await child.until(() => child.logged('ready'))
      child.process.kill('SIGTERM')
      await child.until(() => child.logged('draining'))
      assert.deepEqual(await child.insist(signal), { code, signal: null })
    }))
}

test('a signal while the server starts is remembered, and a second one ends it', () =>
  withChild('never-starts', async (child) => {
    await child.until(() => child.logged('starting'))
    child.process.kill('SIGTERM')
    await child.until(() => child.logged('draining'))
    assert.deepEqual(await child.insist('SIGTERM'), { code: 143, signal: null })
  }))

test('a signal ends a server whose start never ends, since nothing has begun that could be finished', () =>
  withChild('never-starts', async (child) => {
    await child.until(() => child.logged('starting'))
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    assert.equal(child.logged('stopped during the start'), true)
  }))

test('a refused start is one line on standard error, and exit code 1', () =>
  withChild('refuses', async (child) => {
    assert.deepEqual(await child.exited, { code: 1, signal: null })
    assert.equal(child.stderr, 'gantry fixture: one clear line\n')
    assert.equal(child.logged('starting'), true)
  }))

test('a start that fails by a bug shows its stack', () =>
  withChild('breaks', async (child) => {
    assert.equal((await child.exited).code, 1)
    assert.match(child.stderr, /^gantry fixture: TypeError: a bug\n {4}at /)
  }))

test('a drain that fails is reported, and the process exits with 1', () =>
  withChild('fails-to-drain', async (child) => {
    await child.until(() => child.logged('ready'))
    child.process.kill('SIGTERM')
    assert.equal((await child.exited).code, 1)
    assert.equal(child.stderr, 'gantry fixture: the drain failed\n')
  }))

test('a drain that hangs is logged, and exits with 1', () =>
  withChild('hangs', async (child) => {
    await child.until(() => child.logged('ready'))
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 1, signal: null })
    assert.equal(child.stderr, 'gantry fixture: the drain did not end within 1 ms\n')
  }))

test('the longest drain timeout does not overflow when times are added to it', () =>
  withChild('drains-within-weeks', async (child) => {
    await child.until(() => child.logged('ready'))
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    assert.equal(child.stderr, '')
  }))

test('a server that has nothing to do runs until a signal', () =>
  withChild('has-nothing-to-do', async (child) => {
    await child.until(() => child.logged('ready'))
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    assert.deepEqual(
      child.log.slice(-3).map((line) => line['msg']),
      ['ready', 'draining', 'stopped'],
    )
  }))

test('a start that can never finish is logged, and exits with 1', () =>
  withChild('waits-for-nothing', async (child) => {
    assert.deepEqual(await child.exited, { code: 1, signal: null })
    assert.equal(
      child.stderr,
      'gantry fixture: the start cannot finish: it waits for something, but the event loop is empty\n',
    )
  }))

for (const mode of ['throws-later', 'rejects-later']) {
  test(`an uncaught exception is logged with its stack, and exits with 1 (${mode})`, () =>
    withChild(mode, async (child) => {
      assert.equal((await child.exited).code, 1)
      const line = child.log.find((one) => one['msg'] === 'uncaught exception')
      assert.match((line!['err'] as { stack: string }).stack, /nobody caught this\n/)
      assert.match(child.stderr, /nobody caught this/)
    }))
}

test("an uncaught exception is left to the application's own handler, which counts no other", () =>
  withChild('reports-later', async (child) => {
    assert.equal((await child.exited).code, 7)
    assert.equal(child.log.find(({ msg }) => msg === 'others')!['count'], 0)
    assert.ok(child.logged('reported: nobody caught this'))
    assert.ok(child.logged("uncaught exception: the application's own handler decides what follows"))
    assert.ok(!child.logged('uncaught exception'))
    assert.equal(child.stderr, '')
  }))

test("the application's own monitors see an uncaught exception before it ends the process", () =>
  withChild('monitors', async (child) => {
    assert.equal((await child.exited).code, 1)
    assert.ok(child.logged('nobody caught this'))
    assert.ok(child.logged('uncaught exception'))
  }))

test('the server reports to its parent that it is ready, and drains when the parent ends', () =>
  withChild(
    'serves',
    async (child) => {
      await child.until(() => child.messages.length > 0)
      assert.deepEqual(child.messages, [
        { gantry: 'ready', addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 4711 }] },
      ])
      child.process.disconnect()
      assert.deepEqual(await child.exited, { code: 0, signal: null })
      assert.equal(child.logged('stopped'), true)
    },
    { ipc: true },
  ))

test('access lines have their own switch', () =>
  withChild('silent', async (child) => {
    await child.until(() => child.logged('request'))
    child.process.kill('SIGTERM')
    await child.exited
    assert.deepEqual(
      child.log.map((line) => [line['level'], line['name'], line['msg']]),
      [['info', 'fixture', 'request']],
    )
  }))

test("a failure with a cause shows the cause’s stack, since the cause is the application's", () => {
  const cause = new Error('in the application')
  const failure = Object.assign(new Error('cannot load', { cause }), { code: 'THREW' })
  assert.equal(describeFailure(failure), `cannot load\n${cause.stack}`)
  assert.equal(describeFailure('a text'), 'a text')
})
