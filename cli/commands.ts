/**
 * The commands: their help, their options, and the module that runs each. The module is loaded only when its command
 * runs, so that a proxy loads no container code and help is fast.
 */

import { cgiOptions } from '../container/cgi/cgi-options.ts'
import { checkContainerOptions, containerOptions } from '../container/options.ts'
import { flagName, type Option, type OptionTable } from '../protocol/options/option-table.ts'
import { type ParsedOptions, parseOptions } from '../protocol/options/options.ts'
import type { CommandHelp } from '../protocol/options/options-help.ts'
import { checkProxyOptions, proxyOptions } from '../proxy/options.ts'
import { healthCommandOptions } from './health-options.ts'
import { upOptions } from './up-options.ts'

export interface Command extends CommandHelp {
  /**
   * @param otherNames environment variables of all commands
   * @param entry the file that Node runs, for a command that starts further processes
   * @throws OptionError if an option is unknown or has an invalid value
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
    'Serves an application on this machine: a proxy, and behind it a container that is restarted after a crash.',
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
    'Receives HTTP and sends each request to a container with a free slot.',
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
    'Serves one request as a CGI program, which a web server starts for each request.',
    cgiOptions,
    async ({ values }) => {
      const { runCgi } = await import('../container/cgi/cgi-program.ts')
      await runCgi(values)
    },
  ),
  health: command(
    'health',
    'Checks whether a server can serve requests. Prints one line, and exits with 0 or 1.',
    healthCommandOptions,
    async ({ values }) => {
      const [{ askHealth }, { LogOutput }] = await Promise.all([
        import('./health.ts'),
        import('../protocol/log/log-output.ts'),
      ])
      const { healthy, line } = await askHealth(values)
      const output = new LogOutput(1, { immediate: true })
      output.write(`${line}\n`)
      output.flushSync()
      if (output.unwritten > 0) {
        const { writeToStderr } = await import('../protocol/log/stderr-log.ts')
        writeToStderr(`gantry health: standard output could not be written: ${line}\n`)
      }
      // Do not wait for a name server that does not answer, or for a full standard output.
      process.exit(healthy ? 0 : 1)
    },
  ),
}

/** The commands, for example `gantry proxy`, that have an option, for example `--workers`. */
export function commandsWith(option: string): string[] {
  return Object.entries(commands).flatMap(([name, { table }]) => {
    const names = Object.entries<Option>(table).flatMap(([key, { positional, secret, hidden }]) =>
      positional || secret || hidden ? [] : [flagName(key)],
    )
    return names.includes(option) ? [`gantry ${name}`] : []
  })
}
