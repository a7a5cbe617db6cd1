/** Access lines have the format of pino. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { jsonLines } from '../../../protocol/log/json-lines.ts'

const FIELDS: readonly object[] = [
  { requestId: 'a-1', remote: '127.0.0.1', method: 'GET', url: '/', status: 200, bytes: 5, ms: 0.1 },
  { url: '/"\\\x00\x1b\n\x7f\x9b', userAgent: 'ü 世界', worker: 0, container: undefined },
  {},
]

test('a line is the same as the line of pino', () => {
  const settings = { name: 'proxy', formatters: { level: (label: string) => ({ level: label }) } }
  for (const fields of FIELDS) {
    const lines: string[] = []
    const write = (line: string): void => void lines.push(line.replace(/"time":\d+/, '"time":0'))
    pino(settings, { write }).info(fields, 'request')
    jsonLines('proxy', write).info(fields, 'request')
    assert.equal(lines[1], lines[0])
    assert.equal(lines[1]!.indexOf('\n'), lines[1]!.length - 1)
  }
})
