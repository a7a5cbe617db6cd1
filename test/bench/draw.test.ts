import assert from 'node:assert/strict'
import { test } from 'node:test'
import { barChart } from '../../bench/draw/bars.ts'
import { charts } from '../../bench/draw/charts.ts'
import { ratioChart } from '../../bench/draw/ratios.ts'
import { element, escapeXml, text } from '../../bench/draw/svg.ts'
import { Ledger } from '../../bench/report/ledger.ts'
import { spread } from '../../bench/report/statistics.ts'

test('text is escaped, and characters that XML forbids are replaced', () => {
  assert.equal(escapeXml('a < b & c > "d"'), 'a &lt; b &amp; c &gt; &quot;d&quot;')
  assert.equal(escapeXml('\u0000a\u001b\ufffe'), '\ufffda\ufffd\ufffd')
  assert.equal(escapeXml('\ud800 \udc00 😀\t→'), '\ufffd \ufffd 😀\t→')
  assert.equal(element('a', { b: '"<' }), '<a b="&quot;&lt;"/>')
  assert.equal(text(1, 2, '<i>'), '<text x="1" y="2">&lt;i&gt;</text>')
})

test('a coordinate has at most one decimal, and NaN is an error instead of a broken picture', () => {
  assert.equal(element('rect', { x: 1.2345, y: -0.04 }), '<rect x="1.2" y="0"/>')
  assert.throws(() => element('rect', { x: Number.NaN }), /expected a finite coordinate, got NaN/)
})

/** Elements of a kind, as the values of one attribute. */
function values(svg: string, name: string, attribute: string): string[] {
  return [...svg.matchAll(new RegExp(`<${name} [^>]*\\b${attribute}="([^"]*)"`, 'g'))].map((match) => match[1]!)
}

function widthsOf(svg: string, classes: RegExp): number[] {
  return [...svg.matchAll(/<rect class="([^"]*)"[^>]* width="([^"]*)" height="12"/g)]
    .filter((match) => classes.test(match[1]!))
    .map((match) => Number(match[2]))
}

/** Every element is closed in its order. Enough of XML for what the bench writes: no comments, no `>` in attributes. */
function assertWellFormed(svg: string): void {
  const open: string[] = []
  for (const [, closing, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (closing) assert.equal(open.pop(), name)
    else if (!self) open.push(name!)
  }
  assert.deepEqual(open, [])
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/)
}

const bars = barChart({
  title: 'Speed <fast> & "slow"',
  subtitle: 'more is better',
  unit: '/s',
  series: ['warm', 'cold'],
  groups: [
    { label: 'Gantry', ours: true, values: [spread([400]), spread([100])] },
    { label: 'other', ours: false, values: [spread([100, 200, 300]), spread([50])] },
  ],
})

test('bars are as long as their values, ours in another colour than the peers’', () => {
  assertWellFormed(bars)
  const [warm, cold] = widthsOf(bars, /^ours-/)
  assert.equal(warm, 4 * cold!)
  assert.deepEqual(
    widthsOf(bars, /^peer-/).map((width) => Math.round((width / warm!) * 400)),
    [200, 50],
  )
})

test('the quartiles are drawn where rounds differ, and not where there was one round', () => {
  assert.equal(values(bars, 'line', 'class').filter((name) => name === 'whisker').length, 1)
})

test('a chart says in words what it shows, and has colours for light and dark pages', () => {
  assert.match(bars, /role="img"/)
  assert.match(bars, /<title>Speed &lt;fast&gt; &amp; &quot;slow&quot;<\/title>/)
  assert.match(bars, /<desc>Gantry: warm 400 \/s, cold 100 \/s; other: warm 200 \/s, cold 50.0 \/s<\/desc>/)
  const [light, dark] = bars.split('@media (prefers-color-scheme: dark)')
  for (const name of ['text', '.card', '.ours-0', '.peer-2', '.ahead', '.behind', '.whisker', '.goal']) {
    assert.ok(light!.includes(`${name} {`), `${name} in light`)
    assert.ok(dark!.includes(`${name} {`), `${name} in dark`)
  }
})

