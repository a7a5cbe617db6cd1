/** The package as users get it: packed, installed into an empty folder, run and imported from there. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { repositoryFile, TestChild } from './support/child.ts'
import { withDirectory } from './support/directory.ts'

const entries = ['gantry', 'gantry/protocol', 'gantry/container', 'gantry/proxy', 'gantry/middleware']
const { version } = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8'))

let installed = ''
let missing = ''
let finish = (): void => {}
let finished: Promise<void> = Promise.resolve()

/** npm's variables of the surrounding run (its prefix, its package) must not reach the npm in the empty folder. */
function npm(argv: string[], cwd: string): void {
  const env = Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(registry|cafile|userconfig|globalconfig|cache))/i.test(name),
  )
  execFileSync('npm', argv, { cwd, env: Object.fromEntries(env), stdio: ['ignore', 'ignore', 'pipe'] })
}

before(async () => {
  const ready = Promise.withResolvers<void>()
  const over = Promise.withResolvers<void>()
  finish = over.resolve
  finished = withDirectory(async (directory) => {
    try {
      const dist = join(directory, 'build')
      mkdirSync(dist)
      // Built in a separate folder, so that an existing dist/ is not changed.
      execFileSync(process.execPath, [repositoryFile('scripts/build.ts'), '--out', dist], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      npm(['pack', dist, '--ignore-scripts', '--pack-destination', directory], directory)
      installed = join(directory, 'empty')
      mkdirSync(installed)
      writeFileSync(join(installed, 'package.json'), '{ "private": true, "type": "module" }')
      const archive = join(directory, `gantry-${version}.tgz`)
      try {
        npm(['install', '--no-audit', '--no-fund', '--prefer-offline', archive], installed)
      } catch (error) {
        const { stderr } = error as { stderr: Buffer }
        if (process.env['CI'] === 'true') throw new Error(`npm install: ${stderr}`)
        missing = `no package registry can be reached: ${String(stderr).split('\n')[0]}`
      }
      ready.resolve()
      await over.promise
    } catch (error) {
      ready.reject(error)
    }
  })
  await ready.promise
})

after(async () => {
  finish()
  await finished
})

test('the packed command runs', (context) => {
  if (missing) return context.skip(missing)
  const command = join(installed, 'node_modules', '.bin', 'gantry')
  assert.notEqual(statSync(command).mode & 0o111, 0)
  // As npm's shim runs the command, on the Node of these tests.
  const run = spawnSync(process.execPath, [command, '--version'], { encoding: 'utf8' })
  assert.deepEqual([run.status, run.stdout, run.stderr], [0, `${version}\n`, ''])
})

for (const entry of entries) {
  test(`${entry} can be imported from the package, and has declarations`, (context) => {
    if (missing) return context.skip(missing)
    const program = `console.log(Object.keys(await import(${JSON.stringify(entry)})).length > 0)`
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      cwd: installed,
      encoding: 'utf8',
    })
    assert.deepEqual([run.stdout, run.stderr], ['true\n', ''])
    const manifest = JSON.parse(readFileSync(join(installed, 'node_modules/gantry/package.json'), 'utf8'))
    const { types } = manifest.exports[entry.replace('gantry', '.')]
    assert.ok(existsSync(join(installed, 'node_modules/gantry', types)))
  })
}

test('the package holds what runs, and no tests or sources', (context) => {
  if (missing) return context.skip(missing)
  const listed = spawnSync('ls', [join(installed, 'node_modules/gantry')], { encoding: 'utf8' }).stdout.split('\n')
  assert.deepEqual(listed.filter(Boolean).sort(), ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'package.json'])
})

test('installing compiled nothing', (context) => {
  if (missing) return context.skip(missing)
  const found = spawnSync('find', [installed, '-name', 'build', '-path', '*/Release*'], { encoding: 'utf8' })
  assert.equal(found.stdout, '')
})

test('the installed pair serves an application', async (context) => {
  if (missing) return context.skip(missing)
  writeFileSync(
    join(installed, 'app.js'),
    `export const application = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from('hello ' + environ.PATH_INFO)]
    }`,
  )
  const command = join(installed, 'node_modules', '.bin', 'gantry')
  const child = new TestChild([command, 'up', 'app.js', '--listen', '127.0.0.1:0'], { cwd: installed })
  try {
    const line = /^app\.js is served at (\S+)$/m
    await child.until(() => line.test(child.stderr))
    const answer = await fetch(`${line.exec(child.stderr)![1]}there`)
    assert.equal(await answer.text(), 'hello /there')
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  } finally {
    await child.end()
  }
})

test('on a Node that is too old it reports the required version, and stops', (context) => {
  if (missing) return context.skip(missing)
  const old = ['/usr/bin/node', '/usr/local/bin/node'].find((file) => {
    const run = spawnSync(file, ['--version'], { encoding: 'utf8' })
    return run.status === 0 && Number(/^v(\d+)/.exec(run.stdout)?.[1]) < 24
  })
  if (old === undefined) return context.skip('this machine has no Node older than 24')
  const run = spawnSync(old, [join(installed, 'node_modules/gantry/dist/cli/gantry.js'), '--version'], {
    encoding: 'utf8',
  })
  assert.equal(run.status, 1)
  assert.match(run.stderr, /^gantry needs Node 24 or later; this is Node \d+\.\d+\.\d+\n$/)
})
