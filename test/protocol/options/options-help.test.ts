import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renderHelp, renderMarkdown } from '../../../protocol/options/options-help.ts'

const table = {
  module: {
    kind: 'text',
    positional: true,
    required: true,
    value: 'MODULE',
    unset: 'of its own',
    sentence: 'What to load.',
  },
  listen: {
    kind: 'address',
    forms: ['tcp'],
    list: true,
    default: ':1',
    value: 'ADDRESS',
    sentence: 'Where to listen.',
  },
  accessLog: { kind: 'choice', choices: ['json', 'off'], default: 'json', sentence: 'Lines.' },
  compress: { kind: 'flag', default: true, sentence: 'Compress.' },
  token: { kind: 'text', secret: true, sentence: 'Secret.' },
  internal: { kind: 'flag', hidden: true, sentence: 'Not shown.' },
} as const

test('help shows the usage, each option with its sentence, default and environment name, and no hidden one', () => {
  const help = renderHelp({ name: 'gantry test', summary: 'Tests.', table })
  assert.match(help, /^Usage: gantry test MODULE \[options\]\n\nTests\.\n/)
  assert.match(help, / {2}--listen ADDRESS\n {6}Where to listen\.\n {6}\(default :1; list; GANTRY_LISTEN\)/)
  assert.match(help, / {2}--access-log json\|off\n/)
  assert.match(help, / {2}--\[no-\]compress\n/)
  assert.match(help, / {2}GANTRY_TOKEN\n {6}Secret\.\n {6}\(environment only\)/)
  assert.doesNotMatch(help, /internal|--token/)
})

test('help keeps to its width', () => {
  const long = { thing: { kind: 'flag', sentence: 'word '.repeat(100).trim() } } as const
  const help = renderHelp({ name: 'gantry test', summary: 'word '.repeat(50).trim(), table: long }, 60)
  for (const line of help.split('\n')) assert.ok(line.length <= 60, line)
})

test('the Markdown table has a row for each option, with pipes escaped', () => {
  const rows = renderMarkdown(table).split('\n')
  assert.equal(rows.length, 2 + 5)
  assert.ok(rows.includes('| `--access-log json\\|off` | `GANTRY_ACCESS_LOG` | `json` | Lines. |'))
  assert.ok(rows.includes('| `GANTRY_TOKEN` | `GANTRY_TOKEN` | none | Secret. |'))
})
