/**
 * The folder of an application: its files, its packages from the registry, and its build. Kept, and remade if one of
 * them changes.
 */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { quietly } from './server.ts'
import type { TestedApplication } from './shape.ts'

/** Milliseconds that an installation or a build may take. */
const PATIENCE = 400_000
const DONE = '.ready'

function hashOf(application: TestedApplication): string {
  const { packages, manifest, files, build } = application
  const contents = Object.entries(files).map(([name, content]) => [
    name,
    Buffer.from(content as string).toString('latin1'),
  ])
  return createHash('sha256')
    .update(JSON.stringify([packages, manifest, contents, build]))
    .digest('hex')
    .slice(0, 12)
}

/** Runs a command to its end. @throws with its output if it fails */
async function command(file: string, args: readonly string[], cwd: string, env: Record<string, string>): Promise<void> {
  const child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE)
  const code = await new Promise((resolve) => child.on('close', resolve))
  clearTimeout(timer)
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} exited with ${code}: ${output.slice(-2_000)}`)
}

/** Makes the folder of `application` in `root`, unless it is there. */
export async function prepare(application: TestedApplication, root: string): Promise<string> {
  const { name, packages, manifest, files, build = [] } = application
  const slug = name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
  const folder = join(root, `${slug}-${hashOf(application)}`)
  if (existsSync(join(folder, DONE))) return folder
  await rm(folder, { recursive: true, force: true })
  const own = { name: `tested-${slug}`, private: true, version: '1.0.0', ...manifest, dependencies: packages }
  const all = { 'package.json': `${JSON.stringify(own, null, 2)}\n`, ...files }
  for (const [path, content] of Object.entries(all)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), content)
  }
  const quick = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
  await command('npm', ['install', ...quick], folder, quietly())
  for (const { bin, args, env } of build) {
    await command(process.execPath, [join(folder, bin), ...args], folder, quietly({ NODE_ENV: 'production', ...env }))
  }
  await writeFile(join(folder, DONE), '')
  return folder
}
