/** Renders option tables as text for `--help`, and as Markdown for `docs/options.md`. */

import { environmentName, flagName, type Option, type OptionTable } from './option-table.ts'

export interface CommandHelp {
  /** `gantry container`. */
  readonly name: string
  /** One or two sentences. */
  readonly summary: string
  readonly table: OptionTable
}

/**
 * Renders the help of one command.
 *
 * @param width of a line, columns
 * @example
 * ```ts
 * import { renderHelp } from 'gantry/protocol'
 * import { proxyOptions } from 'gantry/proxy'
 *
 * console.log(renderHelp({ name: 'my-proxy', summary: 'Receives HTTP.', table: proxyOptions }))
 * ```
 */
export function renderHelp(command: CommandHelp, width: number = 100): string {
  const shown = visible(command.table)
  const positionals = shown.filter(([, option]) => option.positional && !option.rest)
  const usage = ['Usage:', command.name, ...positionals.map(([key, option]) => placeholder(key, option)), '[options]']
  for (const [key, option] of shown) if (option.rest) usage.push(`[${title(key, option)}]`)
  const lines = [usage.join(' '), '', ...wrap(command.summary, width), '']
  for (const [key, option] of shown) {
    lines.push(`  ${title(key, option)}`)
    for (const line of wrap(option.sentence, width - 6)) lines.push(`      ${line}`)
    for (const line of wrap(`(${facts(key, option).join('; ')})`, width - 6)) lines.push(`      ${line}`)
  }
  lines.push('')
  lines.push(
    ...wrap(
      'An option on the command line overrides the environment, which overrides the default. Separate the values of a list with commas, or repeat the option. Durations: 250ms, 10s, 5m, 1h. Sizes: 1024, 64KiB, 1MiB.',
      width,
    ),
  )
  return `${lines.join('\n')}\n`
}

/**
 * Renders the options of a table as a Markdown table.
 *
 * @example
 * ```ts
 * import { renderMarkdown } from 'gantry/protocol'
 * import { proxyOptions } from 'gantry/proxy'
 *
 * console.log(renderMarkdown(proxyOptions))
 * ```
 */
export function renderMarkdown(table: OptionTable): string {
  const rows = visible(table).map(([key, option]) => {
    const cells = [`\`${title(key, option)}\``, `\`${environmentName(key)}\``, standard(option), option.sentence]
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  })
  return ['| Option | Environment | Default | What it does |', '|---|---|---|---|', ...rows].join('\n')
}

function visible(table: OptionTable): [string, Option][] {
  return Object.entries(table).filter(([, option]) => !option.hidden)
}

function title(key: string, option: Option): string {
  if (option.secret) return environmentName(key)
  if (option.rest) return `-- ${placeholder(key, option)}`
  if (option.positional) return placeholder(key, option)
  if (option.kind === 'flag') return option.default === true ? `--[no-]${flagName(key).slice(2)}` : flagName(key)
  return `${flagName(key)} ${placeholder(key, option)}`
}

function placeholder(key: string, option: Option): string {
  if (option.value !== undefined) return option.value
  if (option.kind === 'choice') return option.choices.join('|')
  return option.kind === 'text' ? key.toUpperCase() : option.kind.toUpperCase()
}

function facts(key: string, option: Option): string[] {
  const all: string[] = []
  if (option.kind === 'choice' && option.value !== undefined) all.push(`one of ${option.choices.join(', ')}`)
  if (option.required) all.push(option.unset === undefined ? 'required' : `required; ${option.unset}`)
  if (option.default !== undefined) all.push(`default ${option.default}`)
  else if (option.unset !== undefined && !option.required) all.push(`default: ${option.unset}`)
  if (option.list && !option.rest) all.push('list')
  if (option.secret) all.push('environment only')
  else all.push(environmentName(key))
  return all
}

function standard(option: Option): string {
  if (option.default !== undefined) return `\`${option.default}\``
  if (option.unset !== undefined) return option.unset
  return option.kind === 'flag' ? 'off' : option.required ? 'required' : 'none'
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  lines.push(line)
  return lines
}
