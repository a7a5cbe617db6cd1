/** Directories for sockets that only this user can access, and their removal. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { sweepPrivateDirectories } from '../../process/private-directory.ts'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'

const FILE = JSON.stringify(repositoryFile('process/private-directory.ts'))

/** Runs `code` in a new process that creates its directories in `folder`. */
function run(folder: string, code: string): void {
  const whole = `import { privateDirectory } from ${FILE}\n${code}`
  spawnSync(process.execPath, ['--input-type=module', '-e', whole], { env: { ...process.env, TMPDIR: folder } })
}

test('a private directory is removed at exit', () =>
  withDirectory((folder) => {
    run(folder, 'privateDirectory()')
    assert.deepEqual(readdirSync(folder), [])
  }))

test('the directory of a killed process is open to this user alone, and is removed by a sweep', () =>
  withDirectory(async (folder) => {
    run(folder, "privateDirectory('self-'); process.kill(process.pid, 'SIGKILL')")
    const [name] = readdirSync(folder)
    assert.match(name!, /^gantry-self-/)
    assert.equal(statSync(join(folder, name!)).mode & 0o777, 0o700)
    await sweepPrivateDirectories(folder)
    assert.deepEqual(readdirSync(folder), [])
  }))

test('a sweep leaves directories whose owner runs, and everything else', () =>
  withDirectory(async (folder) => {
    run(folder, "privateDirectory(); process.kill(process.pid, 'SIGKILL')")
    mkdirSync(join(folder, 'elsewhere'))
    mkdirSync(join(folder, 'gantry-owned'))
    mkdirSync(join(folder, 'gantry-empty'))
    mkdirSync(join(folder, 'gantry-other'))
    writeFileSync(join(folder, 'gantry-other', 'owner.sock'), 'a file')
    const owner = createServer().listen(join(folder, 'gantry-owned', 'owner.sock'))
    // Another user can place a link in a shared folder.
    run(join(folder, 'elsewhere'), "privateDirectory(); process.kill(process.pid, 'SIGKILL')")
    const [victim] = readdirSync(join(folder, 'elsewhere'))
    symlinkSync(join(folder, 'elsewhere', victim!), join(folder, 'gantry-link'))
    await sweepPrivateDirectories(folder)
    owner.close()
    assert.deepEqual(readdirSync(folder).sort(), [
      'elsewhere',
      'gantry-empty',
      'gantry-link',
      'gantry-other',
      'gantry-owned',
    ])
    assert.deepEqual(readdirSync(join(folder, 'elsewhere')), [victim])
  }))

test('a sweep removes a directory of an older release, which has only the socket for self-calls', () =>
  withDirectory(async (folder) => {
    const make = `import { createServer } from 'node:net'
      import { mkdirSync } from 'node:fs'
      for (const name of ['gantry-self-old', 'gantry-mine']) {
        mkdirSync('${folder}/' + name)
        createServer().listen('${folder}/' + name + '/self.sock')
      }
      setImmediate(() => process.kill(process.pid, 'SIGKILL'))`
    run(folder, make)
    await sweepPrivateDirectories(folder)
    assert.deepEqual(readdirSync(folder), ['gantry-mine'])
  }))

test('a sweep of a folder that cannot be read does nothing', () => sweepPrivateDirectories('/nowhere/at/all'))
