/** The bench's command line: options, their limits, and which experiments and setups `--only` selects. */

import { parseArgs } from 'node:util'

export const usage = `Usage: npm run bench -- [options]

  --quick          short rounds of the core experiments: a first result in about 90 s
  --only LIST      only these experiments or setups, separated by commas; --list names them;
                   the beginning of a name selects all names that begin with it
  --compare REV    alternate between this working tree and a revision of git, and print the ratios
  --rounds N       rounds of each setup in an experiment (1 to 1000)
  --seconds N      measured seconds of a round (1 to 600); cold rounds are always 3 s
  --rate N         requests per second of fixed-rate (100 to 200000); default: half of what the
                   slowest setup can answer, at most 15000
  --record         also write bench/results.json, bench/history.json, bench/charts and bench/README.md
  --redraw         write bench/charts and bench/README.md anew from the recorded results, and stop
  --list           print the names of experiments and setups
  --help           print this text
`

export interface Options {
  readonly help: boolean
  readonly list: boolean
  readonly quick: boolean
  readonly record: boolean
  readonly redraw: boolean
  readonly only: readonly string[]
  readonly compare: string | undefined
  readonly rounds: number | undefined
  readonly seconds: number | undefined
  readonly rate: number | undefined
}

/** The command line is wrong; the message says what was expected. */
export class UsageError extends Error {}

/** @throws UsageError for an unknown option, a value out of range, and options that exclude each other */
export function parseOptions(args: readonly string[]): Options {
  const { quick, only, list, record, redraw, help, compare, rounds, seconds, rate } = parse(args)
  const options = {
    help,
    list,
    quick,
    record,
    redraw,
    only: (only ?? '')
      .split(',')
      .map((word) => word.trim())
      .filter((word) => word !== ''),
    compare,
    rounds: integer('--rounds', rounds, 1, 1_000),
    seconds: integer('--seconds', seconds, 1, 600),
    rate: integer('--rate', rate, 100, 200_000),
  }
  if (only !== undefined && options.only.length === 0) {
    throw new UsageError('--only: expected names separated by commas, got none (--list prints them)')
  }
  if (compare === '') throw new UsageError('--compare: expected a revision of git, got an empty string')
  if (compare !== undefined && record) {
    throw new UsageError('--record with --compare: a comparison is no record; run them one after the other')
  }
  if (record && (quick || options.only.length > 0)) {
    throw new UsageError(
      '--record with --quick or --only: only a full run is recorded, so that the page has all figures',
    )
  }
  return options
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        record: { type: 'boolean', default: false },
        redraw: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        only: { type: 'string' },
        compare: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        rate: { type: 'string' },
      },
    })
    return values
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error })
  }
}

/**
 * The options of a part of the bench that runs by itself: integers with a default.
 *
 * @throws UsageError for an unknown option or a value out of range
 */
export function parseIntegers<Name extends string>(
  args: readonly string[],
  table: Readonly<Record<Name, { readonly default: number; readonly most: number }>>,
): Record<Name, number> {
  const names = Object.keys(table) as Name[]
  try {
    const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]))
    const { values } = parseArgs({ args: [...args], options })
    const numbers = names.map((name) => {
      const text = values[name] as string | undefined
      return [name, integer(`--${name}`, text, 1, table[name].most) ?? table[name].default]
    })
    return Object.fromEntries(numbers) as Record<Name, number>
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError((error as Error).message, { cause: error })
  }
}

function integer(option: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new UsageError(`${option}: expected an integer from ${least} to ${most}, got ${JSON.stringify(text)}`)
}

export interface Selection {
  /** undefined: no experiment was named. */
  readonly experiments: ReadonlySet<string> | undefined
  /** undefined: no setup was named. */
  readonly setups: ReadonlySet<string> | undefined
}

/**
 * What `--only` selects: each word is a name, or the beginning of names, of experiments or of setups.
 *
 * @throws UsageError with all names if a word matches none
 */
export function select(words: readonly string[], experiments: readonly string[], setups: readonly string[]): Selection {
  const found = { experiments: new Set<string>(), setups: new Set<string>() }
  const names = { experiments, setups }
  for (const word of words) {
    const kinds = ['experiments', 'setups'] as const
    const exact = kinds.flatMap((kind) => (names[kind].includes(word) ? [{ kind, name: word }] : []))
    const matches =
      exact.length > 0
        ? exact
        : kinds.flatMap((kind) => names[kind].filter((name) => name.startsWith(word)).map((name) => ({ kind, name })))
    if (matches.length === 0) {
      throw new UsageError(
        `--only: no experiment or setup is called ${JSON.stringify(word)};` +
          ` experiments: ${experiments.join(', ')}; setups: ${setups.join(', ')}`,
      )
    }
    for (const { kind, name } of matches) found[kind].add(name)
  }
  return {
    experiments: found.experiments.size > 0 ? found.experiments : undefined,
    setups: found.setups.size > 0 ? found.setups : undefined,
  }
}
