/** A container on another host, to which the network silently drops every packet. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { noNetwork, OtherHost } from '../support/network.ts'
import { freePort } from '../support/sockets.ts'
import { REPLAYED, Scene } from '../support/stopping.ts'

const skip = noNetwork !== undefined && !process.env['CI'] && noNetwork
const DIAL = ['--connect-timeout', '300ms']

for (const joined of [false, true]) {
  describe(`a network hole to a container that ${joined ? 'has joined' : 'is dialled'}`, {
    skip,
    timeout: 120_000,
  }, () => {
    /** A pair over that network; the second container is on this host. */
    const withNetwork = (body: (scene: Scene, host: OtherHost) => Promise<void>): Promise<void> =>
      Scene.with(async (scene) => {
        const host = new OtherHost()
        scene.ending(async () => host.remove())
        const port = await freePort()
        const near = `unix:${scene.path('near.sock')}`
        if (joined) {
          await scene.startProxy('--join-listen', `${host.here}:${port}`, '--upstream', near, ...DIAL)
          await scene.startContainer('far', ['--join', `${host.here}:${port}`, ...DIAL], host.through)
        } else {
          await scene.startContainer('far', ['--listen', `${host.address}:${port}`], host.through)
          await scene.startProxy('--upstream', `tcp:${host.address}:${port}`, '--upstream', near, ...DIAL)
        }
        await scene.answeredBy('far')
        await body(scene, host)
      })

    it('with nothing in flight: requests go elsewhere, and return after the network has recovered', async () => {
      await withNetwork(async (scene, host) => {
        await scene.startContainer('near', ['--listen', `unix:${scene.path('near.sock')}`])
        await scene.answeredBy('near')
        host.drop()
        await scene.proxy.child.until(() =>
          scene
            .logged('container does not answer: it gets no new requests until it does')
            .some(({ member }) => String(member).includes('(far/0)')),
        )
        for (let count = 0; count < 10; count++) {
          const { answer } = await scene.ask('/hello', { method: 'POST' })
          assert.deepEqual((await answer).body, 'near')
        }
        host.heal()
        await scene.answeredBy('far')
      })
    })

    it('with requests in flight: a GET runs elsewhere, a POST fails, and each ran once per container', async () => {
      await withNetwork(async (scene, host) => {
        const until = scene.path('go-on')
        const get = await scene.ask('/wait', { until })
        const post = await scene.ask('/wait', { method: 'POST', until })
        for (const { id } of [get, post]) assert.equal(await scene.runner(id), 'far')
        await scene.startContainer('near', ['--listen', `unix:${scene.path('near.sock')}`])
        host.drop()
        // The side that dials finds out. A proxy that was dialled learns it when the container has joined again.
        if (joined) {
          const { child } = scene.containers.get('far')!
          await child.until(() => child.logged('the link to a proxy is closed'))
          host.heal()
        }
        assert.equal((await post.answer).status, 502)
        writeFileSync(until, '')
        assert.equal((await get.answer).status, 200)
        assert.deepEqual([scene.runs(get.id).length, scene.runs(post.id)], [2, ['far']])
        await scene.proxy.child.until(() => scene.logged(REPLAYED).length > 0)
        assert.equal(scene.logged(REPLAYED).length, 1)
      })
    })
  })
}
