/** Programs that the bench runs but does not bring along: where they are, and which Debian package has them. */

import { type ExecFileException, execFile, execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Known {
  readonly title: string
  /** Names of the executable; the first that exists is used. */
  readonly names: readonly string[]
  readonly debian: string
  readonly version: { readonly args: readonly string[]; readonly pattern: RegExp }
}

export type Program = 'wrk' | 'h2load' | 'nginx' | 'haproxy' | 'uwsgi' | 'gunicorn'

export const programs: Readonly<Record<Program, Known>> = {
  wrk: {
    title: 'wrk',
    names: ['wrk'],
    debian: 'wrk',
    version: { args: ['-v'], pattern: /wrk (?:debian\/)?([\d.]+)/ },
  },
  h2load: {
    title: 'h2load',
    names: ['h2load'],
    debian: 'nghttp2-client',
    version: { args: ['--version'], pattern: /nghttp2\/([\d.]+)/ },
  },
  nginx: {
    title: 'nginx',
    names: ['nginx'],
    debian: 'nginx-light',
    version: { args: ['-v'], pattern: /nginx\/([\d.]+)/ },
  },
  haproxy: {
    title: 'HAProxy',
    names: ['haproxy'],
    debian: 'haproxy',
    version: { args: ['-v'], pattern: /version ([\d.]+)/ },
  },
  uwsgi: {
    title: 'uWSGI',
    names: ['uwsgi-core', 'uwsgi'],
    debian: 'uwsgi-core, uwsgi-plugin-python3',
    version: { args: ['--version'], pattern: /^([\d.]+)/ },
  },
  gunicorn: {
    title: 'gunicorn',
    names: ['gunicorn'],
    debian: 'gunicorn',
    version: { args: ['--version'], pattern: /version ([\d.]+)/ },
  },
}

/** A program, a package or a download is missing: what needs it is left out, and the rest runs. */
export class Unavailable extends Error {}

/** The full path of an executable, looked for on PATH and in the sbin folders, where Debian puts servers. */
export function findProgram(names: readonly string[], path: string = process.env['PATH'] ?? ''): string | undefined {
  for (const name of names) {
    for (const folder of [...path.split(delimiter), '/usr/sbin', '/usr/local/sbin']) {
      const file = join(folder, name)
      try {
        accessSync(file, constants.X_OK)
        return file
      } catch {
        // Not in this folder.
      }
    }
  }
  return undefined
}

/**
 * The full path of a program.
 *
 * @throws Unavailable with the Debian package if the program is not installed
 */
export function need(program: Program, path?: string): string {
  const { title, names, debian } = programs[program]
  const found = findProgram(names, path)
  if (found === undefined) throw new Unavailable(`${title} is not installed (Debian: ${debian})`)
  return found
}

/** The versions of the programs that are installed, by title. */
export function versions(): Record<string, string> {
  const found: Record<string, string> = {}
  for (const { title, names, version } of Object.values(programs)) {
    const program = findProgram(names)
    if (program === undefined) continue
    // wrk exits with 1 after its version, and nginx prints its version on standard error.
    const output = execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1 || true', program, ...version.args], {
      encoding: 'utf8',
    })
    const text = version.pattern.exec(output)?.[1]
    if (text !== undefined) found[title] = text
  }
  return found
}

/**
 * Runs a load generator or an installer to its end; the program ends with this process.
 *
 * @throws Error with the program's last line of output if it fails or takes longer than `timeout` milliseconds
 */
export function run(
  program: string,
  args: readonly string[],
  { cwd, timeout = 0 }: { readonly cwd?: string; readonly timeout?: number } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const settings = { timeout: Math.ceil(timeout), maxBuffer: 64 * 1024 * 1024, ...(cwd !== undefined && { cwd }) }
    const child = execFile(program, args, settings, (error: ExecFileException | null, stdout, stderr) => {
      process.off('exit', end)
      if (error === null) return resolve(stdout)
      const why = error.killed ? `it was ended after ${timeout} ms` : (lastLine(stderr) ?? lastLine(stdout))
      reject(new Error(`${program.split('/').at(-1)} failed: ${why ?? error.message}`, { cause: error }))
    })
    const end = (): void => void child.kill('SIGKILL')
    // Before the handlers that remove the program's folder.
    process.prependListener('exit', end)
  })
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1) || undefined
}
