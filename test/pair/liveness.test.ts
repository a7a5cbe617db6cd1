/** Links whose other end is stopped, blocked, slow or unreachable: real processes, with short times. */

import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import type { Relay } from '../support/relay.ts'
import { freePort } from '../support/sockets.ts'
import { REPLAYED, Scene, SUSPECT } from '../support/stopping.ts'

suite('a container that is suspended', { timeout: 120_000 }, () => {
  for (const how of ['blocks its event loop', 'is stopped (SIGSTOP)'] as const) {
    test(`and ${how} keeps its requests, other requests are served elsewhere, and no request runs twice`, async () => {
      await Scene.with(async (scene) => {
        const containers = `${scene.directory}/`
        for (const who of ['one', 'two']) await scene.startContainer(who, ['--listen', `unix:${containers}`])
        await scene.startProxy('--upstream', `unix:${containers}`)
        for (const who of ['one', 'two']) await scene.answeredBy(who)
        const until = scene.path('go-on')
        const blocks = how === 'blocks its event loop'
        const post = await scene.ask(blocks ? '/block' : '/wait', { method: 'POST', until })
        const still = await scene.runner(post.id)
        const { process } = scene.containers.get(still)!.child
        if (!blocks) process.kill('SIGSTOP')
        await scene.proxy.child.until(() => scene.logged(SUSPECT).length > 0)
        const others = await Promise.all(
          Array.from({ length: 20 }, (_, index) => scene.ask('/hello', { method: index % 2 === 0 ? 'GET' : 'POST' })),
        )
        for (const { id, answer } of others) {
          const { status, body } = await answer
          assert.deepEqual([status, scene.runs(id)], [200, [body]])
          assert.notEqual(body, still)
        }
        writeFileSync(until, '')
        if (!blocks) process.kill('SIGCONT')
        assert.deepEqual(await post.answer, { status: 200, complete: true, body: still })
        assert.deepEqual(scene.runs(post.id), [still])
        // It is a member again.
        await scene.answeredBy(still)
        assert.deepEqual(scene.logged(REPLAYED), [])
      })
    })
  }
})

for (const joined of [false, true]) {
  suite(joined ? 'a container that has joined' : 'a container that is dialled', { timeout: 120_000 }, () => {
    /** A pair with a relay in between. */
    const withRelay = (body: (scene: Scene, relay: Relay) => Promise<void>, rate?: number): Promise<void> =>
      Scene.with(async (scene) => {
        if (joined) {
          const port = await freePort()
          await scene.startProxy('--join-listen', `127.0.0.1:${port}`)
          const relay = await scene.relay(port, rate)
          await scene.startContainer('c', ['--join', `127.0.0.1:${relay.port}`])
          await body(scene, relay)
        } else {
          const container = await scene.startContainer('c', ['--listen', '127.0.0.1:0'])
          const relay = await scene.relay(container.port, rate)
          await scene.startProxy('--upstream', `tcp:127.0.0.1:${relay.port}`)
          await body(scene, relay)
        }
      })

    test('is served by a new link after the relay forgot the old one with nothing in flight', async () => {
      await withRelay(async (scene, relay) => {
        await scene.answeredBy('c')
        relay.forget()
        await scene.proxy.child.until(() => scene.logged('container is closed').length > 0)
        const { answer } = await scene.ask('/hello')
        assert.equal((await answer).status, 200)
      })
    })

    test('has its GET sent again once, with a warning, and its POST failed, after the link was forgotten', async () => {
      await withRelay(async (scene, relay) => {
        const until = scene.path('go-on')
        const get = await scene.ask('/wait', { until })
        const post = await scene.ask('/wait', { method: 'POST', until })
        for (const { id } of [get, post]) await scene.runner(id)
        relay.forget()
        assert.equal((await post.answer).status, 502)
        writeFileSync(until, '')
        assert.equal((await get.answer).status, 200)
        assert.deepEqual([scene.runs(get.id).length, scene.runs(post.id).length], [2, 1])
        await scene.proxy.child.until(() => scene.logged(REPLAYED).length > 0)
        const [line, ...more] = scene.logged(REPLAYED)
        assert.equal(more.length, 0)
        assert.match(String(line!['requestId']), /^[\w.-]+$/)
        assert.match(`${line!['lost']} ${line!['member']}`, /\(c\/0\) .*\(c\/0\)/)
      })
    })

    test('keeps a slow link on which bytes arrive, however late its PONGs are', async () => {
      await withRelay(async (scene) => {
        await scene.answeredBy('c')
        const downloads = await Promise.all(Array.from({ length: 40 }, () => scene.ask('/big?bytes=60000')))
        for (const { id, answer } of downloads) {
          const { status, complete, body } = await answer
          assert.deepEqual([status, complete, body.length, scene.runs(id)], [200, true, 60_000, ['c']])
        }
      }, 1_000_000)
    })
  })
}

