/** `gantry up --dev` with an application of the test, in a directory of its own. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { repositoryFile, TestChild } from './child.ts'
import { withDirectory } from './directory.ts'

/** The messages after it has started to serve, after each reload, and after a failed load. */
export const SERVED: RegExp = /is served at /
export const RELOADED: RegExp = /changed, reloaded in /
export const BROKEN: RegExp = /cannot be loaded; /

/** An application that responds with the export of `word.ts`. */
export const APP: string = `import { word } from './word.ts'
export const application = async (environ: any, startResponse: any) => {
  if (environ.PATH_INFO === '/throw') throw new TypeError('thrown by the application')
  if (environ.PATH_INFO === '/crash') setTimeout(() => { throw new RangeError('thrown by nobody') })
  if (environ.PATH_INFO === '/crash') await new Promise(() => {})
  startResponse('200 OK', [['Content-Type', 'text/html'], ['ETag', '"1"']])
  return [Buffer.from(\`<h1>\${word}</h1>\`)]
}
`
export const word = (text: string): string => `export const word: string = '${text}'\n`
export const FILES: Readonly<Record<string, string>> = { 'app.ts': APP, 'word.ts': word('one') }

export interface DevAnswer {
  readonly status: number
  readonly text: string
  header(name: string): string | undefined
}

export interface Events extends AsyncDisposable {
  /** Resolves with the text of the first event; rejects if the stream ends without an event. */
  readonly changed: Promise<string>
}

export class DevServer {
  readonly child: TestChild
  readonly directory: string

  constructor(child: TestChild, directory: string) {
    this.child = child
    this.directory = directory
  }

  /** Writes files at once. */
  write(files: Readonly<Record<string, string>>): void {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.directory, name), text)
  }

  /** Known when the server listens. */
  get port(): number {
    const said = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(this.child.stderr)
    const ready = this.child.messages[0] as { addresses: { port: number }[] } | undefined
    return said ? Number(said[1]) : ready!.addresses[0]!.port
  }

  /** Resolves when the server listens, whether the application is loaded or not. */
  async listening(): Promise<void> {
    await this.child.until(() => this.child.messages.length > 0)
  }

  /** Resolves when `pattern` has been printed `count` times in all. */
  async said(pattern: RegExp, count: number = 1): Promise<void> {
    const all = new RegExp(pattern, 'gm')
    await this.child.until(() => [...this.child.stderr.matchAll(all)].length >= count)
  }

  async get(path: string, headers: Record<string, string> = {}, method: string = 'GET'): Promise<DevAnswer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: '127.0.0.1', port: this.port, path, method, headers: { Host: 'localhost', ...headers }, agent: false },
        (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (part: string) => {
            text += part
          })
          response.on('error', reject)
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              text,
              header: (name) => response.headers[name.toLowerCase()]?.toString(),
            }),
          )
        },
      )
      sent.on('error', reject)
      sent.end()
    })
  }

  /** Opens the event stream of an error page; resolves when its response has begun. */
  async events(shown?: string): Promise<Events> {
    const query = shown === undefined ? '' : `?shown=${shown}`
    const changed = Promise.withResolvers<string>()
    changed.promise.catch(() => {})
    return new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port: this.port, path: `/.gantry/dev/events${query}`, agent: false })
      sent.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part
          const event = /^event: (.*)$/m.exec(text)
          if (event) changed.resolve(event[1]!)
        })
        response.on('error', changed.reject)
        response.on('end', () => changed.reject(new Error(`no event came: ${text}`)))
        resolve({
          changed: changed.promise,
          async [Symbol.asyncDispose]() {
            sent.destroy()
          },
        })
      })
      sent.on('error', reject)
      sent.end()
    })
  }

  /** Process ids of running containers, found by their directory for sockets. */
  containers(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((id) => {
        try {
          return readFileSync(`/proc/${id}/cmdline`, 'utf8').includes(`unix:${this.directory}/`)
        } catch {
          return false
        }
      })
      .map(Number)
  }
}

/** Runs `body` with a server of `files`, whose `app.ts` is the application. Ends everything afterwards. */
export async function withDev(
  files: Readonly<Record<string, string>>,
  body: (dev: DevServer) => Promise<void>,
  argv: readonly string[] = [],
  flag: string = '--dev',
  environment: (directory: string) => Record<string, string> = () => ({}),
): Promise<void> {
  await withDirectory(async (directory) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
    const child = new TestChild(
      [
        repositoryFile('cli/gantry.ts'),
        'up',
        'app.ts',
        ...(flag === '' ? [] : [flag]),
        '--listen',
        '127.0.0.1:0',
        ...argv,
      ],
      { cwd: directory, env: { TMPDIR: directory, NO_COLOR: '1', ...environment(directory) }, ipc: true },
    )
    const dev = new DevServer(child, directory)
    try {
      await body(dev)
    } finally {
      await child.end()
    }
  })
}
