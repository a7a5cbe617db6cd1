/**
 * The commands: their help, their options, and which module does their work. That module is loaded only when its command
 * runs, so that a proxy holds no container code and help is quick.
 */

import { cgiOptions } from '../container/cgi/cgi-options.ts'
import { checkContainerOptions, containerOptions } from '../container/options.ts'
import {
  flagName,
  type Option,
  type OptionTable,
  type ParsedOptions,
  parseOptions,
} from '../protocol/options/options.ts'
import type { CommandHelp } from '../protocol/options/options-help.ts'
import { checkProxyOptions, proxyOptions } from '../proxy/options.ts'
import { healthCommandOptions } from './health-options.ts'
import { upOptions } from './up-options.ts'

export interface Command extends CommandHelp {
  /**
   * @param otherNames Environment names of every command.
   * @param entry The file that was run, for a command that starts others.
   * @throws OptionError for what was given wrong.
   */
  run(
    argv: readonly string[],
    environment: Readonly<Record<string, string | undefined>>,
    otherNames: readonly string[],
    entry: string,
  ): Promise<void>
}

function command<T extends OptionTable>(
  name: string,
  summary: string,
  table: T,
  act: (parsed: ParsedOptions<T>, entry: string) => Promise<void>,
): Command {
  return {
    name: `gantry ${name}`,
    summary,
    table,
    run: (argv, environment, otherNames, entry) => act(parseOptions<T>(table, argv, environment, otherNames), entry),
  }
}

export const commands: Readonly<Record<string, Command>> = {
  up: command(
    'up',
    'Serves an application on this machine: a proxy, and a container behind it that is restarted when it crashes.',
    upOptions,
    async (parsed, entry) => {
      const { up } = await import('./up.ts')
      await up(parsed, entry)
    },
  ),
  container: command(
    'container',
    'Serves an application. Proxies and web servers connect to it, or it joins proxies.',
    containerOptions,
    async ({ values, warnings }) => {
      checkContainerOptions(values)
      const [{ run }, { serveContainer }] = await Promise.all([
        import('../process/run.ts'),
        import('../container/serve.ts'),
      ])
      await run('container', values, (environment) => serveContainer(values, environment), warnings)
    },
  ),
  proxy: command(
    'proxy',
    'Receives HTTP and sends each request to a container that has room.',
    proxyOptions,
    async (parsed, entry) => {
      const { values, warnings } = parsed
      checkProxyOptions(values)
      if (values.workers > 1) {
        const { runWorkers } = await import('./workers.ts')
        return runWorkers(parsed, entry)
      }
      const [{ run }, { serveProxy }] = await Promise.all([import('../process/run.ts'), import('../proxy/serve.ts')])
      await run('proxy', values, (environment) => serveProxy(values, environment), warnings)
    },
  ),
  cgi: command(
    'cgi',
    'Answers one request as a CGI program: what a web server runs for each.',
    cgiOptions,
    async ({ values }) => {
      const { runCgi } = await import('../container/cgi/cgi-program.ts')
      await runCgi(values)
    },
  ),
  health: command(
    'health',
    'Asks a server whether it can serve requests. Prints one line, and exits 0 or 1.',
    healthCommandOptions,
    async ({ values }) => {
      const [{ askHealth }, { LogOutput }] = await Promise.all([
        import('./health.ts'),
        import('../protocol/log/log-output.ts'),
      ])
      const { good, says } = await askHealth(values)
      const output = new LogOutput(1, { immediate: true })
      output.write(`${says}\n`)
      output.flushSync()
      if (output.unwritten > 0) {
        const { writeToStderr } = await import('../protocol/log/stderr-log.ts')
        writeToStderr(`gantry health: standard output could not be written: ${says}\n`)
      }
      // Neither a resolver that does not answer nor a full standard output may delay the result.
      process.exit(good ? 0 : 1)
    },
  ),
}

/** The commands that have an option, which is written `--workers`, as `gantry proxy`. */
export function commandsWith(option: string): string[] {
  return Object.entries(commands).flatMap(([name, { table }]) => {
    const names = Object.entries<Option>(table).flatMap(([key, { positional, secret, hidden }]) =>
      positional || secret || hidden ? [] : [flagName(key)],
    )
    return names.includes(option) ? [`gantry ${name}`] : []
  })
}
