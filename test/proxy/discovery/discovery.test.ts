import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { parseAddress, printAddress } from '../../../protocol/net/address.ts'
import { systemClock } from '../../../protocol/net/clock.ts'
import { discover } from '../../../proxy/discovery/discovery.ts'
import type { DialAddress, DiscoveryOptions, Report } from '../../../proxy/discovery/report.ts'
import { turn } from '../../pool/client.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { until } from '../container.ts'

type Discovered = Exclude<ReturnType<typeof parseAddress>, { kind: 'http' }>

class Names {
  /** The next result of the resolver. */
  answer: string[] | Error = []
  asked: string[] = []
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly reports: string[][] = []

  start(address: string): () => void {
    const options: DiscoveryOptions = {
      clock: this.clock,
      log: this.log,
      interval: 1_000,
      resolve: async (host) => {
        this.asked.push(host)
        if (this.answer instanceof Error) throw this.answer
        return this.answer
      },
    }
    const report: Report = (addresses) => this.reports.push(addresses.map(printAddress))
    return discover(parseAddress(address) as Discovered, report, options)
  }

  async look(answer: string[] | Error): Promise<void> {
    this.answer = answer
    this.clock.advance(1_000)
    await turn()
  }
}

suite('an address that is one container', () => {
  for (const address of ['unix:/run/app.sock', '127.0.0.1:8000', '[::1]:8000']) {
    test(`${address} is reported as it is, and nobody is asked`, () => {
      const names = new Names()
      names.start(address)
      assert.deepEqual(names.reports, [[address]])
      assert.deepEqual([names.asked.length, names.clock.pending], [0, 0])
    })
  }
})

suite('a name', () => {
  test('stands for all its addresses, of both families', async () => {
    const names = new Names()
    names.answer = ['10.0.0.2', 'fd00::1', '10.0.0.1']
    names.start('container:8000')
    await turn()
    assert.deepEqual(names.reports, [['10.0.0.1:8000', '10.0.0.2:8000', '[fd00::1]:8000']])
    assert.deepEqual(names.asked, ['container'])
  })

  test('is resolved again each second', async () => {
    const names = new Names()
    names.answer = ['10.0.0.1']
    names.start('container:8000')
    await turn()
    await names.look(['10.0.0.1', '10.0.0.2'])
    await names.look(['10.0.0.2'])
    assert.deepEqual(names.reports, [['10.0.0.1:8000'], ['10.0.0.1:8000', '10.0.0.2:8000'], ['10.0.0.2:8000']])
  })

  test('is not reported again when only the order of its addresses changed', async () => {
    const names = new Names()
    names.answer = ['10.0.0.1', '10.0.0.2']
    names.start('container:8000')
    await turn()
    await names.look(['10.0.0.2', '10.0.0.1', '10.0.0.2'])
    assert.equal(names.reports.length, 1)
  })

  test('keeps its addresses while the resolver fails, which is logged once', async () => {
    const names = new Names()
    names.answer = ['10.0.0.1']
    names.start('container:8000')
    await turn()
    await names.look(new Error('ENOTFOUND'))
    await names.look(new Error('ENOTFOUND'))
    await names.look([])
    assert.equal(names.reports.length, 1)
    assert.equal(names.log.messages('warn').length, 1)
  })

  test('is logged when it is resolved again, and so is a later failure', async () => {
    const names = new Names()
    names.answer = new Error('ENOTFOUND')
    names.start('container:8000')
    await turn()
    await names.look(['10.0.0.1'])
    await names.look(new Error('ENOTFOUND'))
    assert.deepEqual([names.log.messages('warn').length, names.log.messages('info').length], [2, 1])
  })

  test('that is being resolved when discovery ends is not reported', async () => {
    const names = new Names()
    names.answer = ['10.0.0.1']
    const stop = names.start('container:8000')
    stop()
    await turn()
    assert.deepEqual([names.reports.length, names.clock.pending], [0, 0])
  })

  test('whose lookup never ends is not looked up twice at once', async () => {
    const clock = new FakeClock()
    let asked = 0
    discover(parseAddress('container:8000') as Discovered, () => {}, {
      clock,
      log: new RecordingLog(),
      interval: 1_000,
      resolve: () => {
        asked++
        return new Promise(() => {})
      },
    })
    clock.advance(10_000)
    await turn()
    assert.equal(asked, 1)
  })

  test('without a host is this host', async () => {
    const names = new Names()
    names.answer = ['127.0.0.1']
    names.start(':8000')
    await turn()
    assert.deepEqual([names.asked, names.reports], [['localhost'], [['127.0.0.1:8000']]])
  })
})

