/**
 * Two copies of Gantry in one process, this one and a built one: each recognises the other's objects, and the list of
 * branded classes is complete.
 */

import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import * as ourMiddleware from '../../middleware/index.ts'
import { otherVersions, warnOfOtherVersions } from '../../process/loaded-versions.ts'
import { LoadError } from '../../process/modules/load-module.ts'
import { loadedFrom } from '../../protocol/contract/brand.ts'
import { Context } from '../../protocol/contract/context.ts'
import { DerivedContext } from '../../protocol/contract/derived-context.ts'
import * as ours from '../../protocol/index.ts'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { RecordingLog } from '../support/log.ts'
import { type InstalledCopy, installCopy } from '../support/package.ts'

/**
 * Classes that are used with `instanceof`: `branded`, or the reason why an object of another copy cannot occur there.
 */
const classes: Readonly<Record<string, string>> = {
  AbortError: 'branded',
  Context: 'branded',
  ContractError: 'branded',
  HttpError: 'branded',
  LoadError: 'branded',
  LocalProtocolError: 'branded',
  RemoteProtocolError: 'branded',
  RequestInput: 'branded',
  AddressError: 'thrown by parseAddress() of the same copy, in the same call',
  CallError: 'thrown by the Caller of the same copy, in the same call',
  ChildApplication: 'made by the container of the same copy, in the same call',
  ChildListensError: 'thrown by loadForContainer() of the same copy, in the same call',
  HtpasswdError: 'thrown by parseHtpasswd() of the same copy, in the same call',
  ListenError: 'thrown by listen() of the same copy, in the same call',
  OptionError: 'thrown by the command that the same copy runs',
  UnsupportedExport: 'thrown by recognise() of the same copy, in the same call',
}

type Class = new (...args: never[]) => object
type Classes = Readonly<Record<string, Class>>