test('a chart of zeros has bars without length', () => {
  const svg = barChart({
    title: '',
    subtitle: '',
    unit: '',
    series: ['a'],
    groups: [{ label: 'x', ours: true, values: [spread([0])] }],
  })
  assertWellFormed(svg)
  assert.deepEqual(widthsOf(svg, /^ours-0/), [0])
})

test('a ratio of two and a ratio of a half are equally far from equal, on either side', () => {
  const row = { low: Number.NaN, high: Number.NaN, goal: undefined }
  const svg = ratioChart('title', 'subtitle', [
    { ...row, label: 'ahead', advantage: 2 },
    { ...row, label: 'behind', advantage: 0.5 },
    { ...row, label: 'not measured', advantage: Number.NaN },
  ])
  assertWellFormed(svg)
  const rects = [...svg.matchAll(/<rect class="(ahead|behind)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)]
  const [ahead, behind] = rects.map(([, name, x, width]) => ({ name, x: Number(x), width: Number(width) }))
  assert.deepEqual([rects.length, ahead!.name, behind!.name], [2, 'ahead', 'behind'])
  assert.ok(Math.abs(ahead!.width - behind!.width) < 0.2)
  assert.ok(Math.abs(behind!.x + behind!.width - ahead!.x) < 0.2)
  assert.match(svg, />2.00×</)
  assert.match(svg, />0.50×</)
})

test('the scale reaches as far as the ratios of its side, and at least to a half and to two', () => {
  const marks = (...advantages: readonly number[]) =>
    [
      ...ratioChart(
        '',
        '',
        advantages.map((advantage) => ({ label: 'x', advantage, low: 1, high: 1, goal: undefined })),
      ).matchAll(/text-anchor="middle">([^<]*)</g),
    ].map((match) => match[1])
  assert.deepEqual(marks(1), ['1/2', 'equal', '2×'])
  assert.deepEqual(marks(0.3, 1.5), ['1/4', '1/2', 'equal', '2×'])
  assert.deepEqual(marks(0.9, 5), ['1/2', 'equal', '2×', '4×', '8×'])
})

test('quartiles and goals beyond the scale are drawn at its end', () => {
  const svg = ratioChart('', '', [{ label: 'x', advantage: 1.5, low: 1 / 64, high: 64, goal: 1000 }])
  assertWellFormed(svg)
  const ends = ['x1', 'x2'].flatMap((attribute) => values(svg, 'line', attribute)).map(Number)
  const labelEnd = Number(/<text x="([\d.]+)" y="[\d.]+" text-anchor="end">x</.exec(svg)![1])
  const valueStart = 880 - 20 - 50
  assert.deepEqual(
    ends.filter((x) => x < labelEnd || x > valueStart),
    [],
  )
})

test('charts are drawn from what was measured: a setup without a cold run is not in the picture of both', () => {
  const ledger = new Ledger()
  for (const setup of ['pair', 'nginx-node', 'http-proxy'] as const) {
    ledger.add('hello', setup, 'rate', 100)
    ledger.add('hello', setup, 'cpu', 10)
  }
  assert.deepEqual(
    charts(ledger).map(({ file }) => file),
    ['overview.svg', 'cpu.svg'],
  )
  for (const setup of ['pair', 'nginx-node'] as const) ledger.add('cold', setup, 'rate', 50)
  const drawn = new Map(charts(ledger).map(({ file, svg }) => [file, svg]))
  assert.deepEqual([...drawn.keys()], ['overview.svg', 'throughput.svg', 'cpu.svg'])
  assert.doesNotMatch(drawn.get('throughput.svg')!, /http-proxy/)
  assert.match(drawn.get('cpu.svg')!, /http-proxy/)
  for (const svg of drawn.values()) assertWellFormed(svg)
  assert.deepEqual(charts(new Ledger()), [])
})
