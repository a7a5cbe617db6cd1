/** Requests that wait for their bodies before they get a slot. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { BodyWait, type BodyWaitOptions, type Room } from '../../pool/body-wait.ts'
import type { Environ } from '../../protocol/contract/application.ts'
import type { ClientView } from '../../protocol/contract/client-view.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { FakeClock } from '../support/clock.ts'

class Scene {
  readonly clock: FakeClock = new FakeClock()
  room: Room = 'none'
  readonly buffers: BodyWait

  constructor(options: Partial<BodyWaitOptions> = {}) {
    const room = (): Room => this.room
    const host = { deadlines: new Deadlines(this.clock), room }
    this.buffers = new BodyWait(host, { each: 1_000, total: 10_000, longest: 10_000, ...options })
  }

  upload(headers: Record<string, string> = {}, held: number = 0): Upload {
    return new Upload(this.buffers, headers, held)
  }
}

class Upload implements ClientView {
  readonly waitsFor = 'nothing'
  readonly delivered = 0
  readonly accepted = 0
  arriving = true
  held: number
  done = 0
  ended: AbortError | undefined
  readonly awaited: ReturnType<BodyWait['begin']>
  #arrival: (() => void) | undefined

  constructor(buffers: BodyWait, headers: Record<string, string>, held: number) {
    this.held = held
    this.awaited = buffers.begin({ ...headers, gantry: { client: this } } as unknown as Environ, () => this.done++)
  }

  onArrival(callback: (() => void) | undefined): void {
    this.#arrival = callback
  }

  abortSlow(reason: AbortError): void {
    this.ended = reason
  }

  arrive(bytes: number): void {
    this.held += bytes
    this.#arrival?.()
  }

  finish(): void {
    this.arriving = false
    this.#arrival?.()
  }
}

suite('a request waits for its body', () => {
  test('until its body is whole', () => {
    const scene = new Scene()
    const upload = scene.upload()
    upload.arrive(10)
    assert.deepEqual([upload.done, scene.buffers.held, scene.buffers.size], [0, 10, 1])
    upload.finish()
    assert.deepEqual([upload.done, scene.buffers.held, scene.buffers.size], [1, 0, 0])
    upload.arrive(10)
    assert.equal(upload.done, 1)
  })

  test('until as many bytes have arrived as are read ahead', () => {
    const scene = new Scene()
    const upload = scene.upload()
    upload.arrive(999)
    assert.equal(upload.done, 0)
    upload.arrive(1)
    assert.equal(upload.done, 1)
  })

  test('no longer once all bodies together are above the total, and later requests do not wait', () => {
    const scene = new Scene({ total: 1_500 })
    const [first, second] = [scene.upload(), scene.upload()]
    first.arrive(900)
    second.arrive(599)
    assert.deepEqual([first.done, second.done], [0, 0])
    second.arrive(1)
    assert.deepEqual([first.done, second.done, scene.buffers.held], [0, 1, 900])
    first.arrive(99)
    assert.equal(scene.upload({}, 501).awaited !== undefined, true)
    assert.equal(scene.upload().awaited, undefined)
  })

  test('while no slot is free, and a quarter of a second while few are', () => {
    const scene = new Scene()
    const upload = scene.upload()
    scene.clock.advance(5_000)
    assert.equal(upload.done, 0)
    scene.room = 'some'
    scene.clock.advance(250)
    assert.equal(upload.done, 1)
    const next = scene.upload()
    assert.equal(next.done, 0)
    scene.clock.advance(500)
    assert.equal(next.done, 1)
    assert.equal(scene.clock.pending, 0)
  })

  test('not while more than half of the slots are free', () => {
    const scene = new Scene()
    scene.room = 'plenty'
    assert.equal(scene.upload().awaited, undefined)
  })

  test('not if its client waits for 100 Continue, which only the application may send', () => {
    const scene = new Scene()
    assert.equal(scene.upload({ HTTP_EXPECT: '100-Continue' }).awaited, undefined)
    assert.notEqual(scene.upload({ HTTP_EXPECT: '100-continue' }, 5).awaited, undefined)
  })

  test('not if it has no body, or the whole body has arrived', () => {
    const scene = new Scene()
    const upload = scene.upload()
    upload.finish()
    const buffers = scene.buffers
    assert.equal(
      buffers.begin({ gantry: { client: upload } } as unknown as Environ, () => {}),
      undefined,
    )
    assert.equal(
      buffers.begin({ gantry: {} } as unknown as Environ, () => {}),
      undefined,
    )
  })

  test('not with a buffer of 0', () => {
    assert.equal(new Scene({ each: 0 }).upload().awaited, undefined)
  })

  test('until its client disconnects', () => {
    const scene = new Scene()
    const upload = scene.upload()
    upload.arrive(10)
    upload.awaited!.stop()
    assert.deepEqual([scene.buffers.held, scene.buffers.size], [0, 0])
    scene.room = 'some'
    scene.clock.advance(1_000)
    upload.finish()
    assert.equal(upload.done, 0)
    assert.equal(scene.clock.pending, 0)
  })
})

suite('a body that does not arrive while no slot is free', () => {
  test('ends its request with 408 if no byte arrives for the queue timeout', () => {
    const scene = new Scene()
    const upload = scene.upload()
    scene.clock.advance(9_000)
    upload.arrive(1)
    scene.clock.advance(9_500)
    assert.equal(upload.ended, undefined)
    scene.clock.advance(1_000)
    assert.equal((upload.ended as AbortError | undefined)?.code, 'SLOW_CLIENT')
    assert.deepEqual([upload.done, scene.buffers.size], [0, 0])
  })

  test('sends its request into the queue if there is no container', () => {
    const scene = new Scene()
    scene.room = 'absent'
    const upload = scene.upload()
    scene.clock.advance(10_500)
    assert.deepEqual([upload.ended, upload.done], [undefined, 1])
  })
})