suite('a proxy that is suspended', { timeout: 120_000 }, () => {
  test('is joined again, on one connection, and serves when it resumes', async () => {
    await Scene.with(async (scene) => {
      const port = await freePort()
      await scene.startProxy('--join-listen', `127.0.0.1:${port}`)
      const relay = await scene.relay(port)
      const container = await scene.startContainer('c', [
        '--join',
        `127.0.0.1:${relay.port}`,
        '--silence-timeout',
        '1s',
      ])
      await scene.answeredBy('c')
      scene.proxy.child.process.kill('SIGSTOP')
      await container.child.until(() => container.child.logged('a proxy does not answer'))
      // The old link is drained, and the new one waits for a handshake.
      await container.child.until(() => container.child.logged('the link to a proxy is closed'))
      assert.equal(relay.connections, 2)
      scene.proxy.child.process.kill('SIGCONT')
      const { answer } = await scene.ask('/hello')
      assert.equal((await answer).status, 200)
      assert.equal(relay.connections, 2)
    })
  })

  test('is disconnected by an idle container that dialled it, and loses no request when it continues', async () => {
    await Scene.with(async (scene) => {
      const socket = `unix:${scene.path('c.sock')}`
      const container = await scene.startContainer('c', ['--listen', socket, '--silence-timeout', '300ms'])
      await scene.startProxy('--upstream', socket)
      await scene.answeredBy('c')
      scene.proxy.child.process.kill('SIGSTOP')
      await container.child.until(() => container.child.logged('the link to a proxy is closed'))
      // Accepted by its system, and read before it knows that its link is lost.
      const asked = await Promise.all(Array.from({ length: 5 }, () => scene.ask('/hello', { method: 'POST' })))
      scene.proxy.child.process.kill('SIGCONT')
      for (const { id, answer } of asked) assert.deepEqual([(await answer).status, scene.runs(id)], [200, ['c']])
    })
  })

  test('does not eject its containers: bytes that they sent meanwhile are read first', async () => {
    await Scene.with(async (scene) => {
      const container = await scene.startContainer('c', ['--listen', `unix:${scene.path('c.sock')}`])
      await scene.startProxy('--upstream', `unix:${scene.path('c.sock')}`)
      const until = scene.path('go-on')
      const post = await scene.ask('/wait', { method: 'POST', until })
      await scene.runner(post.id)
      scene.proxy.child.process.kill('SIGSTOP')
      await container.child.until(() => container.child.logged('a proxy does not answer'))
      scene.proxy.child.process.kill('SIGCONT')
      await container.child.until(() => container.child.logged('a proxy answers again'))
      writeFileSync(until, '')
      assert.equal((await post.answer).status, 200)
      assert.deepEqual([scene.logged('container is closed'), scene.runs(post.id)], [[], ['c']])
    })
  })
})

test('a GET that crashes its container crashes two of three, and gets an error', { timeout: 120_000 }, async () => {
  await Scene.with(async (scene) => {
    const names = ['one', 'two', 'three']
    for (const who of names) await scene.startContainer(who, ['--listen', `unix:${scene.directory}/`])
    await scene.startProxy('--upstream', `unix:${scene.directory}/`)
    for (const who of names) await scene.answeredBy(who)
    const { id, answer } = await scene.ask('/crash')
    assert.equal((await answer).status, 502)
    const ran = scene.runs(id)
    assert.deepEqual([ran.length, new Set(ran).size], [2, 2])
    await scene.proxy.child.until(() => scene.logged(REPLAYED).length > 0)
    const [line, ...more] = scene.logged(REPLAYED)
    assert.equal(more.length, 0)
    assert.ok(
      String(line!['lost']).includes(ran[0]!) && String(line!['member']).includes(ran[1]!),
      JSON.stringify(line),
    )
    const alive = names.find((who) => !ran.includes(who))!
    assert.ok(existsSync(scene.path(`${alive}.sock`)))
    await scene.answeredBy(alive)
  })
})