suite('a directory', () => {
  const cleanups: (() => unknown)[] = []
  after(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup()
  })

  async function socket(path: string): Promise<Server> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(path, resolve))
    cleanups.push(() => server.close())
    return server
  }

  class Watched {
    readonly path: string
    readonly log: RecordingLog = new RecordingLog()
    now: string[] = []
    reports = 0
    #wake: (() => void) | undefined

    constructor(path: string) {
      this.path = path
    }

    static async make(): Promise<Watched> {
      const root = await mkdtemp(join(tmpdir(), 'gantry-'))
      cleanups.push(() => rm(root, { recursive: true, force: true }))
      return new Watched(root)
    }

    start(path: string = this.path): this {
      const stop = discover(
        { kind: 'unix-directory', path: `${path}/` },
        (addresses: readonly DialAddress[]) => {
          this.now = addresses.map(printAddress)
          this.reports++
          this.#wake?.()
        },
        { clock: systemClock, log: this.log, interval: 50, resolve: async () => [] },
      )
      cleanups.push(stop)
      return this
    }

    /** Resolves once the sockets reported are these names. */
    async shows(...names: string[]): Promise<void> {
      const wanted = names.map((name) => `unix:${this.path}/${name}`).join(' ')
      const holdsOn = setTimeout(() => {}, 60_000)
      while (this.now.join(' ') !== wanted) await new Promise<void>((resolve) => (this.#wake = resolve))
      clearTimeout(holdsOn)
    }
  }

  test('reports its sockets', async () => {
    const watched = await Watched.make()
    await socket(join(watched.path, 'a.sock'))
    await socket(join(watched.path, 'b.sock'))
    await watched.start().shows('a.sock', 'b.sock')
  })

  test('reports new sockets, and drops removed ones', async () => {
    const watched = await Watched.make()
    const a = await socket(join(watched.path, 'a.sock'))
    await watched.start().shows('a.sock')
    await socket(join(watched.path, 'b.sock'))
    await watched.shows('a.sock', 'b.sock')
    a.close()
    await watched.shows('b.sock')
  })

  test('ignores files that are hidden or not sockets', async () => {
    const watched = await Watched.make()
    await writeFile(join(watched.path, 'notes.txt'), '')
    await mkdir(join(watched.path, 'more'))
    await socket(join(watched.path, '.hidden.sock'))
    await symlink('/nowhere', join(watched.path, 'link.sock'))
    await socket(join(watched.path, 'real.sock'))
    await watched.start().shows('real.sock')
  })

  test('is watched from its creation on', async () => {
    const watched = await Watched.make()
    const path = join(watched.path, 'later')
    const later = new Watched(path).start()
    await until(() => later.log.messages('warn').length > 0)
    await mkdir(path)
    await socket(join(path, 'a.sock'))
    await later.shows('a.sock')
    assert.equal(later.log.messages('warn').length, 1)
  })

  test('that is removed has no sockets, and is found when it is created again', async () => {
    const watched = await Watched.make()
    const path = join(watched.path, 'dir')
    await mkdir(path)
    await socket(join(path, 'a.sock'))
    const inner = new Watched(path).start()
    await inner.shows('a.sock')
    await rename(path, `${path}.old`)
    await inner.shows()
    await mkdir(path)
    await socket(join(path, 'b.sock'))
    await inner.shows('b.sock')
  })

  test('is reported again when a socket was replaced by one of the same name', async () => {
    const watched = await Watched.make()
    await socket(join(watched.path, 'a.sock'))
    await watched.start().shows('a.sock')
    await socket(join(watched.path, '.new'))
    const before = watched.reports
    await rename(join(watched.path, '.new'), join(watched.path, 'a.sock'))
    await until(() => watched.reports > before)
    assert.deepEqual(watched.now, [`unix:${watched.path}/a.sock`])
  })
})
