import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { openSync } from 'node:fs'
import { test } from 'node:test'
import {
  connectionsThatFit,
  descriptorLimit,
  fitsInReserve,
  mostConnections,
  refusalsThatFit,
  watchDescriptors,
} from '../../../protocol/net/descriptors.ts'
import { repositoryFile } from '../../support/child.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'

test('the limit is the one of this process', () => {
  const code = `import('${repositoryFile('protocol/net/descriptors.ts')}').then((m) => console.log(m.descriptorLimit()))`
  const text = execFileSync('/bin/sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath, '-e', code])
  assert.equal(text.toString(), '200\n')
  assert.ok(descriptorLimit() > 0)
})

for (const [limit, open, each, fit] of [
  [1_024, 24, 1, 744],
  [1_024, 24, 2, 372],
  [20_024, 24, 1, 18_000],
  [20_024, 24, 2, 9_000],
  // So few that half of them are reserved.
  [64, 24, 1, 20],
  [64, 24, 2, 10],
  [24, 24, 1, 1],
  [Number.POSITIVE_INFINITY, 24, 1, Number.POSITIVE_INFINITY],
] as const) {
  test(`${fit} connections of ${each} fit into ${limit} file descriptors, of which ${open} are in use`, () => {
    assert.equal(connectionsThatFit(each, limit, open), fit)
  })
}

for (const [limit, open, fit] of [
  [1_024, 24, 128],
  [20_024, 24, 128],
  // The reserve is 100 in place of 256, and 16.
  [224, 24, 50],
  [56, 24, 8],
  [24, 24, 1],
  [Number.POSITIVE_INFINITY, 24, 128],
] as const) {
  test(`of 128 connections ${fit} fit in the reserve of ${limit} file descriptors, of which ${open} are in use`, () => {
    assert.equal(fitsInReserve(128, limit, open), fit)
  })
}

for (const [connections, each, limit, open, fit] of [
  [744, 1, 1_024, 24, 32],
  [10, 1, 1_024, 24, 123],
  [10, 2, 1_024, 24, 122],
  [18_000, 1, 20_024, 24, 250],
  [10, 1, 1_000_000, 24, 1_024],
  // The reserve is 20; the limit was set too high.
  [20, 1, 64, 24, 2],
  [1_000, 1, 64, 24, 2],
  [1, 1, 24, 24, 1],
  [10, 1, Number.POSITIVE_INFINITY, 24, 1_024],
] as const) {
  test(`beside ${connections} connections of ${each} in ${limit} file descriptors, ${open} of them in use, ${fit} are refused at once`, () => {
    assert.equal(refusalsThatFit(connections, each, limit, open), fit)
  })
}

test('more connections than fit are allowed, with a warning', () => {
  const log = new RecordingLog()
  const fit = mostConnections(undefined, 1, log)
  assert.equal(mostConnections(fit - 10, 1, log), fit - 10)
  assert.equal(log.lines.length, 0)
  assert.equal(mostConnections(1e9, 1, log), 1e9)
  assert.match(log.lines[0]!.message, /^--max-connections 1000000000 is more than ulimit -n allows/)
})

for (const code of ['EMFILE', 'ENFILE']) {
  test(`a shortage (${code}) is logged once, and its end once`, () => {
    const [clock, log] = [new FakeClock(), new RecordingLog()]
    let short = false
    watchDescriptors(clock, log, () => {
      if (short) throw Object.assign(new Error('too many open files'), { code })
      return openSync('/dev/null', 'r')
    })
    const said: number[] = []
    for (const now of [false, false, true, true, true, false, false, true]) {
      short = now
      clock.advance(1_000)
      said.push(log.lines.length)
    }
    assert.deepEqual(said, [0, 0, 1, 1, 1, 2, 2, 3])
    assert.match(log.lines[0]!.message, new RegExp(`^out of file descriptors \\(${code}\\): `))
    assert.equal(log.lines[1]!.message, 'file descriptors are available again')
  })
}

test('another error is not a shortage', () => {
  const [clock, log] = [new FakeClock(), new RecordingLog()]
  watchDescriptors(clock, log, () => {
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
  })
  clock.advance(5_000)
  assert.deepEqual(log.lines, [])
})
