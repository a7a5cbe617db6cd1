import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { loadMiddleware } from '../../../process/modules/load-middleware.ts'
import { LoadError } from '../../../process/modules/load-module.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'

/** A middleware that adds `name` before the body of its application. */
const tag = (name: string): string => `(application) => (environ, startResponse) => {
    environ['test.trail'] = (environ['test.trail'] ?? '') + '${name} '
    return application(environ, startResponse)
  }`

const files: Record<string, string> = {
  'package.json': '{"type":"module"}',
  'tags.ts': `export const middleware = ${tag('one')}
    export const other = ${tag('other')}
    export default ${tag('default')}`,
  'default.js': `export default ${tag('default')}`,
  'application.js': 'export const application = () => []',
  'object.js': 'export const middleware = { handle() {} }',
  'nothing.js': 'export const middleware = () => {}',
  'throws.js': `export const middleware = () => { throw new Error('no configuration') }`,
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-middleware-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
})
after(() => rmSync(directory, { recursive: true }))

const trail: Application = (environ, startResponse) => {
  startResponse('200 OK', [])
  return [Buffer.from(String(environ['test.trail']))]
}

async function trailOf(...specifiers: string[]): Promise<string> {
  const middleware = await loadMiddleware(specifiers, directory)
  return (await call(middleware!(trail))).text
}

describe('loadMiddleware', () => {
  it('takes the export middleware, then the default export, or the one that is named', async () => {
    assert.equal(await trailOf('tags.ts'), 'one ')
    assert.equal(await trailOf('default.js'), 'default ')
    assert.equal(await trailOf('tags.ts:other'), 'other ')
  })

  it('puts the first outermost', async () => {
    assert.equal(await trailOf('tags.ts:other', 'default', 'tags'), 'other default one ')
  })

  it('is undefined for none', async () => {
    assert.equal(await loadMiddleware([], directory), undefined)
  })

  for (const [specifier, code, says] of [
    ['missing.ts', 'NO_MODULE', /^there is no file .*missing\.ts$/],
    [
      'application.js',
      'NO_EXPORT',
      /^application\.js exports neither middleware nor a default; it exports application$/,
    ],
    [
      'object.js',
      'NOT_A_FUNCTION',
      /^the export middleware of object\.js is not a valid middleware: expected .*, got object$/,
    ],
  ] as const) {
    it(`says of ${specifier} what is wrong: ${code}`, async () => {
      await assert.rejects(loadMiddleware([specifier], directory), (error) => {
        assert.ok(error instanceof LoadError, String(error))
        assert.equal(error.code, code)
        assert.match(error.message, says)
        return true
      })
    })
  }

  for (const [specifier, code, says] of [
    ['nothing.js', 'NOT_A_FUNCTION', /^the middleware of nothing\.js returned undefined for an application/],
    [
      'throws.js',
      'THREW',
      /^the middleware of throws\.js threw when it was called with its application: no configuration$/,
    ],
  ] as const) {
    it(`says of ${specifier}, once it is given its application, what is wrong: ${code}`, async () => {
      const middleware = await loadMiddleware(['tags.ts', specifier], directory)
      assert.throws(
        () => middleware!(trail),
        (error) => {
          assert.ok(error instanceof LoadError, String(error))
          assert.equal(error.code, code)
          assert.match(error.message, says)
          return true
        },
      )
    })
  }
})