function sources(folder: string): string[] {
  return readdirSync(repositoryFile(folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
}

function environOf(copy: typeof ours): ours.Environ {
  return copy.environFromHttp(
    { method: 'GET', target: '/', minor: 1, headers: ['Host', 'a', 'x-CASE', '1'], upgrade: false },
    { remoteAddress: '', remotePort: '', serverName: 'a', serverPort: '80', scheme: 'http' },
    { multithread: true, multiprocess: true, runOnce: false },
  )
}

describe('two copies in one process', () => {
  let installed: InstalledCopy
  let theirs: typeof ours
  let theirMiddleware: typeof ourMiddleware
  let pairs: readonly [string, Class, Class][]
  let end: (() => void) | undefined
  let ended: Promise<void>

  before(async () => {
    const ready = Promise.withResolvers<void>()
    ended = withDirectory(async (folder) => {
      installed = installCopy(folder, '9.9.9')
      ready.resolve()
      await new Promise<void>((resolve) => (end = resolve))
    })
    ended.catch(ready.reject)
    await ready.promise
    const file = (name: string): string => pathToFileURL(join(installed.path, 'dist', name)).href
    const load = (name: string): Promise<Classes> => import(file(name))
    theirMiddleware = await import(file('middleware/index.js'))
    theirs = (await load('protocol/index.js')) as unknown as typeof ours
    const [{ Context: TheirContext }, { LoadError: TheirLoadError }] = await Promise.all([
      load('protocol/contract/context.js'),
      load('process/modules/load-module.js'),
    ])
    const of = (copy: typeof ours): Class[] => [
      copy.AbortError,
      copy.ContractError,
      copy.HttpError,
      copy.LocalProtocolError,
      copy.RemoteProtocolError,
      copy.RequestInput,
    ]
    const own: Class[] = [...of(ours), Context, LoadError]
    const other = [...of(theirs), TheirContext!, TheirLoadError!]
    pairs = own.map((type, at): [string, Class, Class] => [type.name, type, other[at]!])
  })
  after(async () => {
    end?.()
    await ended
  })

  it('recognise the objects of each branded class, and no others', () => {
    const branded = Object.keys(classes).filter((name) => classes[name] === 'branded')
    assert.deepEqual(pairs.map(([name]) => name).sort(), branded.sort())
    const make = (type: Class): object =>
      Reflect.construct(type, type.name === 'ContractError' ? ['START_TWICE', ''] : [])
    for (const [name, our, their] of pairs) {
      assert.notEqual(our, their, name)
      assert.ok(make(their) instanceof our, `${name}: theirs is ours`)
      assert.ok(make(our) instanceof their, `${name}: ours is theirs`)
      for (const other of [{}, null, undefined, 'text', new Error(name)]) assert.ok(!((other as object) instanceof our))
      for (const [another, strange] of pairs) {
        if (another !== name) assert.ok(!(make(strange) instanceof our), `${another} is no ${name}`)
      }
    }
  })

  it('recognise objects of subclasses, and a subclass recognises only its own', () => {
    class Teapot extends ours.HttpError {}
    class Kettle extends theirs.HttpError {}
    const teapot = new Teapot(418, 'TEAPOT', 'short and stout')
    const kettle = new Kettle(418, 'KETTLE', 'it boils')
    assert.ok(teapot instanceof theirs.HttpError && kettle instanceof ours.HttpError)
    assert.ok(teapot instanceof Teapot && !(kettle instanceof Teapot))
    assert.ok(!(new ours.HttpError(400, 'A', '') instanceof Teapot))
    assert.ok(!(environOf(theirs).gantry instanceof DerivedContext))
  })

  it('edit the header lines of an environ that the other made, and keep the lines unchanged', () => {
    for (const [maker, editor] of [
      [theirs, ours],
      [ours, theirs],
    ] as const) {
      const environ = environOf(maker)
      editor.setHeader(environ, 'X-Set', '2')
      assert.deepEqual(environ.gantry.rawHeaders, [
        ['Host', 'a'],
        ['x-CASE', '1'],
        ['X-Set', '2'],
      ])
      assert.deepEqual(editor.variablesForWire(environ).rawHeaders, ['Host', 'a', 'x-CASE', '1', 'X-Set', '2'])
    }
  })

  it('accept the objects of a copy that is too different to share its brand', async () => {
    // As in another copy in which the class was renamed.
    const environ = environOf(theirs)
    const { requestId, rawHeaders, signal } = environ.gantry
    environ.gantry = { ...environ.gantry, requestId, rawHeaders, signal, draining: false, onFinished: () => {} }
    const answer = await ours.call(
      async (own, startResponse) => {
        const inner = { ...own, gantry: new DerivedContext(environ.gantry) } as unknown as ours.Environ
        startResponse('200 OK', [])
        return [Buffer.from(JSON.stringify([inner.gantry.rawHeaders, ours.variablesForWire(environ).variables]))]
      },
      { path: '/' },
    )
    assert.match(answer.body.toString(), /^\[\[\["Host","a"\],\["x-CASE","1"\]\],.*"HTTP_X_CASE","1"/)
  })

  it('respond with the errors that the other throws', async () => {
    const pages = ourMiddleware.errorPage()
    const failing: ours.Application = () => {
      throw new theirs.HttpError(429, 'SLOW', 'slow down', { headers: [['Retry-After', '7']] })
    }
    for (const application of [failing, pages(failing)]) {
      const { status, headers } = await ours.call(application, { path: '/' })
      assert.equal(status, 429)
      assert.ok(headers.some(([name, value]) => name === 'Retry-After' && value === '7'))
    }
  })

  it('lint each other’s middleware without a complaint', async () => {
    const echo: ours.Application = async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [body]
    }
    for (const [checker, makers] of [
      [ours, theirMiddleware],
      [theirs, ourMiddleware],
    ] as const) {
      const broken: string[] = []
      const report = (error: Error): void => void broken.push(error.message)
      const { bodyLimit, cache, compress, errorPage, requestId, timeout } = makers
      const layers = [bodyLimit(), cache(), compress(), errorPage(), requestId(), timeout()]
      for (const layer of layers) {
        const linted = checker.lint(layer(checker.lint(echo, { report })), { report })
        const { status, body } = await ours.call(linted, { method: 'POST', body: 'sent' })
        assert.deepEqual([status, body.toString()], [200, 'sent'])
        linted.assertClosed()
      }
      assert.deepEqual(broken, [])
    }
  })

  it('install light fetch classes once', async () => {
    const undo = ours.installLightFetch()
    try {
      const { Request, Response } = globalThis
      // A copy that is loaded only now mistakes the classes of the first copy for the platform's.
      const late = join(installed.folder, 'late')
      cpSync(join(installed.path, 'dist'), join(late, 'dist'), { recursive: true })
      writeFileSync(join(late, 'package.json'), '{ "type": "module" }')
      const third = (await import(pathToFileURL(join(late, 'dist', 'protocol', 'index.js')).href)) as typeof ours
      for (const { installLightFetch } of [theirs, third]) {
        installLightFetch()
        assert.equal(globalThis.Request, Request)
        assert.equal(globalThis.Response, Response)
      }
      const application = theirs.fromFetch(
        async (request) => new Response(await request.text(), { status: 201, headers: { 'X-A': request.url } }),
      )
      const { status, headers, body } = await ours.call(application, { method: 'POST', path: '/p', body: 'sent' })
      assert.equal(status, 201)
      assert.equal(body.toString(), 'sent')
      // A light request from the server of one copy, in a handler of the other copy.
      const echo: ours.Application = async (environ, startResponse) => {
        startResponse('202 Accepted', [['X-Method', environ.REQUEST_METHOD]])
        return [await environ['wsgi.input'].read()]
      }
      const through = await ours.call(ours.fromFetch(theirs.toFetch(echo)), { method: 'POST', body: 'sent on' })
      assert.deepEqual([through.status, through.body.toString()], [202, 'sent on'])
      assert.ok(headers.some(([name, value]) => name === 'x-a' && value.endsWith('/p')))
    } finally {
      undo()
    }
  })

  it('warn once that their versions differ, with both versions, their folders, and what to do', () => {
    const log = new RecordingLog()
    warnOfOtherVersions(log)
    const own = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8')).version
    assert.equal(log.lines.length, 1)
    const [{ level, message }] = log.lines as [(typeof log.lines)[0]]
    assert.equal(level, 'warn')
    assert.ok(message.startsWith('two versions of Gantry are loaded: '), message)
    assert.ok(message.includes(`the server is ${own} (${repositoryFile('.').replace(/\/$/, '')})`), message)
    assert.ok(message.includes(`imports 9.9.9 (${installed.path}); install one version`), message)
  })

  it('do not warn about two copies of the same version, or about a bundle, whose version is unknown', () => {
    const own = { version: '9.9.9', path: '/elsewhere' }
    assert.deepEqual(otherVersions(own, [join(installed.path, 'dist', 'protocol'), installed.folder, '/']), [])
    assert.deepEqual(otherVersions({ ...own, version: '1.0.0' }, [...loadedFrom].slice(1)), [
      { version: '9.9.9', path: installed.path },
    ])
  })
})

it('each of our classes used with instanceof is branded, or cannot come from another copy', () => {
  const folders = ['cli', 'container', 'dev', 'interfaces', 'middleware', 'pool', 'process', 'protocol', 'proxy']
  const files = folders.flatMap(sources)
  const asked: Set<string> = new Set()
  for (const file of files) {
    const text = readFileSync(repositoryFile(file), 'utf8').replaceAll(/^\s*(?:\*|\/\/|\/\*).*$/gm, '')
    for (const [, name] of text.matchAll(/\binstanceof (\w+)/g)) asked.add(name!)
  }
  const platform = ['HttpsServer', 'RealHeaders', 'Server', 'Socket']
  const own = [...asked].filter((name) => !(name in globalThis) && !platform.includes(name))
  assert.deepEqual(own.sort(), Object.keys(classes).sort())
})
