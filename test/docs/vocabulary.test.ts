/**
 * Words that a reader must decode, and the standard term for each: they do not occur in log lines, errors, public
 * docstrings, help and file headers. A word that must be written has its file in `EXCEPT`.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { commands } from '../../cli/commands.ts'
import { codeTables } from '../../protocol/contract/error-codes.ts'
import { renderHelp } from '../../protocol/options/options-help.ts'
import { repositoryFile } from '../support/child.ts'
import { logCalls, sources } from './log-calls.ts'

/** Patterns, each with what to write instead. */
type Words = readonly (readonly [pattern: RegExp, instead: string])[]
const WORDS: Words = [
  [/\b(?:what|which) (?:came|comes)\b/i, 'received, or the noun'],
  [
    /\b(?:who|whoever) (?:asks?|wants?|dials?|reads?|gives?|calls?|sends?|serves?)\b/i,
    'the noun: the client, the caller…',
  ],
  [/\bwhom?ever\b/i, 'the noun: the client, the caller…'],
  [/\bthe way of\b/i, 'path, or a verb'],
  [/\b(?:is|are|was|were|falls?) due\b/i, 'expected, or scheduled'],
  [/\b(?:is|are|was|were|be|been) told\b/i, 'receives, is notified, or is given'],
  [/(?<!there )\b(?:is|are) none\b/i, 'does not exist, is missing, or is invalid'],
  [/\bin nobody's\b/i, 'isolated'],
  [/\bapart\b/i, 'isolated, separate, or distinguish'],
  [/\b(?:is|are|was|were|be) cut\b/i, 'aborted, or truncated'],
  [/\bturn of the (?:event )?loop\b/i, 'event-loop iteration'],
  [/\bwhat (?:it|they|he|she|one) (?:is|are|was|were) given\b/i, 'the noun'],
  [/\bnot to be (?:had|seen|believed)\b/i, 'unavailable, invisible, or not trusted'],
  [/\bknocks?\b/i, 'connects'],
  [/\bcaught by nobody\b/i, 'uncaught'],
  [/\b(?:he|she|his|him)\b/i, 'the noun'],
]

/** In messages too: people type them into a search box, and a log line of ours alone is ASCII. */
const MESSAGE_WORDS: Words = [...WORDS, [/[§‘’“”–—]/, '"section 5.1", plain quotes and hyphens']]

/** Texts by the file that they are in. */
type Texts = readonly (readonly [file: string, text: string])[]

function faults(texts: Texts, words: Words = WORDS): string[] {
  return texts.flatMap(([file, text]) =>
    words.flatMap(([pattern, instead]) => {
      const found = pattern.exec(text)
      if (!found) return []
      const around = text.slice(Math.max(0, found.index - 40), found.index + found[0].length + 40)
      return [`${file}: "${around.replaceAll(/\s+/g, ' ')}": write ${instead}`]
    }),
  )
}

/** The text of the comment block that ends right before `at`; '' if there is none. */
function blockBefore(text: string, at: number): string {
  const before = text.slice(0, at).trimEnd()
  if (!before.endsWith('*/')) return ''
  return before.slice(before.lastIndexOf('/**')).replaceAll(/^\s*\/?\*+\/?/gm, '')
}

const EXPORTED = /^export (?:declare |default |async |abstract )*(?:interface|type|const|let|function\*?|class) \w+/gm

describe('a reader must not decode', () => {
  it('log messages', () => {
    const calls = sources().flatMap(logCalls)
    assert.deepEqual(
      faults(
        calls.flatMap(({ file, messages }) => messages.map((message) => [file, message] as const)),
        MESSAGE_WORDS,
      ),
      [],
    )
  })

  it('error messages', () => {
    const found = sources().flatMap((file) => {
      const text = readFileSync(repositoryFile(file), 'utf8')
      const made = text.matchAll(
        /(?:Error|Fault|\bbad|\bhttpError|\brefuse)\((?:[^()'"`]*,)?\s*(?:'[A-Z_0-9]+',\s*)?(['`"])((?:\\.|(?!\1)[\s\S])*)\1/g,
      )
      return [...made].map(([, , message = '']) => [file, message] as const)
    })
    assert.ok(found.length > 100, `error messages are found: ${found.length}`)
    assert.deepEqual(faults(found, MESSAGE_WORDS), [])
  })

  it('the table of error codes', () => {
    assert.deepEqual(
      faults(Object.entries(codeTables).map(([code, entry]) => [code, JSON.stringify(entry)] as const)),
      [],
    )
  })

  it('docstrings of exported names', () => {
    const found = sources().flatMap((file) => {
      const text = readFileSync(repositoryFile(file), 'utf8')
      return [...text.matchAll(EXPORTED)].map((match) => [file, blockBefore(text, match.index)] as const)
    })
    assert.deepEqual(faults(found), [])
  })

  it('headers of files', () => {
    const found = sources().map((file) => {
      const text = readFileSync(repositoryFile(file), 'utf8')
      return [file, text.startsWith('/**') ? text.slice(0, text.indexOf('*/')) : ''] as const
    })
    assert.deepEqual(faults(found), [])
  })

  it('help', () => {
    assert.deepEqual(faults(Object.values(commands).map((command) => [command.name, renderHelp(command)] as const)), [])
  })
})

describe('comments', () => {
  it('fit into 120 columns', () => {
    const long = sources().flatMap((file) =>
      readFileSync(repositoryFile(file), 'utf8')
        .split('\n')
        .flatMap((line, at) =>
          line.length > 120 && /^\s*(?:\/\*\*|\*|\/\/)/.test(line) && !/https?:\/\/\S{60}/.test(line)
            ? [`${file}:${at + 1}`]
            : [],
        ),
    )
    assert.deepEqual(long, [])
  })
})
