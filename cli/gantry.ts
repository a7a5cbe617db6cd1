#!/usr/bin/env node
/**
 * The command line: finds the command and runs it. Its imports are dynamic and its syntax is old, so that an outdated
 * Node can still print that it is outdated.
 */

import { readFileSync } from 'node:fs'

const OLDEST_NODE = 24

const usage = `Usage: gantry COMMAND [options]

  gantry up MODULE          serve an application here: a proxy and a container, which is restarted after a crash
  gantry container MODULE   serve an application on one port: frames, uwsgi and HTTP
  gantry proxy              receive HTTP requests and send them to containers
  gantry cgi MODULE         answer one request as a CGI program
  gantry health ADDRESS     check whether a server can serve requests

  gantry COMMAND --help     the options of a command; each one is also an environment variable
  gantry --version
`

async function main(command: string | undefined, argv: readonly string[]): Promise<void> {
  if (command === 'help' && argv[0] !== undefined && !argv[0].startsWith('-')) return main(argv[0], ['--help'])
  const { nearest } = await import('../protocol/options/nearest.ts')
  const { OptionError, environmentName } = await import('../protocol/options/option-table.ts')
  const { renderHelp } = await import('../protocol/options/options-help.ts')
  const { commands, commandsWith } = await import('./commands.ts')
  const { writeToStderr } = await import('../protocol/log/stderr-log.ts')
  const everyName = Object.values(commands).flatMap(({ table }) => Object.keys(table).map(environmentName))

  try {
    if (command === undefined || command === '--help' || command === '-h' || command === 'help') {
      print(usage)
      if (command === undefined) process.exitCode = 1
      return
    }
    if (command === '--version' || command === '-V') {
      print(`${version()}\n`)
      return
    }
    const known = Object.hasOwn(commands, command) ? commands[command] : undefined
    if (known === undefined) {
      const near = nearest(command, Object.keys(commands))
      const hint = near ? `; did you mean ${near}?` : `: expected ${Object.keys(commands).join(', ')}`
      throw new OptionError('UNEXPECTED_ARGUMENT', command, `unknown command ${JSON.stringify(command)}${hint}`)
    }
    const end = argv.indexOf('--')
    const words = end < 0 ? argv : argv.slice(0, end)
    if (words.includes('--help') || words.includes('-h')) {
      print(renderHelp(known))
      return
    }
    await known.run(argv, process.env, everyName, import.meta.filename)
  } catch (error) {
    if (!(error instanceof OptionError)) throw error
    const name = command !== undefined && Object.hasOwn(commands, command) ? `gantry ${command}` : 'gantry'
    process.exitCode = 1
    const owners = error.code === 'UNKNOWN_OPTION' ? commandsWith(error.option) : []
    const owned =
      owners.length === 0 || owners.includes(name) ? '' : `; ${error.option} is an option of ${owners.join(', ')}`
    writeToStderr(`${name}: ${error.message}${owned}\nTry ${name} --help\n`)
  }
}

/**
 * Prints help. If the reader has closed the pipe (`gantry --help | head -1`), the command does not fail with a stack
 * trace.
 */
function print(text: string): void {
  process.stdout.on('error', () => {
    process.exitCode = 1
  })
  process.stdout.write(text)
}

/** The version from package.json, which is one folder above the sources and two above the built files. */
function version(): string {
  const file = new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')).version
}

if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  process.stderr.write(`gantry needs Node ${OLDEST_NODE} or later; this is Node ${process.versions.node}\n`)
  process.exit(1)
} else {
  await main(process.argv[2], process.argv.slice(3))
}
