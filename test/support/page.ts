/**
 * A page of the documentation as a script: its files are written, its commands run, and what it says they print is
 * compared.
 *
 * A block whose first line is a comment with a file's name is that file. In a `console` block each line that
 * begins with `$ ` is a command, and the lines up to the next one are what it prints; `…` stands for anything. A server
 * that is started runs until its section ends; so is what a shell would leave in the background (`&`), whose output may
 * go to a file (`> FILE`). A command that reads a `.log` file is repeated until it prints what the page shows. Ports on
 * 127.0.0.1 are others than the page's, and so is PORT.
 */

import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { repositoryFile, TestChild } from './child.ts'
import { withDirectory } from './directory.ts'
import { freePort } from './sockets.ts'

/** How often a log is read, at most: a minute, with the start of each command. */
const LOG_READS = 300

export interface Block {
  readonly language: string
  readonly text: string
}

export interface Section {
  readonly title: string
  readonly blocks: readonly Block[]
}

/** A page's sections, by its headings of the second rank. */
export function sectionsOf(file: string): Section[] {
  const [, ...parts] = readFileSync(repositoryFile(file), 'utf8').split(/^## /m)
  return parts.map((part) => ({
    title: part.slice(0, part.indexOf('\n')),
    blocks: [...part.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, text]) => ({
      language: language!,
      text: text!,
    })),
  }))
}

/** The name of the file that a block is; undefined for a block that is none. */
export function fileName({ text }: Block): string | undefined {
  return /^(?:\/\/|#|<!--) (\S+\.\w+)(?: -->)?\n/.exec(text)?.[1]
}

/** What is in the file: of other than code without the line that names it. */
function contentOf({ language, text }: Block): string {
  return /^[jt]s$/.test(language) ? text : text.slice(text.indexOf('\n') + 1)
}

/**
 * Writes the section's files and runs its commands, in the page's order.
 *
 * @param packages whether the packages that this repository develops with are there too
 * @throws AssertionError for what differs from the page
 */
export function runSection(section: Section, packages = false): Promise<void> {
  return withDirectory(async (directory) => {
    prepare(directory)
    if (packages) linkPackages(directory)
    const servers: TestChild[] = []
    const ports: Map<string, number> = new Map()
    try {
      for (const block of section.blocks) {
        const name = fileName(block)
        if (name !== undefined) write(directory, name, contentOf(block))
        else if (block.language === 'console') await runBlock(block.text, directory, servers, ports)
      }
    } finally {
      for (const server of servers) {
        server.process.kill('SIGTERM')
        await server.exited
      }
    }
    for (const server of servers) {
      const { code, signal } = await server.exited
      // A program without a handler of its own is ended by the signal.
      assert.ok(
        code === 0 || (signal === 'SIGTERM' && !isGantry(server)),
        `it ended with ${code ?? signal}\n${server.stderr}`,
      )
    }
  })
}

function isGantry(server: TestChild): boolean {
  return server.process.spawnargs.includes(repositoryFile('cli/gantry.ts'))
}

/** Everything in the repository's node_modules, for a directory's own programs. */
export function linkPackages(directory: string): void {
  const installed = repositoryFile('node_modules')
  for (const name of readdirSync(installed)) {
    if (!name.startsWith('.') && name !== 'gantry')
      symlinkSync(join(installed, name), join(directory, 'node_modules', name))
  }
  symlinkSync(join(installed, '.bin', 'tsc'), join(directory, 'node_modules', '.bin', 'tsc'))
}

/** What the compiler has against the files of `sections`; empty when it has nothing. */
export function typeErrors(sections: readonly Section[], packages = false): Promise<string> {
  return withDirectory(async (directory) => {
    prepare(directory)
    if (packages) linkPackages(directory)
    for (const [at, section] of sections.entries()) {
      for (const block of section.blocks) {
        const name = fileName(block)
        if (name !== undefined) write(join(directory, `section-${at}`), name, block.text)
      }
    }
    const tsconfig = {
      extends: repositoryFile('tsconfig.json'),
      compilerOptions: {
        typeRoots: [repositoryFile('node_modules/@types')],
        isolatedDeclarations: false,
        declaration: false,
        // The packages' own types do not hold to it.
        exactOptionalPropertyTypes: !packages,
      },
      include: ['section-*/**/*'],
      exclude: [],
    }
    write(directory, 'tsconfig.json', JSON.stringify(tsconfig))
    const compiler = repositoryFile('node_modules/typescript/bin/tsc')
    return spawnSync(process.execPath, [compiler, '-p', directory], { encoding: 'utf8' }).stdout
  })
}

/** A directory in which `gantry` is a command and a package, as in one where it was installed. */
export function prepare(directory: string): void {
  const installed = join(directory, 'node_modules', 'gantry')
  mkdirSync(installed, { recursive: true })
  const { exports } = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8')) as {
    exports: Record<string, { default: string } | string>
  }
  const sources: Record<string, string> = {}
  for (const [entry, target] of Object.entries(exports)) {
    if (typeof target === 'string') continue
    const source = target.default.replace('./dist/', './').replace(/\.js$/, '.ts')
    mkdirSync(dirname(join(installed, source)), { recursive: true })
    // Node strips types by the file's true place, which is not under node_modules.
    symlinkSync(repositoryFile(source), join(installed, source))
    sources[entry] = source
  }
  writeFileSync(join(installed, 'package.json'), JSON.stringify({ name: 'gantry', type: 'module', exports: sources }))
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  writeFileSync(join(directory, '.curlrc'), 'silent\nshow-error\nno-buffer\n')
  const command = join(directory, 'node_modules', '.bin', 'gantry')
  mkdirSync(dirname(command))
  writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${repositoryFile('cli/gantry.ts')}' "$@"\n`)
  chmodSync(command, 0o755)
}

export function write(directory: string, name: string, text: string): void {
  const file = join(directory, name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}

async function runBlock(
  text: string,
  directory: string,
  servers: TestChild[],
  ports: Map<string, number>,
): Promise<void> {
  const place = /(127\.0\.0\.1:|\bPORT=)(\d+)/g
  for (const [, , port] of text.matchAll(place)) {
    if (!ports.has(port!)) ports.set(port!, await freePort())
  }
  const here = text.replace(place, (_, before: string, port: string) => `${before}${ports.get(port)}`)
  for (const [, command, printed] of here.matchAll(/^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)/gm)) {
    if (/^(?:\w+=\S+ )*gantry (?:up|container|proxy) (?!.*(?:--help|\|))|^[^;&|]* &$/.test(command!)) {
      servers.push(await started(command!, printed!.trim(), directory))
    } else if (/\.log$/.test(command!)) {
      await printedInTime(command!, printed!, directory)
    } else {
      assertPrinted(await run(command!, directory), printed!, command!)
    }
  }
}

/** What a command prints, as a terminal shows it; how it exits is for the page to show. */
function run(command: string, directory: string): Promise<string> {
  const bin = join(directory, 'node_modules', '.bin')
  const env = {
    ...process.env,
    PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH']}`,
    // Where it is told to print as on a terminal, which this is not.
    CURL_HOME: directory,
    NODE_TEST_CONTEXT: undefined,
    NO_COLOR: '1',
    // The order of `sort`.
    LC_ALL: 'C',
  }
  return new Promise((resolve) => {
    execFile('bash', ['-c', `{ ${command}\n} 2>&1`], { cwd: directory, env, timeout: 60_000 }, (_, output) =>
      resolve(output),
    )
  })
}

/** Repeats a command that reads a log until the server has written what the page shows. */
async function printedInTime(command: string, shown: string, directory: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      assertPrinted(await run(command, directory), shown, command)
      return
    } catch (error) {
      if (tries === LOG_READS) throw error
      await setTimeout(100)
    }
  }
}

/** A server, once it has said what the page shows; or, where it shows nothing, that it listens. */
async function started(command: string, printed: string, directory: string): Promise<TestChild> {
  // `NAME=value node module.ts &`, or a command of gantry's.
  const [, settings, program, words, output] = /^((?:\w+=\S+ )*)(gantry|node) (.*?)(?: > (\S+))?(?: &)?$/.exec(command)!
  const env = Object.fromEntries(settings!.split(' ').flatMap((one) => (one === '' ? [] : [one.split('=')])))
  const argv = words!.split(/\s+/)
  if (program === 'gantry') argv.unshift(repositoryFile('cli/gantry.ts'))
  const server = new TestChild(argv, { cwd: directory, env, patience: 120_000 })
  if (output !== undefined) {
    server.process.stdout!.on('data', (text: string) => appendFileSync(join(directory, output), text))
  }
  await server.until(() => {
    if (printed === '') return server.logged('ready')
    return server.stderr.includes(printed) || server.stdout.includes(printed)
  })
  return server
}

/** What was printed is what the page shows, but for dates and what it leaves out. */
export function assertPrinted(actual: string, shown: string, command: string): void {
  const normal = (text: string): string =>
    text
      .replaceAll('\r', '')
      .replace(/^(date): .*$/gim, '$1: DATE')
      .trim()
  const parts = normal(shown)
    .split('…')
    .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  if (new RegExp(`^${parts.join('[^]*?')}$`).test(normal(actual))) return
  assert.equal(normal(actual), normal(shown), `$ ${command}`)
}
